"""The validation page: hostile text is escaped, severities are told apart, bars are as high as their shares."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tasks.expect.contract import Between, Rule, Verdict
from tasks.validate.charts import FOOT, HEIGHT, charts
from tasks.validate.report import render
from tasks.validate.result import (
    Count,
    Counts,
    Distribution,
    Figure,
    Finding,
    Validation,
    finding,
    finding_of_fact,
    reasons_of,
    refusal,
)

AS_OF = datetime(2024, 6, 1, 3, 0, tzinfo=UTC)
NIGHT = Finding("dataset", "all files", "there are rows", False, 1, 0, (), "3", "checks.min_rows")
ROW = Finding("interactions", "a.csv", "no id is blank", False, 3, 20, ("row 7: x",), "", "checks.id", "row")
WARNING = Finding("dataset", "all files", "the hours are alike", False, 1, 0, (), "0.4", "checks.max_hour", "warning")
GOOD = Finding("interactions", "b.csv", "every id is there", True, 0, 20)
COUNTS = Counts(read=20, accepted=15, duplicates=2, quarantined=3)
HOURS = Distribution("hour", ("0", "1", "2"), (10, 30, 60), (50, 25, 25))


def page(*findings: Finding, **rest: object) -> str:
    return render(Validation(findings, COUNTS, **rest), "d", AS_OF)  # type: ignore[arg-type]


def test_what_comes_from_the_data_is_escaped() -> None:
    attack = "<script>alert(1)</script>\"'"
    bad = Finding(attack, attack, attack, False, 1, 2, (attack,), attack, attack)
    found = render(
        Validation(
            tuple(replace(bad, severity=severity) for severity in ("night", "row", "warning")),
            COUNTS,
            ((attack, 3),),
            (Distribution(attack, (attack,), (1,), (1,)),),
            (attack,),
        ),
        attack,
        AS_OF,
    )
    assert "<script" not in found
    assert 'alert(1)</script>"' not in found
    assert found.count("&lt;script&gt;") >= 20


def test_the_page_needs_nothing_from_outside() -> None:
    found = page(NIGHT, ROW, WARNING, GOOD, distributions=(HOURS,))
    assert "http" not in found
    assert "src=" not in found
    assert "url(" not in found


def test_only_the_severity_night_refuses() -> None:
    accepted, refused = Validation((ROW, WARNING, GOOD), COUNTS), Validation((ROW, NIGHT, WARNING, GOOD), COUNTS)
    assert (accepted.passed, refused.passed) == (True, False)
    assert refused.failed == (NIGHT,)
    assert refused.warnings == (WARNING,)
    assert refused.quarantined == (ROW,)
    assert not Validation((), COUNTS).passed


@pytest.mark.parametrize(
    ("findings", "banners"),
    [
        ((GOOD,), ["good"]),
        ((GOOD, ROW), ["good"]),
        ((GOOD, WARNING), ["good", "warn"]),
        ((GOOD, NIGHT), ["bad"]),
        ((GOOD, NIGHT, WARNING), ["bad", "warn"]),
    ],
)
def test_the_verdict_and_the_warnings_are_at_the_top(findings: tuple[Finding, ...], banners: list[str]) -> None:
    assert re.findall(r'<div class="banner (\w+)">', page(*findings)) == banners


def test_each_severity_has_its_mark() -> None:
    found = page(NIGHT, ROW, WARNING, GOOD)
    marks = re.findall(r'<tr( class="\w+")?><td class="mark (\w+)">\S (\w+)</td><td class="soft">(\w+)</td>', found)
    assert sorted(marks) == sorted(
        [
            (' class="failed"', "bad", "refuses", "night"),
            (' class="warned"', "warn", "quarantine", "row"),
            (' class="warned"', "warn", "warning", "warning"),
            ("", "good", "holds", "night"),
        ]
    )


def test_files_with_what_refuses_come_first_and_those_where_all_holds_last() -> None:
    found = page(GOOD, ROW, NIGHT)
    sources = re.findall(r"<summary>([^<]+)<", found)
    assert sources == ["all files", "a.csv", "b.csv"]


def test_rows_in_quarantine_are_counted_by_reason() -> None:
    found = page(ROW, reasons=(("no id is blank", 2), ("rating='x'", 1)))
    assert re.findall(r'<td class="number">(\d)</td><td class="number soft">([\d.]+%) of the rows', found) == [
        ("2", "10.00%"),
        ("1", "5.00%"),
    ]
    assert "<h2>Quarantine</h2>" not in page(GOOD)


def test_reasons_beyond_those_shown_are_added_up() -> None:
    found = page(ROW, reasons=tuple((f"reason {n}", 2) for n in range(33)))
    assert "reason 29" in found
    assert "reason 30" not in found
    assert 'other reasons</td><td class="number">6<' in found


def test_a_refused_night_has_accepted_nothing() -> None:
    assert "interactions accepted</span><b>0</b>" in page(NIGHT)
    assert "interactions accepted</span><b>15</b>" in page(WARNING)


def test_delivery_notes_are_listed() -> None:
    assert "<li>a.csv is new</li>" in page(GOOD, notes=("a.csv is new",))
    assert "Delivery" not in page(GOOD)


def test_bars_are_as_high_as_their_shares() -> None:
    """The tallest bar, .6 of tonight's rows, fills the chart; before, the hour had .25."""
    found = charts((HOURS,))
    full = HEIGHT - FOOT
    heights = re.findall(r'<rect class="(\w+)"[^>]* y="([\d.]+)"[^>]* height="([\d.]+)"', found)
    assert [kind for kind, _, _ in heights] == ["before", "today"] * 3
    shares = [0.5, 0.1, 0.25, 0.3, 0.25, 0.6]
    assert [float(height) for _, _, height in heights] == pytest.approx([s / 0.6 * full for s in shares], abs=0.06)
    assert all(float(top) + float(height) == pytest.approx(full, abs=0.11) for _, top, height in heights)
    assert "2: 60.0% tonight, 25.0% before" in found


