"""The run card: what a night made, how good it is and why it went out or did not, on one page.

Numbers are rounded here and nowhere before. Every text goes through html.escape: titles and ids come from outside.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from tasks.cards.data import data_facts, data_notes
from tasks.cards.examples import Example, Item
from tasks.cards.page import banner, card, facts, page, tiles
from tasks.cards.plots import as_svg, duration, learning_curve, metric_at_k, step_seconds

FLOOR = "popularity"
METRIC_NAMES = {"ndcg": "NDCG", "hit": "HitRate", "map": "MAP", "mrr": "MRR"}  # the rest only gets a capital
PARTS = {"test": "all items ranked", "sampled": "only the given candidates ranked"}
SEGMENTS = {
    "history_length": ("history, items", "users", "ndcg_at_10"),
    "item_age": ("item's age, days", "rows", "recall_at_10"),
    "reason": ("list made by", "users", "ndcg_at_10"),
}
"""What a bucket says, what is counted in it, and the metric that is shown of it. A history is what the user had before
the test, an item's age the time since its first row then."""
SHOWN_BY = {
    "model": "by {name}",
    "fold-in": "by {name}, from the history alone: it does not know this user",
    "features": "by {name}, from the user's features alone: it does not know this user",
    "segment": "by popularity among similar users: the model does not know this user",
    "fallback": "by popularity: the model does not know this user",
}
MAX_HELD_OUT = 8
STYLE = """
@media screen and (prefers-color-scheme: dark) { :root { --plot-1: #56b4e9; } }
.card { overflow-x: auto; margin-bottom: 12px; } .card.padded { padding: 14px 16px; }
.card tr:first-child > * { border-top: 0; } .card h3 { font-size: 14px; margin: 0 0 2px; }
.wide { min-width: 620px; } .facts th { width: 160px; font-size: 13px; } .facts td { overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 12px;
  align-items: start; }
svg { display: block; width: 100%; max-width: 760px; min-width: 480px; height: auto; margin: 0 auto; }
svg text { font-family: system-ui, sans-serif !important; }
.segment th, .segment td { white-space: nowrap; padding: 8px 12px; }
tr.part th { padding-top: 18px; color: var(--ink); font-size: 13px; } .lead td { font-weight: 600; }
.example { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 240px), 1fr)); gap: 4px 28px; }
.example ol, .example ul { margin: 2px 0 8px; padding-left: 26px; font-size: 14px; overflow-wrap: anywhere; }
.example h3 { margin-top: 8px; color: var(--soft); font-size: 12px; }
.hit { font-weight: 600; color: var(--good); } .hit .soft { font-weight: 400; }
pre { margin: 4px 0 14px; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; }
pre:last-child { margin-bottom: 0; } pre span { color: var(--soft); }
@media (max-width: 560px) { main { padding: 20px 12px 40px; } th, td { padding: 7px 10px; } .facts th { width: 120px; }
  .tiles { grid-template-columns: 1fr 1fr; } .wide { min-width: 540px; } }
@media print { svg { min-width: 0; max-width: 520px; } .wide { min-width: 0; }
  .columns { grid-template-columns: 1fr 1fr; }
  .facts th { width: 110px; font-size: 11px; } .example { grid-template-columns: 1fr 1fr 1fr; } pre { font-size: 10px; }
  .example ol, .example ul { font-size: 11px; } .tiles { grid-template-columns: repeat(5, 1fr); } }
"""


