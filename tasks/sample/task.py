"""The step: histories as they were known before the validation, before the test and tonight; candidates."""

from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.ids import index_in
from tasks.pairs_file import content_hash, read_candidates
from tasks.sample.audit import audit
from tasks.sample.histories import write_histories
from tasks.schema import CANDIDATES
from tasks.store.keys import make_key
from tasks.store.refs import DatasetRef, SampleRefs, SplitRefs
from tasks.store.store import Store, Writer


@task(cache_policy=NO_CACHE)
def sample(store: Store, split: SplitRefs, candidates: str | None = None) -> SampleRefs:
    """Freezes what training and judging read, or finds it. Raises LeakFound, and then keeps nothing."""
    key = make_key(__name__, split.key, content_hash(candidates, "evaluate.candidates"))

    def write(writer: Writer) -> dict[str, Any]:
        parts = write_histories(store, writer, split)
        findings = audit(store, writer, parts, split)
        if candidates is not None:
            rows = code_candidates(read_candidates(candidates), store.read(split.users), store.read(split.items))
            parts["candidates"] = writer.table("candidates", rows, CANDIDATES)
        refs = {name: vars(ref) for name, ref in parts.items()}
        return {"made_from": split.snapshot.made_from, "parts": refs, "audit": findings}

    built = store.build(f"prepared/{key}", write)
    parts: dict[str, Any] = {name: DatasetRef(**ref) for name, ref in built.manifest["parts"].items()}
    return SampleRefs(key, split, **parts, cached=built.cached)


def code_candidates(rows: pa.Table, users: pa.Table, items: pa.Table) -> pa.Table:
    """The candidates with indices, -1 where an id is unknown."""
    user_idx = index_in(rows["user_id"], users["user_id"].combine_chunks())
    item_idx = index_in(rows["item_id"], items["item_id"].combine_chunks())
    columns = [user_idx, item_idx, rows["user_id"], rows["item_id"], rows["relevant"]]
    return pa.table(columns, schema=CANDIDATES)
