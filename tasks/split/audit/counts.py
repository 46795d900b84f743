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


@dataclass(frozen=True)
class Counts:
    """The tables as views, and one row per user and per item of training and validation."""

    sql: Engine
    claim: Claim
    rows: Mapping[str, int]  # as counted in the files
    has_judged: bool

    @classmethod
    def of(cls, sql: Engine, parts: Mapping[str, DatasetRef], claim: Claim, judged: pa.Table | None) -> "Counts":
        names = ("train", "valid", "test", "users", "items")
        for name in names:
            sql.run(f"CREATE VIEW {name} AS SELECT *, file_row_number FROM {sql.rows([parts[name]])}")
        sql.run("CREATE VIEW before AS SELECT *, TRUE AS trains FROM train UNION ALL SELECT *, FALSE FROM valid")
        sql.run(
            "CREATE TABLE user_rows AS SELECT user_idx, count(*) FILTER (trains) AS n_train, "
            "count(*) FILTER (NOT trains) AS n_valid, max(place) FILTER (trains) AS last_train, max(place) AS last, "
            "max(timestamp) AS latest FROM before GROUP BY user_idx"
        )
        sql.run(
            "CREATE TABLE item_rows AS "
            "SELECT item_idx, count(*) FILTER (trains) AS n_train FROM before GROUP BY item_idx"
        )
        sql.run(f"CREATE VIEW log AS SELECT * FROM {sql.rows(claim.snapshot.interactions)}")
        if judged is not None:
            sql.put("judged", judged)
        rows = {name: sql.one(f"SELECT count(*) FROM {name}")[0] for name in names}
        return cls(sql, claim, rows, judged is not None)

    def rows_lost(self) -> int:
        positives = self.claim.positives
        liked = "TRUE" if positives.min_rating is None else f"rating >= {literal(positives.min_rating)}"
        listed = f"event IN ({', '.join(map(literal, positives.events))})" if positives.events else "TRUE"
        without = "ANTI JOIN judged USING (user_id, item_id)" if self.has_judged else ""
        n_positives = self._count(f"FROM log {without} WHERE {liked} AND {listed}")
        tested = 0 if self.claim.protocol == "given" else self.rows["test"]
        told = self.rows["train"] + self.rows["valid"] + tested + sum(self.claim.dropped.values()) + self.claim.left_out
        return abs(n_positives - told)

    def rows_foreign(self) -> int:
        """Some rows of every part, by their raw ids, that the log has not."""
        time = "CASE WHEN (SELECT count(*) = count(timestamp) FROM log) THEN timestamp END AS timestamp"
        ids = "u.user_id::VARCHAR AS user_id, i.item_id::VARCHAR AS item_id"
        named = "JOIN users u ON u.file_row_number = user_idx JOIN items i ON i.file_row_number = item_idx"
        every = {name: f"(FROM {name} WHERE file_row_number % {self._step(name)} = 0) s" for name in ("train", "valid")}
        picked = [f"SELECT {ids}, s.timestamp, s.rating FROM {rows} {named}" for rows in every.values()]
        sampled = f"SELECT DISTINCT * FROM ({' UNION ALL '.join(picked)})"
        found = f"SELECT user_id, item_id, {time}, rating FROM log"
        equal = " AND ".join(f"s.{c} IS NOT DISTINCT FROM l.{c}" for c in ("user_id", "item_id", "timestamp", "rating"))
        return self._count(f"FROM ({sampled}) s ANTI JOIN ({found}) l ON {equal}")

    def indices_wrong(self) -> int:
        users, items = self.rows["users"], self.rows["items"]
        outside = "user_idx NOT BETWEEN {low} AND {users} - 1 OR item_idx NOT BETWEEN {low} AND {items} - 1"
        learned, tested = (outside.format(low=low, users=users, items=items) for low in (0, -1))
        return self._count(f"FROM before WHERE {learned}") + self._count(f"FROM test WHERE {tested}")

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
        early += self._count("FROM valid JOIN user_rows USING (user_idx) WHERE place < last_train")
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
        return self._count(f"FROM before SEMI JOIN ({coded}) USING (user_idx, item_idx)")

    def _step(self, part: str) -> int:
        return self.rows[part] // SAMPLE + 1

    def _count(self, query: str) -> int:
        (counted,) = self.sql.one(f"SELECT count(*) {query}")
        return int(counted)