def render(
    result: Mapping[str, Any],
    training: Mapping[str, Any],
    scores: Mapping[str, Any],
    floor: Mapping[str, Any],
    examples: Sequence[Example],
) -> str:
    """The whole page. `result` is the night's, `training` the record of a training, `scores` and `floor` what the
    evaluation says of the model and of popularity."""
    name = result["model"]["config"]["name"]
    sections = [
        _verdict(result),
        _headline(result, training, scores, floor),
        "<h2>How good it is</h2>",
        _metrics(name, scores, floor, result["level"]),
        card(as_svg(metric_at_k(curves(name, scores, floor)))),
        "<h2>Whom and what it is good for</h2>",
        _segments(name, scores["segments"], floor["segments"]),
        "<h2>Why it was " + ("promoted" if result["decision"]["promote"] else "refused") + "</h2>",
        _checks(result["decision"]["checks"]),
        '<div class="columns"><div><h2>The data</h2>',
        data_facts(result),
        "</div><div><h2>The model</h2>",
        _model(result, training),
        "</div></div>",
        *data_notes(result),
        *_learning(training),
        "<h2>Where the time went</h2>",
        card(as_svg(step_seconds(result["seconds"], result["cached"]))),
        *_examples(examples, name),
        "<h2>More of this</h2>",
        _commands(result),
    ]
    night = datetime.fromisoformat(result["as_of"])
    subtitle = f"night of {night:%Y-%m-%d %H:%M}, run {result['run_id']}"
    footer = (
        "Intervals: bootstrap over the test users. Difference: of the two means; the gate compares user by user. "
        "How the data was judged stands in validation.html, beside this page."
    )
    return page(f"{name} on {result['dataset']}", subtitle, sections, footer, STYLE)


def curves(name: str, scores: Mapping[str, Any], floor: Mapping[str, Any]) -> dict[str, Mapping[str, Sequence[float]]]:
    """What `metric_at_k` draws: the floor and the model, or the floor alone where it is the model."""
    ours = {name: scores["curves"]}
    return ours if name == FLOOR else {f"{FLOOR} (floor)": floor["curves"], **ours}


def _verdict(result: Mapping[str, Any]) -> str:
    model = result["model"]
    version = f"{model['name']} version {model['version']}"
    if result["decision"]["promote"]:
        return banner("good", f"✓ Promoted: {version}", "It is the champion now: production serves its lists.")
    stays = (
        f"Version {model['champion']} stays the champion."
        if model["champion"]
        else "There is no champion yet: production serves the floor."
    )
    failed = "".join(
        f"<li>{escape(check['name'])}: {escape(check['detail'])}</li>"
        for check in result["decision"]["checks"]
        if not check["passed"]
    )
    return banner("bad", f"✗ Refused: {version}", f"{escape(stays)}<ul>{failed}</ul>")


def _headline(
    result: Mapping[str, Any], training: Mapping[str, Any], scores: Mapping[str, Any], floor: Mapping[str, Any]
) -> str:
    ndcg, below = scores["means"]["test/ndcg_at_10"], floor["means"]["test/ndcg_at_10"]
    beside = "this is the floor" if result["model"]["config"]["name"] == FLOOR else f"popularity {_metric(below)}"
    return tiles(
        [
            ("NDCG@10", _metric(ndcg), beside),
            ("test users", f"{scores['users']['test']:,}", f"{result['protocol']} split"),
            ("training", duration(training["seconds"]), _speed(training)),
            ("the whole night", duration(result["seconds"]["total"]), _skipped(result["cached"])),
            ("peak memory", f"{result['peak_mb']:,.0f} MB", "all processes"),
        ]
    )


def _speed(training: Mapping[str, Any]) -> str:
    speed = training["samples_per_second"]
    return f"{speed:,.0f} samples/s" if speed else "without epochs"


def _skipped(cached: Sequence[str]) -> str:
    return f"skipped: {', '.join(cached)}" if cached else "nothing was skipped"


def _metrics(name: str, scores: Mapping[str, Any], floor: Mapping[str, Any], level: float) -> str:
    heads = [name, f"{level:.0%} interval of {name}"]
    if name != FLOOR:
        heads = [name, FLOOR, "difference", heads[1], f"{level:.0%} interval of {FLOOR}"]
    head = "".join(f'<th class="number">{escape(text)}</th>' for text in heads)
    rows: list[str] = []
    for part, meaning in PARTS.items():
        metrics = [metric for metric in scores["means"] if metric.startswith(f"{part}/")]
        if metrics:
            users = f"{part}: {meaning}, {scores['users'][part]:,} users"
            rows.append(f'<tr class="part"><th colspan="6">{users}</th></tr>')
        rows += [_metric_row(metric, scores, None if name == FLOOR else floor) for metric in metrics]
    return card(f'<table class="wide"><tr><th>metric</th>{head}</tr>{"".join(rows)}</table>', padded=False)


