"""A night of validation as it is asked for: its files, what the dataset shall consist of, what the lake has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.errors import RunFailed
from tasks.store.keys import make_hash
from tasks.store.refs import StagedRef
from tasks.store.store import Store
from tasks.validate.config import ChecksConfig
from tasks.validate.contract import suite_of
from tasks.validate.lake import TABLES, Partition, read_partition
from tasks.validate.ledger import Content, Delivery, Ledger, arrange, read_ledger


@dataclass(frozen=True)
class Night:
    """Files go by their numbers among `contents`, from 0."""

    store: Store
    dataset: str
    checks: ChecksConfig
    as_of: datetime
    ledger: Ledger
    delivery: Delivery
    rules: str  # hash of the rules on rows
    known: Mapping[int, Partition]  # contents that were judged on an earlier night
    staged: Mapping[int, StagedRef]  # all others
    outdated: Sequence[str] = ()  # files that were judged by other rules and are no longer there to be judged again

    @property
    def contents(self) -> tuple[Content, ...]:
        return self.delivery.contents

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(content.table for content in self.contents)


def prepare(
    store: Store, staged: Sequence[StagedRef], dataset: str, checks: ChecksConfig, as_of: datetime, appends: bool
) -> Night:
    """Reads the ledger and the partitions' manifests. Raises RunFailed where a content is neither in the lake nor
    among tonight's files."""
    ledger, rules = read_ledger(store, dataset), rules_hash(checks)
    delivery = arrange(ledger.contents, [(ref.table, ref.source, ref.sha256) for ref in staged], appends)
    came = {(ref.table, ref.sha256): ref for ref in staged}
    entries = {(entry.content.table, entry.content.sha256): entry for entry in ledger.entries}
    known: dict[int, Partition] = {}
    new: dict[int, StagedRef] = {}
    outdated = []
    for number, content in enumerate(delivery.contents):
        entry, ref = entries.get((content.table, content.sha256)), came.get((content.table, content.sha256))
        is_current = entry is not None and entry.rules == rules
        partition = (
            read_partition(store, entry.partition) if entry is not None and (is_current or ref is None) else None
        )
        if partition is not None:
            known[number] = partition
            outdated += [] if is_current else [content.label]
        elif ref is not None:
            new[number] = ref
        else:
            hint = f"put {content.label} back among tonight's files, or take it out of lake/{dataset}/ledger.json"
            raise RunFailed(f"the lake has lost the rows of {content.label}", hint)
    return Night(store, dataset, checks, as_of, ledger, delivery, rules, known, new, tuple(outdated))


def rules_hash(checks: ChecksConfig) -> str:
    """Of the rules on rows as they are declared, whatever the night: rows that passed do not move into the future."""
    suite = suite_of(checks)
    return make_hash(*(suite[table] for table in TABLES))
