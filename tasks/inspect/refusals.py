"""What a night would put into quarantine, and whether it would be refused: the same rules, counted by the same SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tasks.expect.agree import breaks
from tasks.expect.contract import Rule
from tasks.expect.sql import predicate
from tasks.inspect.kinds import one_line
from tasks.schema import INTERACTIONS
from tasks.store.engine import Engine, literal, quoted

N_EXAMPLES = 3
SHOWN = ("user_id", "item_id", "rating", "timestamp", "event")


@dataclass(frozen=True)
class Reason:
    """Rows that would be refused for the same reason."""

    reason: str
    severity: str  # row | night | warning
    rows: int
    setting: str  # the option that moves the limit; empty where there is none
    examples: tuple[str, ...]


def broken_row_rules(engine: Engine, rows: str, rules: Sequence[Rule]) -> tuple[Reason, ...]:
    """What rows break on their own; a row that breaks several is counted under the first. The commonest first."""
    judged = [rule for rule in rules if _is_of_rows(rule)]
    if not judged:
        return ()
    counts = engine.table(f"SELECT rule, count(*) AS n FROM ({_first_broken(rows, judged)}) GROUP BY rule").to_pylist()
    found = [(judged[row["rule"]], int(row["n"]), row["rule"]) for row in counts if row["rule"] is not None]
    reasons = [
        Reason(rule.sentence, rule.severity, n, rule.setting, _examples(engine, rows, judged, number))
        for rule, n, number in found
    ]
    return tuple(sorted(reasons, key=lambda reason: -reason.rows))


def unread_reasons(engine: Engine, unread: str) -> tuple[Reason, ...]:
    """Rows that could not be read, by the cell that was in the way, as a night counts them."""
    kind = "split_part(split_part(problem, '=', 1), ':', 1)"
    rows = engine.table(
        f"SELECT {kind} AS kind, count(*) AS n, min(source_row) AS row, "
        f"arg_min(problem, source_row, {N_EXAMPLES}) AS said, arg_min(source_row, source_row, {N_EXAMPLES}) AS rows "
        f"FROM {unread} GROUP BY kind ORDER BY n DESC, row"
    ).to_pylist()
    return tuple(
        Reason(
            f"could not be read: {row['kind']}",
            "row",
            row["n"],
            "",
            tuple(f"row {number}: {one_line(said, 80)}" for number, said in zip(row["rows"], row["said"], strict=True)),
        )
        for row in rows
    )


def accepted(rules: Sequence[Rule]) -> str:
    """The condition for rows that no row-level rule refuses."""
    refusing = [predicate(rule) for rule in rules if rule.severity == "row" and _is_of_rows(rule)]
    return f"NOT ({' OR '.join(refusing)})" if refusing else "TRUE"


def is_broken(engine: Engine, rows: str, rule: Rule, schema: pa.Schema) -> bool:
    """Whether a row of another table breaks a rule on its rows."""
    if not _is_of_rows(rule, schema):
        return False
    (n,) = engine.one(f"SELECT count(*) FROM {rows} WHERE {predicate(rule, schema)}")
    return bool(n)


def merged(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Of several sets of files: equal reasons together, the commonest first."""
    found: dict[str, Reason] = {}
    for reason in reasons:
        before = found.get(reason.reason)
        if before is not None:
            examples = (*before.examples, *reason.examples)[:N_EXAMPLES]
            reason = replace(reason, rows=before.rows + reason.rows, examples=examples)
        found[reason.reason] = reason
    return tuple(sorted(found.values(), key=lambda reason: -reason.rows))


def failed_facts(rules: Sequence[Rule], facts: Mapping[str, float]) -> tuple[Rule, ...]:
    """The rules about the whole dataset that its facts break."""
    return tuple(rule for rule in rules if breaks(rule.check, facts[rule.column]))


def _is_of_rows(rule: Rule, schema: pa.Schema = INTERACTIONS) -> bool:
    try:
        predicate(rule, schema)
    except ValueError:
        return False
    return True


def _first_broken(rows: str, rules: Sequence[Rule]) -> str:
    cases = " ".join(f"WHEN {predicate(rule)} THEN {number}" for number, rule in enumerate(rules))
    return f"SELECT CASE {cases} END AS rule, * FROM {rows}"


def _examples(engine: Engine, rows: str, rules: Sequence[Rule], number: int) -> tuple[str, ...]:
    columns = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in SHOWN)
    found = engine.table(
        f"SELECT source_row, {columns} FROM ({_first_broken(rows, rules)}) WHERE rule = {literal(number)} "
        f"ORDER BY source_row LIMIT {N_EXAMPLES}"
    ).to_pylist()
    return tuple(_shown(row, rules[number].column) for row in found)


def _shown(row: Mapping[str, object], column: str) -> str:
    """The row's number, the cell that is wrong, then the others that are there."""
    names = [column, *(name for name in SHOWN if name != column and row[name] is not None)]
    cells = ", ".join(f"{name}={one_line(str(row[name])) if row[name] is not None else 'null'}" for name in names)
    return f"row {row['source_row']}: {cells}"
