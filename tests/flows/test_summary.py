"""What a night says of itself on the terminal, on Prefect's page and in MLflow."""

import io
from typing import Any

from rich.console import Console

from flows.summary import as_markdown, data_lines, difference_lines, show, shown_metrics
from tests.tasks import cards


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


METRICS = {
    "valid/ndcg_at_10": 0.5,
    "test/map_at_20": 0.16,
    "test/ndcg_at_20": 0.12,
    "test/auc": 0.9,
    "test/map_at_10": 0.15,
    "test/ndcg_at_10": 0.11,
    "sampled/ndcg_at_10": 0.61,
    "beyond/coverage_at_10": 0.4,
    "floor/popularity/ndcg_at_10": 0.07,
    "floor/popularity/ndcg_at_20": 0.08,
    "floor/popularity/map_at_10": 0.05,
    "floor/popularity/auc": 0.8,
    "floor/popularity/sampled/ndcg_at_10": 0.41,
    "champion/ndcg_at_10": 0.1,
}


def finished(**changes: Any) -> dict[str, Any]:
    """A night's whole result."""
    told = {
        "metrics": METRICS,
        "intervals": {name: [value - 0.01, value + 0.01] for name, value in METRICS.items()},
        "differences": {"champion": cards.differs(-0.01), "popularity": cards.differs(0.04, p_value=0.0001)},
        "beside": {"champion": {"version": "3", "users": 31}},
        "test_users": 50,
        "experiment": "films",
        "experiment_id": "1",
        "tracking_uri": "http://me:sesame@host",
        "published": None,
        "kept": None,
        "unchanged": False,
    }
    return cards.night(**told | changes)


def printed(result: dict[str, Any], width: int = 80) -> str:
    text = io.StringIO()
    show(result, Console(file=text, width=width, highlight=False, soft_wrap=True))
    return text.getvalue()


def test_the_metrics_that_matter_come_first_and_longer_lists_only_where_they_say_more() -> None:
    assert shown_metrics(METRICS) == [
        "test/ndcg_at_10",
        "test/ndcg_at_20",
        "test/map_at_10",
        "test/auc",
        "sampled/ndcg_at_10",
    ]


def test_the_table_fits_an_ordinary_terminal() -> None:
    lines = printed(finished()).splitlines()
    table = [line for line in lines if line.startswith("│")]
    assert len(table) == 5
    cells = {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in table}
    assert cells["NDCG@10"] == ["0.1100", "0.1000 to 0.1200", "0.0700"]
    assert cells["AUC"] == ["0.9000", "0.8900 to 0.9100", "0.8000"]
    assert cells["NDCG@10 (sampled)"] == ["0.6100", "0.6000 to 0.6200", "0.4100"]


def test_differences_have_a_line_each_with_interval_and_p() -> None:
    assert [line.strip() for line in difference_lines(finished())] == [
        "NDCG@10 against champion, version 3: −0.0100 (−0.0200 to +0.0000), p .020",
        "NDCG@10 against popularity: +0.0400 (+0.0300 to +0.0500), p <.001",
    ]
    assert difference_lines(finished(differences={})) == []


def test_a_version_that_waits_says_what_to_type() -> None:
    waits = cards.refused({"name": "approved by a person", "passed": False, "detail": "nobody yet"}, waits=True)
    said = printed(finished(decision=waits, model=cards.model("ease")))
    assert "Waiting: encore-films version 5 passed, version 4 stays champion" in said
    assert "encore promote 5 --ingest.name=films --reason=..." in said
    other = printed(finished(decision=waits, model={**cards.model("ease"), "name": "shop"}))
    assert "--registered_model=shop --reason=..." in other
    assert "Waiting" not in printed(finished())


def test_the_page_in_mlflow_says_all_that_decides() -> None:
    page = as_markdown(finished())
    assert "| model | NDCG@10 | MAP@10 | AUC |" in page
    assert "| bpr_mf | 0.1100 | 0.1500 | 0.9000 |" in page
    assert "| popularity (floor) | 0.0700 | 0.0500 | 0.8000 |" in page
    assert "- NDCG@10 against champion, version 3: −0.0100" in page
    assert "- passed: beats popularity (by 0.02)" in page
    assert page.startswith("## films: bpr_mf promoted\n\nby 0.02\n")  # MLflow folds what comes later
    assert "waits for approval" in as_markdown(finished(decision=cards.refused(waits=True)))
