"""A configuration that fits what was found, each line with its reason, as YAML that a person goes on with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.inspect.guess import weight_of
from tasks.inspect.log import Log

ORDER = ("ingest", "checks", "split", "model", "recommend")
KNOWN_SHARE = 0.5
"""Of the newest rows, those whose user has a past. With fewer, a cut in time judges mostly strangers."""
SOME_REPEATS, MANY_REPEATS = 0.05, 0.3
"""Shares of rows that repeat a user's earlier item: people listen again, but hardly rent a film twice."""
BLEND_ITEMS, BLEND_ROWS = 20_000, 20_000_000
"""Up to here a blend takes minutes on two cores; its map of items × items is what grows."""


@dataclass(frozen=True)
class Line:
    """One field of the configuration, or without one a remark. Where it is off, it is written as a comment, for a
    person to decide."""

    section: str
    field: str
    value: Any
    why: str
    is_off: bool = False


def how_to_judge(log: Log) -> list[Line]:
    """The split, and what goes with a log in which people come back to the same items."""
    lines = [_protocol(log)]
    if log.repeat_share >= SOME_REPEATS:
        why = f"{log.repeat_share:.0%} of the rows are items that their user had before"
        is_off = not _comes_back(log)
        lines.append(Line("split", "repeats", "keep", f"{why}: they count as hits, and are not masked", is_off))
        lines.append(Line("recommend", "seen", "include", f"{why}: they may be shown again", is_off))
    return lines


def _comes_back(log: Log) -> bool:
    """Whether people take the same again. Several events of one visit look the same, and are not meant."""
    return log.repeat_share >= MANY_REPEATS and not log.events


def _protocol(log: Log) -> Line:
    if not log.timestamp_share:
        return Line("split", "protocol", "random", "there are no timestamps: a random tenth of the rows judges")
    if log.known_share is not None and log.known_share < KNOWN_SHARE:
        why = f"{log.known_share:.0%} of the newest rows are of users with earlier ones: so each user's last row judges"
        return Line("split", "protocol", "leave_last_out", why)
    return Line("split", "protocol", "temporal", "one cut in time: the newest tenth of the rows judges")


def which_model(log: Log) -> Line:
    """A first model that takes seconds to minutes. docs/training.md says what else there is."""
    items, rows = log.items.count, log.rows
    if log.timestamp_share and _comes_back(log):
        return Line("model", "name", "markov", "people come back: what was taken last tells most of what follows")
    if items <= BLEND_ITEMS and rows <= BLEND_ROWS:
        return Line("model", "name", "blend", f"{items:,} items: four quick models together; minutes, and hard to beat")
    if items <= BLEND_ITEMS:
        return Line("model", "name", "ease", f"{items:,} items and many rows: one inversion, whatever the rows")
    return Line(
        "model", "name", "item_knn", f"{items:,} items: neighbours need no table of items × items; bpr_mf is next"
    )


def positives(log: Log, scale: tuple[float, float] | None) -> list[Line]:
    """What counts as liking: events by their weights, ratings from a threshold on."""
    lines = []
    events = {event: weight_of(event) for event, _ in log.events if event}
    if len(events) > 1:
        wanted = {event: weight for event, weight in events.items() if weight is not None}
        left_out = [event for event, weight in events.items() if weight is None]
        also = f"; {', '.join(left_out)} left out" if left_out else ""
        wanted = dict(sorted(wanted.items(), key=lambda one: one[1]))
        lines.append(Line("ingest", "events", wanted, f"what each kind weighs in training{also}; others are not used"))
    if scale is not None and log.ratings:
        least = scale[0] + 0.75 * (scale[1] - scale[0])
        least = float(round(least)) if scale[1] > 1 else scale[1]
        why = f"ratings run from {scale[0]:g} to {scale[1]:g}: unset, a low one counts as liking, too"
        lines.append(Line("ingest", "min_rating", least, why, is_off=True))
    return lines


def as_yaml(lines: Iterable[Line], head: Sequence[str]) -> str:
    """Each section once, in the order of ORDER."""
    sections: dict[str, list[Line]] = {section: [] for section in ORDER}
    for line in lines:
        sections[line.section].append(line)
    text = [f"# {_safe(line)}".rstrip() for line in head]
    for section, fields in sections.items():
        if not fields:
            continue
        is_off = all(line.is_off for line in fields)
        text += ["", f"{'# ' if is_off else ''}{section}:"]
        for line in fields:
            text.append(f"  # {_safe(line.why)}")
            if line.field:
                text.append(f"  {'# ' if line.is_off else ''}{line.field}: {_scalar(line.value)}")
    return "\n".join(text) + "\n"


def as_mapping(lines: Iterable[Line]) -> dict[str, dict[str, Any]]:
    """What is in force."""
    content: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line.field and not line.is_off:
            content.setdefault(line.section, {})[line.field] = line.value
    return content


def _scalar(value: Any) -> str:
    """YAML on one line; whole numbers without a point."""
    if isinstance(value, Mapping):
        value = {key: int(one) if isinstance(one, float) and one.is_integer() else one for key, one in value.items()}
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1_000_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _safe(text: str) -> str:
    """A comment ends with its line, and data may hold line breaks."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
