"""Settling which file keeps a row that several have: the one that comes first in the dataset's order.

What a partition holds depends on the files before it. It stays as it is unless a file that may share rows with it has
come in before it, or one that keeps rows for it has gone; then it is made anew from its own rows, which it still has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.schema import INTERACTIONS
from tasks.store.engine import Engine
from tasks.store.refs import DatasetRef
from tasks.validate.duplicates import SAME, find_repeats
from tasks.validate.incoming import Batch
from tasks.validate.lake import Partition
from tasks.validate.ledger import Content
from tasks.validate.profile import Span

NO_ROWS = f"SELECT 0 AS file, source_row, {', '.join(SAME)} FROM no_rows"


@dataclass(frozen=True)
class Settled:
    """Files whose rows were compared, by their numbers, and a query of the rows that they keep. The table `repeats` of
    duplicates.py holds the others."""

    files: tuple[int, ...]
    kept: str


def settle(
    engine: Engine,
    contents: Sequence[Content],
    known: Mapping[int, Partition],
    batches: Sequence[Batch],
    spans: Mapping[int, Span],
    before: Sequence[Content],
) -> Settled:
    """Settles tonight's interactions. `spans` are of the rows that passed the rules, the repeated ones among them;
    `before` is the order of the last good night."""
    numbers = [number for number, content in enumerate(contents) if content.table == "interactions"]
    ours = unsettled(contents, numbers, known, spans, before)
    others = _beside(ours, numbers, spans)
    logs = [batch for batch in batches if batch.table == "interactions"]
    own = [f"SELECT file, source_row, {', '.join(SAME)} FROM ({batch.accepted(engine)})" for batch in logs]
    own += _of_partitions(engine, {number: known[number] for number in ours if number in known}, whole=True)
    beside = _of_partitions(engine, {number: known[number] for number in others}, whole=False)
    engine.put("no_rows", INTERACTIONS.empty_table())
    rows = " UNION ALL ".join(own or [NO_ROWS])
    n_repeats = find_repeats(engine, " UNION ALL ".join([rows, *beside]), ours)
    kept = f"SELECT * FROM ({rows}) ANTI JOIN repeats USING (file, source_row)" if n_repeats else rows
    return Settled(tuple(ours), kept)


def unsettled(
    contents: Sequence[Content],
    numbers: Sequence[int],
    known: Mapping[int, Partition],
    spans: Mapping[int, Span],
    before: Sequence[Content],
) -> list[int]:
    """The files that must be compared with others: new ones, and those that a change before them may concern."""
    rank = {content.sha256: place for place, content in enumerate(before)}
    ranks = [rank.get(contents[number].sha256, -1) for number in numbers if number in known]
    is_moved = -1 in ranks or ranks != sorted(ranks)  # then each of them may have come before another one
    found: list[int] = []
    disturbing: list[Span] = []
    earlier: set[str] = set()
    for number in numbers:
        partition, span = known.get(number), spans[number]
        if (
            partition is None
            or not earlier.issuperset(partition.lost_to)
            or any(span.overlaps(other) for other in disturbing)
        ):
            found.append(number)
        if partition is None or is_moved:
            disturbing.append(span)
        earlier.add(contents[number].sha256)
    return found


def _beside(ours: Sequence[int], numbers: Sequence[int], spans: Mapping[int, Span]) -> list[int]:
    """Settled files that may have rows of an unsettled one after them."""
    is_open = set(ours)
    return [
        number
        for number in numbers
        if number not in is_open and any(spans[number].overlaps(spans[other]) for other in ours if other > number)
    ]


def _of_partitions(engine: Engine, partitions: Mapping[int, Partition], whole: bool) -> list[str]:
    """A query of the rows of these partitions; `whole`: with those that another file keeps for them."""
    refs: list[tuple[int, DatasetRef]] = []
    for number, partition in partitions.items():
        refs.append((number, partition.part))
        if whole and partition.repeated is not None:
            refs.append((number, partition.repeated))
    if not refs:
        return []
    numbers = ", ".join(str(number) for number, _ in refs)
    source = engine.rows([ref for _, ref in refs])
    return [f"SELECT [{numbers}][file_index::BIGINT + 1] AS file, source_row, {', '.join(SAME)} FROM {source}"]