def _metric_row(metric: str, scores: Mapping[str, Any], floor: Mapping[str, Any] | None) -> str:
    ours, interval = scores["means"][metric], _interval(scores["intervals"].get(metric))
    cells = [("", _metric(ours)), ("", interval)]
    if floor is not None:
        theirs = floor["means"].get(metric, math.nan)
        below = _interval(floor["intervals"].get(metric))
        cells = [
            ("", _metric(ours)),
            ("", _metric(theirs)),
            (_colour(ours, theirs), _signed(ours - theirs)),
            ("", interval),
            ("", below),
        ]
    numbers = "".join(f'<td class="number{kind}">{cell}</td>' for kind, cell in cells)
    lead = ' class="lead"' if metric == "test/ndcg_at_10" else ""
    return f"<tr{lead}><td>{escape(metric_name(metric))}</td>{numbers}</tr>"


def _segments(name: str, ours: Mapping[str, Any], floor: Mapping[str, Any]) -> str:
    """A table for each kind of segment; reasons only where there is more than one."""
    kinds = [kind for kind in SEGMENTS if kind in ours and (kind != "reason" or len(ours[kind]) > 1)]
    tables = [card(_segment_table(name, kind, ours[kind], floor[kind]), padded=False) for kind in kinds]
    return f'<div class="columns">{"".join(tables)}</div>'


def _segment_table(name: str, kind: str, ours: Sequence[Mapping[str, Any]], floor: Sequence[Mapping[str, Any]]) -> str:
    meaning, counted, metric = SEGMENTS[kind]
    heads = [counted, metric_name(f"test/{metric}")]
    # the floor folds nobody in, so that its buckets of reasons hold other users
    compared = name != FLOOR and kind != "reason"
    heads += [FLOOR, "difference"] if compared else []
    below = {row["bucket"]: row[metric] for row in floor}
    rows = []
    for row in ours:
        cells = [("", f"{row[counted]:,}"), ("", _metric(row[metric]))]
        if compared:
            theirs = below.get(row["bucket"], math.nan)
            cells += [("", _metric(theirs)), (_colour(row[metric], theirs), _signed(row[metric] - theirs))]
        numbers = "".join(f'<td class="number{colour}">{cell}</td>' for colour, cell in cells)
        rows.append(f"<tr><td>{escape(row['bucket'])}</td>{numbers}</tr>")
    head = "".join(f'<th class="number">{escape(text)}</th>' for text in heads)
    return f"<table class=segment><tr><th>{escape(meaning)}</th>{head}</tr>{''.join(rows)}</table>"


def _colour(ours: float, theirs: float) -> str:
    return " good" if ours > theirs else " bad" if ours < theirs else ""


def metric_name(metric: str) -> str:
    """`test/ndcg_at_10` as people write it: NDCG@10."""
    name, _, k = metric.partition("/")[2].partition("_at_")
    return f"{METRIC_NAMES.get(name, name.capitalize())}@{k}"


