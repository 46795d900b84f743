"""What a column holds, and which of ours it may be."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.inspect import columns as profiling
from tasks.inspect.columns import Column, commonest_share, profile_columns
from tasks.inspect.guess import hints, weight_of, words
from tasks.inspect.kinds import kind_of, one_line, unit_of
from tasks.inspect.propose import Proposed, propose, to_write
from tasks.store.engine import engine, literal
from tasks.store.store import Store

# ---- what cells hold


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "+30"], "whole numbers"),
        (["007", "12"], "whole numbers"),
        (["1", "2.5", "1e3"], "numbers"),
        (["2024-01-31", "2024-01-31T23:59:00Z", "2024-01-31 23:59:00.5+02:00"], "instants"),
        (["31/12/2024", "1.2.24", "12-31-2024 10:00"], "other dates"),
        (["Nov 3, 2024", "May 12 2023 10:00"], "other dates"),
        (["true", "false", "True"], "yes or no"),
        (["view", "cart", "12"], "text"),
        (["", None, "  "], "nothing"),
        ([None, None], "nothing"),
        (["1"] * 19 + ["n/a"], "whole numbers"),  # one broken cell of twenty
        (["1"] * 8 + ["n/a", "?"], "text"),  # two of ten are no accident
    ],
)
def test_kinds_of_text(cells: list[str | None], kind: str) -> None:
    assert kind_of(pa.chunked_array([pa.array(cells, pa.string())])) == kind


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array([1, 2]), "whole numbers"),
        (pa.array([1.0, None, 2.0]), "whole numbers"),  # a frame with gaps holds ids as floats
        (pa.array([1.5, 2.0]), "numbers"),
        (pa.array([float("nan"), 1.5]), "numbers"),
        (pa.array([True, None]), "yes or no"),
        (pa.array([0], pa.timestamp("ms")), "instants"),
        (pa.array([0], pa.date32()), "instants"),
        (pa.array([[1]]), "nested"),
        (pa.array([{"a": 1}]), "nested"),
        (pa.array(["a", "b"]).dictionary_encode(), "text"),
    ],
)
def test_kinds_of_typed_columns(array: pa.Array, kind: str) -> None:
    assert kind_of(pa.chunked_array([array])) == kind


@pytest.mark.parametrize(
    ("typical", "unit"),
    [(99_999_999, "order"), (100_000_000, "s"), (99_999_999_999, "s"), (10**11, "ms"), (10**14, "us"), (10**17, "ns")],
)
def test_the_median_tells_the_unit_as_in_ingest(typical: int, unit: str) -> None:
    column = pa.chunked_array([pa.array([0, typical, typical, typical, 10**18])])
    assert unit_of(column, "whole numbers") == unit
    assert unit_of(column.cast(pa.string()), "whole numbers") == unit


def test_one_line_is_safe_to_print() -> None:
    assert one_line("a\x1b[31mb\nc") == "a\\x1b[31mb\\x0ac"
    assert one_line("x" * 50, 40) == "x" * 40 + "…"
    assert one_line("x" * 40, 40) == "x" * 40


# ---- the profile of a file's columns


def profiled(store: Store, table: pa.Table) -> dict[str, Column]:
    store.root.mkdir(exist_ok=True)
    pq.write_table(table, store.path("raw.parquet"))
    with engine(store) as asked:
        source = f"read_parquet({literal(str(store.path('raw.parquet')))})"
        return {one.name: one for one in profile_columns(asked, source, table.column_names)}


def test_the_profile_by_hand(store: Store) -> None:
    found = profiled(
        store,
        pa.table(
            {
                "n": ["10", "9", "", None, "9"],
                "x": [1.5, float("nan"), float("inf"), -2.0, None],
                'od"d, name': ["b", "a\x1b[0m", "b", " ", "c"],
            }
        ),
    )
    number = found["n"]
    assert (number.rows, number.empty, number.kind) == (5, 2, "whole numbers")
    assert (number.low, number.high) == ("9", "10")  # by size, not as text
    assert (found["x"].low, found["x"].high, found["x"].empty) == ("-2", "1.5", 1)  # neither NaN nor infinity
    odd = found['od"d, name']
    assert (odd.empty, odd.low, odd.high) == (1, " ", "c")
    assert "\x1b" not in "".join(odd.examples)
    assert "a\\x1b[0m" in odd.examples


def test_different_values_are_estimated_only_where_they_are_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "EXACT_ROWS", 10_000)
    rows = 20_000
    found = profiled(store, pa.table({"many": list(range(rows)), "few": [n % 7 for n in range(rows)]}))
    assert not found["many"].is_exact
    assert found["many"].distinct == pytest.approx(rows, rel=0.1)
    assert found["few"].is_exact
    assert found["few"].distinct == 7


def test_the_sample_covers_the_whole_file(store: Store) -> None:
    """A file that begins with numbers and goes on with words holds text."""
    cells = ["1"] * 50_000 + ["word"] * 50_000
    assert profiled(store, pa.table({"c": cells}))["c"].kind == "text"


def test_the_commonest_value(store: Store) -> None:
    store.root.mkdir()
    pq.write_table(pa.table({"c": ["a", "b", "a", "c"]}), store.path("raw.parquet"))
    with engine(store) as asked:
        assert commonest_share(asked, f"read_parquet({literal(str(store.path('raw.parquet')))})", "c") == 0.5


# ---- proposals


def column(name: str, kind: Any = "whole numbers", **more: Any) -> Column:
    facts: dict[str, Any] = {
        "type": "string", "unit": "order", "rows": 10_000, "empty": 0, "distinct": 500, "is_exact": True,
        "low": "1", "high": "500", "examples": ("1", "2"),
    }  # fmt: skip
    return Column(name=name, kind=kind, **(facts | more))


def proposed(
    columns: Sequence[Column],
    named: Mapping[str, str] | None = None,
    told: Mapping[str, str] | None = None,
    spread: Mapping[str, float] | None = None,
) -> Proposed:
    header = [one.name for one in columns]
    return propose(columns, named or {}, told or {}, [header], lambda name: (spread or {})[name])


def as_dict(found: Proposed) -> dict[str, tuple[str, str]]:
    return {one.field: (one.column, one.sure) for one in found.proposals}


EPOCH: dict[str, Any] = {"unit": "s", "low": "1700000000", "high": "1702592000", "distinct": 9_999}
ISO: dict[str, Any] = {
    "kind": "instants",
    "unit": "ISO 8601",
    "distinct": 9_900,
    "low": "2023-11-14",
    "high": "2023-12-14",
}
EVENTS: dict[str, Any] = {"kind": "text", "distinct": 3, "examples": ("view", "cart"), "unit": ""}
STARS: dict[str, Any] = {"distinct": 10, "low": "0.5", "high": "5", "kind": "numbers"}


def test_what_is_told_goes_before_names_and_names_before_content() -> None:
    columns = [column("user_id"), column("who", distinct=80), column("movie"), column("when", **ISO)]
    found = proposed(columns, {"user_id": "user_id", "movie": "item_id"}, {"who": "user_id"})
    assert as_dict(found) == {
        "user_id": ("who", "told"), "item_id": ("movie", "by name"), "timestamp": ("when", "likely"),
    }  # fmt: skip
    assert found.missing == ("rating", "event")


def test_content_tells_what_names_do_not() -> None:
    columns = [
        column("a", distinct=900),
        column("b", distinct=300),
        column("c", **EPOCH),
        column("d", **EVENTS),
        column("e", **STARS),
    ]
    found = proposed(columns, spread={"a": 0.01, "b": 0.05})
    assert as_dict(found) == {
        "user_id": ("a", "guess"),
        "item_id": ("b", "guess"),
        "rating": ("e", "guess"),
        "timestamp": ("c", "guess"),
        "event": ("d", "likely"),
    }


@pytest.mark.parametrize(
    ("first", "second", "spread", "user"),
    [
        (900, 300, (0.05, 0.01), "a"),  # first and more, though one of its values is very common
        (300, 900, (0.01, 0.05), "a"),  # first and without a common value
        (300, 900, (0.05, 0.01), "b"),  # more, and without a common value
    ],
)
def test_two_of_three_signs_tell_users_from_items(
    first: int, second: int, spread: tuple[float, float], user: str
) -> None:
    columns = [column("a", distinct=first), column("b", distinct=second)]
    found = proposed(columns, spread=dict(zip("ab", spread, strict=True)))
    assert found.column("user_id") == user
    assert found.column("item_id") == "ba"["ab".index(user)]


def test_numbers_of_rows_amounts_and_flags_are_nobody() -> None:
    columns = [
        column("order_no", distinct=10_000),  # every value once
        column("country", "text", distinct=12),
        column("quantity", distinct=9, low="1", high="9"),
        column("customer_no", distinct=700),
        column("article_code", "text", distinct=80),
    ]
    found = proposed(columns)
    assert as_dict(found) == {"user_id": ("customer_no", "likely"), "item_id": ("article_code", "likely")}


def test_one_id_column_alone_is_not_guessed() -> None:
    found = proposed([column("a"), column("when", **ISO)])
    assert found.missing == ("user_id", "item_id", "rating", "event")


def test_one_id_column_that_is_left_is_the_other_field() -> None:
    assert as_dict(proposed([column("user"), column("zz")], {"user": "user_id"}))["item_id"] == ("zz", "guess")


@pytest.mark.parametrize(
    "unfit",
    [
        {"unit": "s", "low": "100000001", "high": "4999999999"},  # telephone numbers
        {"unit": "order"},
        {"kind": "other dates", "unit": ""},
    ],
)
def test_what_is_no_instant_is_not_proposed(unfit: dict[str, Any]) -> None:
    columns = [column("user"), column("item"), column("when", **({"distinct": 9_999} | unfit))]
    assert "timestamp" in proposed(columns, {"user": "user_id", "item": "item_id"}).missing


def test_doubts_are_said() -> None:
    columns = [
        column("user", distinct=10_000),
        column("item", "nested"),
        column("date", "other dates", unit="", examples=("31/12/2024",)),
        column("rating", "text"),
    ]
    named = {"user": "user_id", "item": "item_id", "date": "timestamp", "rating": "rating"}
    doubts = {one.field: one.doubt for one in proposed(columns, named).proposals}
    assert "hardly ever come twice" in doubts["user_id"]
    assert "lists" in doubts["item_id"]
    assert "31/12/2024 cannot be read" in doubts["timestamp"]
    assert doubts["rating"] == "its values are no numbers"


def test_of_two_usual_names_the_id_is_taken_and_written_down() -> None:
    columns = [column("userName"), column("userid"), column("item_id")]
    named = {"userName": "user_id", "userid": "user_id", "item_id": "item_id"}
    found = proposed(columns, named)
    assert as_dict(found)["user_id"] == ("userid", "likely")
    assert to_write(found, named, [["userName", "userid", "item_id"]]) == {"userid": "user_id"}


def test_files_that_call_the_same_by_different_names_need_no_mapping() -> None:
    columns = [column("user"), column("uid"), column("item_id")]
    named = {"user": "user_id", "uid": "user_id", "item_id": "item_id"}
    headers = [["user", "item_id"], ["uid", "item_id"]]
    found = propose(columns, named, {}, headers, lambda name: 0.0)
    assert to_write(found, named, headers) == {}


def test_what_only_content_tells_must_be_written() -> None:
    columns = [column("user"), column("zz"), column("when", **ISO)]
    found = proposed(columns, {"user": "user_id"})
    assert to_write(found, {"user": "user_id"}, [["user", "zz", "when"]]) == {"zz": "item_id", "when": "timestamp"}


def test_words_of_a_name() -> None:
    assert words("boughtAt_2 ISO") == ["bought", "at", "2", "iso"]
    assert hints("user_id", "customerNo") == 2
    assert hints("user_id", "reuse") == 0  # inside a word is no hint
    assert hints("timestamp", "category") == 0
    assert hints("timestamp", "sold_at") == 1


@pytest.mark.parametrize(
    ("event", "weight"),
    [
        ("view", 1),
        ("page_view", 1),
        ("Add to cart", 3),
        ("purchases", 5),
        ("dislike", None),
        ("remove-from-cart", None),
        ("x", 1),
    ],
)
def test_weights_of_events(event: str, weight: float | None) -> None:
    assert weight_of(event) == weight
