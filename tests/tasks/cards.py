"""A night as its pages see it, made up by hand, for several test files."""

from html.parser import HTMLParser
from typing import Any

import pytest
from matplotlib.figure import Figure

from tasks.cards.examples import Example, Item
from tasks.cards.night import NightFacts, Rival
from tasks.cards.sides import Side

ATTACK = "<script>alert('1')</script>"
HISTORY = [
    {"number": n, "loss": 1 / n, "samples": 100, "seconds": 0.1, "metrics": {"ndcg_at_10": value, "ndcg_at_20": value}}
    for n, value in enumerate((0.01, 0.0312345, 0.02), start=1)
]
WHOLE = {
    "roc": {"negatives": [0.0, 0.5, 1.0], "relevant": [0.0, 0.8, 1.0]},
    "precision_recall": {"cutoffs": [1, 2, 4], "precision": [0.5, 0.25, 0.125], "recall": [0.2, 0.4, 1.0]},
}
CURVES: dict[str, Any] = {"ndcg": [0.1, 0.2, 0.3], "recall": [0.1, 0.3, 0.6], **WHOLE}
FLOOR_CURVES: dict[str, Any] = {"ndcg": [0.1, 0.1, 0.2], "recall": [0.1, 0.2, 0.4], **WHOLE}
EXAMPLE = Example(
    user_id="u7",
    history_length=12,
    recent=(Item("1", "Alien"),),
    held_out=(Item("3", "Brazil", "Drama|Sci-Fi", hit=True),),
    shown=(Item("2", "Casablanca"), Item("3", "Brazil", "Drama|Sci-Fi", hit=True)),
    reason="model",
)


def differs(mean: float, width: float = 0.01, p_value: float = 0.02) -> dict[str, dict[str, float]]:
    """A difference in NDCG@10."""
    return {"ndcg_at_10": {"mean": mean, "low": mean - width, "high": mean + width, "p_value": p_value}}


def night(**changes: Any) -> dict[str, Any]:
    """The result of a night, with these fields changed."""
    return {
        "run_id": "run-1",
        "dataset": "films",
        "as_of": "2024-06-01T03:00:00+00:00",
        "snapshot": "5a" * 16,
        "protocol": "temporal",
        "rows": {
            "read": 1234,
            "accepted": 1200,
            "quarantined": 4,
            "duplicates": 30,
            "train": 1000,
            "valid": 90,
            "test": 110,
            "users": 55,
            "items": 66,
        },
        "quarantine": {"rating above 5": 4},
        "warnings": [],
        "audit": [{"sentence": "no pair in two parts", "passed": True}],
        "seconds": {"startup": 1.0, "ingest": 2.0, "train": 6.0, "total": 10.0},
        "cached": ["ingest"],
        "peak_mb": 812.4,
        "level": 0.95,
        "differences": {"popularity": differs(0.0222)},
        "beside": {},
        "evaluated": {"test": "metrics/a"},
        "test_fingerprint": "f",
        "on_everything": False,
        "warm": None,
        "seeds": 1,
        "weights_sha256": "c0ffee00" * 8,
        "decision": {
            "promote": True,
            "awaits_approval": False,
            "reason": "by 0.02",
            "checks": [{"name": "beats popularity", "passed": True, "detail": "by 0.02"}],
        },
        "model": {
            "name": "encore-films",
            "version": "4",
            "champion": "4",
            "parameters": 4321,
            "config": {"name": "bpr_mf", "dim": 64},
        },
        "recommendations": "recommendations/run=run-1/recommendations.parquet",
        **changes,
    }


def refused(*checks: dict[str, Any], waits: bool = False) -> dict[str, Any]:
    return {"promote": False, "awaits_approval": waits, "reason": "", "checks": list(checks)}


def model(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "encore-films",
        "version": "5",
        "champion": "4",
        "parameters": 0,
        "config": {"name": name, **fields},
    }