def test_bars_stand_beside_each_other() -> None:
    edges = [
        (float(x), float(x) + float(w))
        for x, w in re.findall(r'<rect[^>]* x="([\d.]+)"[^>]* width="([\d.]+)"', charts((HOURS,)))
    ]
    assert all(right <= left + 0.11 for (_, right), (left, _) in pairwise(edges))


def test_without_an_earlier_night_there_is_no_chart() -> None:
    assert charts((replace(HOURS, before=(0, 0, 0)),)) == ""
    assert charts(()) == ""


def test_the_refusal_says_what_and_where_in_one_line() -> None:
    message, hint = refusal(Validation((ROW, NIGHT, WARNING), COUNTS))
    assert message == (
        'all files: "there are rows" does not hold (found 3); '
        'in quarantine: a.csv: 3 of 20 rows break "no id is blank" (row 7: x)'
    )
    assert hint == "mend the file or change checks.id, checks.min_rows"
    with pytest.raises(ValueError, match="nothing failed"):
        refusal(Validation((WARNING,), COUNTS))


def test_the_refusal_names_the_commonest_cause_of_quarantine() -> None:
    rarer, further = replace(ROW, n_failing=1, expectation="rarer"), replace(NIGHT, expectation="second")
    message, _ = refusal(Validation((rarer, ROW, NIGHT, further), COUNTS))
    assert "; 1 further expectation failed; in quarantine: a.csv: 3 of 20" in message
    assert "rarer" not in message


def test_findings_keep_what_their_rule_says() -> None:
    rule = Rule("s", "c", Between(1), "checks.x", "row")
    found = finding("interactions", "a.csv", rule, Count(2, 9, ("row 1: c=0",), "0 to 5"), Verdict(False, 2))
    assert found == Finding("interactions", "a.csv", "s", False, 2, 9, ("row 1: c=0",), "0 to 5", "checks.x", "row")


def test_facts_about_rows_count_them_and_others_fail_once() -> None:
    rule = Rule("s", "c", Between(None, 0))
    of_rows = finding_of_fact("all files", rule, Figure(0.5, 10, 20, ("a.csv row 1",), "50%"), Verdict(False, 1))
    assert (of_rows.n_failing, of_rows.n_total, of_rows.observed) == (10, 20, "50%")
    plain = finding_of_fact("all files", rule, Figure(3), Verdict(False, 1))
    assert (plain.n_failing, plain.n_total, plain.observed) == (1, 0, "3")
    assert finding_of_fact("all files", rule, Figure(0), Verdict(True, 0)).n_failing == 0


def test_reasons_of_several_files_are_added_up() -> None:
    assert reasons_of([("b", 1), ("a", 2), ("b", 3), ("c", 2)]) == (("b", 4), ("a", 2), ("c", 2))


def test_counts_must_add_up() -> None:
    with pytest.raises(ValueError, match="rows are lost"):
        Counts(read=3, accepted=1, duplicates=1)
    assert Counts(3, 1, 1, 1).quarantined == 1
