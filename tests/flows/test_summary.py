"""What a night says of its data on the terminal and on Prefect's page."""

from typing import Any

from flows.summary import data_lines


def night(**changes: Any) -> dict[str, Any]:
    rows = {"read": 1000, "accepted": 997, "quarantined": 3, "duplicates": 0}
    return {
        "dataset": "shop",
        "rows": rows,
        "quarantine": {"no user": 1, "no rating above 5": 2},
        "warnings": [],
    } | changes


def test_refused_rows_are_counted_with_the_commonest_reason_and_what_to_type() -> None:
    (line,) = data_lines(night())
    assert line.strip() == (
        '3 of 1,000 rows are in quarantine: 2 by "no rating above 5" and 1 more reason '
        "(encore quarantine --ingest.name=shop)"
    )


def test_what_looked_odd_comes_first() -> None:
    assert [line.split()[0] for line in data_lines(night(warnings=["a b", "c d"]))] == ["look", "look", "3"]


def test_sound_data_says_nothing() -> None:
    rows = {"read": 10, "accepted": 9, "quarantined": 0, "duplicates": 1}
    assert data_lines(night(rows=rows, quarantine={})) == []