def training(**changes: Any) -> dict[str, Any]:
    """The record of a training, with these fields changed."""
    return {
        "weights_sha256": "c0ffee00" * 8,
        "n_parameters": 4321,
        "best_epoch": 2,
        "refitted": True,
        "valid": {"ndcg_at_10": 0.0312345},
        "history": HISTORY,
        "seconds": 61.0,
        "samples_per_second": 1000.4,
        "trainer": {"seed": 0, "batch_size": 512},
        **changes,
    }


CLOSED_FORM = training(history=[], best_epoch=0, samples_per_second=0.0, n_parameters=0)


def beyond(coverage: float) -> dict[str, float]:
    return {"coverage_at_10": coverage, "popularity_at_10": 0.25, "novelty_at_10": 2.345}


def judged(ndcg: float, curves: dict[str, Any], *more: str) -> dict[str, Any]:
    """What an evaluation says of a model."""
    metrics = ["test/ndcg_at_10", "test/recall_at_20", "test/auc", *more]
    return {
        "users": {"test": 50, "sampled": 40},
        "means": dict.fromkeys(metrics, ndcg),
        "intervals": {metric: [ndcg - 0.01, ndcg + 0.01] for metric in metrics},
        "curves": curves,
        "beyond": {"test": beyond(ndcg)},
        "segments": {
            "history_length": [
                {"bucket": "0", "users": 12, "ndcg_at_10": ndcg / 2},
                {"bucket": "200+", "users": 1038, "ndcg_at_10": ndcg},
            ],
            "item_age": [{"bucket": "<7", "rows": 7, "recall_at_10": ndcg, "ndcg_at_10": ndcg}],
            "item_popularity": [{"bucket": "tail", "rows": 9, "recall_at_10": ndcg, "ndcg_at_10": ndcg}],
            "reason": [{"bucket": "model", "users": 50, "ndcg_at_10": ndcg}],
        },
    }


SCORES, FLOOR, KNN = judged(0.06666666, CURVES), judged(0.04444444, FLOOR_CURVES), judged(0.05, FLOOR_CURVES)
BESIDE = {
    "users": {"champion": 31},
    "means": {"champion/ndcg_at_10": 0.0811},
    "beyond": {"champion": beyond(0.125), "challenger": beyond(0.375)},
    "overlap_at_10": 0.456,
}


def facts(
    result: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
    scores: dict[str, Any] = SCORES,
    floors: dict[str, Any] | None = None,
    rivals: dict[str, Rival] | None = None,
) -> NightFacts:
    """All that the run card shows; a usual night where nothing is given."""
    below = {"popularity": FLOOR, "item_knn": KNN} if floors is None else floors
    return NightFacts(result or night(), record or training(), scores, below, rivals or {})


def beside_champion(mean: float = 0.03) -> NightFacts:
    """A night whose model was judged beside champion and anchor."""
    differences = {"champion": differs(mean), "anchor": differs(0.001), "popularity": differs(0.0222)}
    rivals = {"champion": Rival("3", BESIDE), "anchor": Rival("1", BESIDE)}
    told = {whom: {"version": rival.version, "users": 31} for whom, rival in rivals.items()}
    return facts(night(differences=differences, beside=told), rivals=rivals)


def side(label: str = "version 4", **changes: Any) -> Side:
    """One side of a diff: its result with these fields changed."""
    config = {"model": {"name": "bpr_mf", "dim": 64}, "split": {"protocol": "temporal"}, "sample": {"negatives": None}}
    return Side(label, config, night(**changes), training(), SCORES)


def leave_blank(monkeypatch: pytest.MonkeyPatch, *plots: str) -> None:
    """These functions of tasks.cards draw nothing, and the page has their names instead."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, out, **_: out.write('<svg viewBox="0 0 1 1">x</svg>'))
    for plot in plots:
        monkeypatch.setattr(f"tasks.cards.{plot}", lambda *_, name=plot: Figure(label=name))


class Reader(HTMLParser):
    """Notes tags and ids, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def assert_stands_alone(page: str) -> None:
    """Well formed, and nothing in it is fetched from anywhere."""
    reader = Reader(page)
    assert reader.open == []
    assert all(link.startswith("#") for link in reader.links)
    assert not reader.tags & {"script", "img", "link", "iframe", "object", "image"}
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