def _metric(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if math.isfinite(value) else "–"


def _interval(ends: Sequence[float] | None) -> str:
    return f'<span class="soft">{_metric(ends[0])} to {_metric(ends[1])}</span>' if ends else "–"


def _checks(checks: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr{'' if check['passed'] else ' class=failed'}>"
        + ('<td class="mark good">✓ passed</td>' if check["passed"] else '<td class="mark bad">✗ failed</td>')
        + f"<td>{escape(check['name'])}</td><td>{escape(check['detail'])}</td></tr>"
        for check in checks
    )
    return card(f"<table>{rows}</table>", padded=False)


def _model(result: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    model, valid = result["model"], training["valid"]
    n_epochs = len(training["history"])
    shown = ", ".join(
        f"{metric_name(f'valid/{name}')} {_metric(value)}" for name, value in valid.items() if "ndcg" in name
    )
    refit = "training and validation rows" if training["refitted"] else "training rows"
    return facts(
        {
            "model": model["config"]["name"],
            **_settings(model["config"]),
            "parameters": f"{training['n_parameters']:,}",
            **({"best epoch": f"{training['best_epoch']} of {n_epochs}"} if n_epochs else {}),
            **({"validation": shown} if shown else {}),
            "fitted on": refit,
            **({"samples a second": f"{training['samples_per_second']:,.0f}"} if n_epochs else {}),
            "registered": f"{model['name']} version {model['version']}",
            "weights (sha256)": training["weights_sha256"],
        }
    )


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The model's fields as they were used; a list of configurations gets a line for each."""
    shown: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            shown |= {f"{name} {number}": _in_words(one) for number, one in enumerate(value, 1)}
        elif name != "name" and value is not None:
            shown[name] = _in_words(value)
    return shown


def _in_words(value: Any) -> str:
    """Fields by commas, the name first and on its own."""
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        own = [f"{key} {_in_words(one)}" for key, one in value.items() if key != "name" and one is not None]
        return ", ".join(name + own)
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


def _learning(training: Mapping[str, Any]) -> list[str]:
    """Nothing for a model in closed form."""
    if not training["history"]:
        return []
    return ["<h2>How it learned</h2>", card(as_svg(learning_curve(training["history"], training["best_epoch"])))]


def _examples(examples: Sequence[Example], name: str) -> list[str]:
    if not examples:
        return []
    n_hit = sum(any(item.hit for item in example.shown) for example in examples)
    note = (
        "Test users chosen by the length of their history alone, from the shortest to the longest; "
        f"{n_hit} of these {len(examples)} would be shown something that was held out (✓)."
    )
    return [
        "<h2>Some users</h2>",
        f'<p class="soft">{note}</p>',
        *(card(_example(example, name)) for example in examples),
    ]


def _example(example: Example, name: str) -> str:
    by = SHOWN_BY[example.reason].replace("{name}", name)
    more = len(example.held_out) - MAX_HELD_OUT
    held_out = _list("ul", example.held_out[:MAX_HELD_OUT]) + (
        f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    )
    return (
        f"<h3>user {escape(example.user_id)} "
        f'<span class="soft">{example.history_length:,} items before the test</span></h3><div class="example">'
        f"<div><h3>had, newest first</h3>{_list('ul', example.recent)}</div>"
        f"<div><h3>held out</h3>{held_out}</div>"
        f"<div><h3>would be shown ({escape(by)})</h3>{_list('ol', example.shown)}</div></div>"
    )


def _list(kind: str, items: Sequence[Item]) -> str:
    if not items:
        return '<p class="soft">nothing</p>'
    return f"<{kind}>{''.join(_entry(item) for item in items)}</{kind}>"


def _entry(item: Item) -> str:
    genres = f' <span class="soft">{escape(item.genres.replace("|", ", "))}</span>' if item.genres else ""
    return f"<li{' class=hit' if item.hit else ''}>{escape(item.title)}{' ✓' if item.hit else ''}{genres}</li>"


def _commands(result: Mapping[str, Any]) -> str:
    model, dataset = result["model"], result["dataset"]
    flags = [f"--model.{name}={value}" for name, value in model["config"].items() if value is not None]
    registered = [] if model["name"] == f"encore-{dataset}" else [f"--registered_model={model['name']}"]
    lists = shlex.join(["encore", "recommend", f"--ingest.name={dataset}", *registered])
    load = f'mlflow.pyfunc.load_model("models:/{model["name"]}/{model["version"]}")'
    entries = {
        "this model again; add the options of your data": shlex.join(["encore", "retrain", *flags]),
        "the champion's lists again, or some users' only": f"{lists}\n{lists} --recommend.users=…",
        "every run side by side": "encore up",
        "this run's own lists, in the data folder": result["recommendations"],
        "this version from Python": f'{load}.predict(pd.DataFrame({{"user_id": ["…"]}}), params={{"k": 10}})',
    }
    return card("".join(f"<pre><span># {escape(name)}</span>\n{escape(text)}</pre>" for name, text in entries.items()))
