"""What DuckDB counts in the written tables of a split: each method gives how many rows or ids break one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tasks.split.audit.claim import Claim
from tasks.split.parts import Part
from tasks.store.engine import Engine, literal
from tasks.store.refs import DatasetRef

SAMPLE = 5_000
"""Rows of each part that are looked up in the log."""
LEARNED = ("user_id", "item_id", "timestamp", "rating", "weight")
COMPARED = {"train": LEARNED, "valid": LEARNED, "test": LEARNED[:3], "rated": LEARNED[:2]}
"""By part, what its rows have in common with those of the log."""


@dataclass(frozen=True)
class Counts:
    """The tables as views, and one row per user and per item of training and validation."""

    sql: Engine
    claim: Claim
    rows: Mapping[str, int]  # as counted in the files
    has_judged: bool

    @classmethod
    def of(cls, sql: Engine, parts: Mapping[str, DatasetRef], claim: Claim, judged: pa.Table | None) -> "Counts":
        # without features, which may have any name
        columns = dict.fromkeys(("train", "valid", "test", "rated"), "*") | {"users": "user_id", "items": "item_id"}
        for name, chosen in columns.items():
            sql.run(f"CREATE VIEW {name} AS SELECT {chosen}, file_row_number FROM {sql.rows([parts[name]])}")
        sql.run("CREATE VIEW before AS SELECT *, TRUE AS trains FROM train UNION ALL SELECT *, FALSE FROM valid")
        sql.run(
            "CREATE TABLE user_rows AS SELECT user_idx, count(*) FILTER (trains) AS n_train, "
            "count(*) FILTER (NOT trains) AS n_valid, max(place) FILTER (trains) AS last_train, max(place) AS last, "
            "max(timestamp) FILTER (trains) AS latest_train, max(timestamp) AS latest FROM before GROUP BY user_idx"
        )
        sql.run(
            "CREATE TABLE item_rows AS "
            "SELECT item_idx, count(*) FILTER (trains) AS n_train FROM before GROUP BY item_idx"
        )
        sql.run(f"CREATE VIEW log AS {_listed(sql, claim)}")
        if judged is not None:
            sql.put("judged", judged)
        rows = {name: sql.one(f"SELECT count(*) FROM {name}")[0] for name in columns}
        return cls(sql, claim, rows, judged is not None)

    def rows_lost(self) -> int:
        n_positives = self._count(f"FROM {self._judgeable} WHERE {self._liked}")
        tested = 0 if self.claim.protocol == "given" else self.rows["test"]
        told = self.rows["train"] + self.rows["valid"] + tested + sum(self.claim.dropped.values()) + self.claim.left_out
        return abs(n_positives - told)

    def rows_foreign(self) -> int:
        """Some rows of every part that the log has not, with what they have in common with its rows."""
        parts = {name: COMPARED[name] for name in COMPARED if name != "test" or self.claim.protocol != "given"}
        for name, columns in parts.items():
            named = ""
            if name != "test":
                named = "JOIN users ON users.file_row_number = user_idx JOIN items ON items.file_row_number = item_idx"
            picked = f"(SELECT * EXCLUDE (file_row_number) FROM {name} WHERE file_row_number % {self._step(name)} = 0)"
            ids = "user_id::VARCHAR AS user_id, item_id::VARCHAR AS item_id"
            self.sql.run(
                f"CREATE TABLE some_{name} AS SELECT DISTINCT {', '.join([ids, *columns[2:]])} FROM {picked} {named}"
            )
        pairs = " UNION ALL ".join(f"SELECT user_id, item_id FROM some_{name}" for name in parts)
        self.sql.run(f"CREATE TABLE found AS FROM log SEMI JOIN ({pairs}) USING (user_id, item_id)")
        n_foreign = 0
        for name, columns in parts.items():
            equal = " AND ".join(f"s.{column} IS NOT DISTINCT FROM f.{column}" for column in columns)
            n_foreign += self._count(f"FROM some_{name} s ANTI JOIN found f ON {equal}")
        return n_foreign

    def rated_wrong(self) -> int:
        """Rows too many or too few, but for those that were left out, of which not all are of known ids; and rows that
        are wrong about the test. Where the test is not the end, left-out rows come before it wherever they stand."""
        known = "SEMI JOIN {0}s ON log.{0}_id = {0}s.{0}_id::VARCHAR"
        n_low = 0
        if self.claim.positives.min_rating is not None:
            joins = " ".join(known.format(name) for name in ("user", "item"))
            n_low = self._count(f"FROM (FROM {self._judgeable} WHERE NOT {self._liked}) log {joins}")
        n_more = self.rows["rated"] - n_low
        first = "SELECT user_idx, min(place) AS first FROM test WHERE user_idx >= 0 GROUP BY user_idx"
        wrong = "before_test <> (first IS NULL OR place < first)"
        if not self.claim.is_ordered:
            wrong = "NOT before_test AND (first IS NULL OR place < first)"
        n_wrong = self._count(f"FROM rated LEFT JOIN ({first}) USING (user_idx) WHERE {wrong}")
        return max(0, -n_more) + max(0, n_more - self.claim.left_out) + n_wrong

    def indices_wrong(self) -> int:
        users, items = self.rows["users"], self.rows["items"]
        outside = "user_idx NOT BETWEEN {low} AND {users} - 1 OR item_idx NOT BETWEEN {low} AND {items} - 1"
        learned, tested = (outside.format(low=low, users=users, items=items) for low in (0, -1))
        rows = {"before": learned, "rated": learned, "test": tested}
        return sum(self._count(f"FROM {name} WHERE {wrong}") for name, wrong in rows.items())

    def ids_without_rows(self) -> int:
        users, items = (
            self._count(f"FROM {name}s ANTI JOIN {name}_rows ON file_row_number = {name}_idx")
            for name in ("user", "item")
        )
        return users + items

    def ids_disordered(self) -> int:
        """Ids that are not above the one before them."""
        return sum(
            self._count(
                f"FROM (SELECT {key}, lag({key}) OVER (ORDER BY file_row_number) AS previous, "
                f"file_row_number AS row FROM {name}) WHERE row > 0 AND ({key} > previous) IS NOT TRUE"
            )
            for name, key in (("users", "user_id"), ("items", "item_id"))
        )

    def test_ids_wrong(self) -> int:
        return sum(
            self._count(
                f"FROM test t LEFT JOIN {name}s m ON m.{name}_id::VARCHAR = t.{name}_id "
                f"WHERE t.{name}_idx <> coalesce(m.file_row_number, -1)"
            )
            for name in ("user", "item")
        )

    def no_positives(self) -> int:
        positives = self.claim.positives
        wrong = ["weight <> 1"]
        if positives.events:
            weights = ", ".join(f"{literal(weight)}::FLOAT" for weight in positives.events.values())
            wrong = [f"weight NOT IN ({weights})"]
        if positives.min_rating is not None:
            wrong.append(f"(rating >= {literal(positives.min_rating)}) IS NOT TRUE")
        return self._count(f"FROM before WHERE {' OR '.join(wrong)}")

    def too_little_activity(self) -> int:
        config = self.claim.config
        least = {"user": max(config.min_user_rows, config.k_core), "item": max(config.min_item_rows, config.k_core)}
        return sum(
            self._count(f"FROM {name}_rows WHERE n_train BETWEEN 1 AND {most - 1}") for name, most in least.items()
        )

    def pairs_in_two_parts(self) -> int:
        return self._count("FROM valid SEMI JOIN train USING (user_idx, item_idx)") + self._count(
            "FROM test SEMI JOIN before USING (user_idx, item_idx)"
        )

    def rows_before_the_cut(self) -> int:
        latest = "SELECT max(timestamp) FROM {}"
        valid = self._count(f"FROM valid WHERE timestamp <= ({latest.format('train')})")
        return valid + self._count(f"FROM test WHERE timestamp <= ({latest.format('before')})")

    def rows_after_the_last(self) -> int:
        early = self._count("FROM test JOIN user_rows USING (user_idx) WHERE place < last OR timestamp < latest")
        early += self._count(
            "FROM valid JOIN user_rows USING (user_idx) WHERE place < last_train OR timestamp < latest_train"
        )
        many = self._count("FROM user_rows WHERE n_valid > 1")
        return early + many + self._count("FROM (FROM test SELECT user_id GROUP BY user_id HAVING count(*) > 1)")

    def shares_missed(self) -> int:
        n = (
            self.rows["train"]
            + self.claim.left_out
            + self.rows["valid"]
            + self.rows["test"]
            + sum(self.claim.dropped.values())
        )
        shares = {Part.VALID: self.claim.config.valid_share, Part.TEST: self.claim.config.test_share}
        return sum(
            abs(self.rows[part.name.lower()] + self.claim.dropped.get(part, 0) - round(n * share))
            for part, share in shares.items()
        )

    def judging_pairs_known(self) -> int:
        coded = (
            "SELECT u.file_row_number AS user_idx, i.file_row_number AS item_idx FROM judged j "
            "JOIN users u ON u.user_id::VARCHAR = j.user_id JOIN items i ON i.item_id::VARCHAR = j.item_id"
        )
        return sum(
            self._count(f"FROM {name} SEMI JOIN ({coded}) USING (user_idx, item_idx)") for name in ("before", "rated")
        )

    @property
    def _judgeable(self) -> str:
        """The log without what only judges."""
        return "log ANTI JOIN judged USING (user_id, item_id)" if self.has_judged else "log"

    @property
    def _liked(self) -> str:
        least = self.claim.positives.min_rating
        return "TRUE" if least is None else f"coalesce(rating >= {literal(least)}, FALSE)"

    def _step(self, part: str) -> int:
        return self.rows[part] // SAMPLE + 1

    def _count(self, query: str) -> int:
        (counted,) = self.sql.one(f"SELECT count(*) {query}")
        return int(counted)


def _listed(sql: Engine, claim: Claim) -> str:
    """The rows of events that count, with their weights; without times where one of these rows has none."""
    events, only, weight = claim.positives.events, "", "1::FLOAT"
    if events:
        only = f"WHERE event IN ({', '.join(map(literal, events))})"
        weight = " ".join(f"WHEN event = {literal(name)} THEN {literal(one)}::FLOAT" for name, one in events.items())
        weight = f"CASE {weight} END"
    rows = f"{sql.rows(claim.snapshot.interactions)} {only}"
    timed = f"(SELECT count(*) = count(timestamp) FROM {rows})"
    time = f"CASE WHEN {timed} THEN timestamp END AS timestamp"
    return f"SELECT user_id, item_id, {time}, rating, {weight} AS weight FROM {rows}"
