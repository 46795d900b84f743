"""The leak audit: facts of the written files, found anew without the code that wrote them, judged as expectations."""

from collections.abc import Mapping

import pyarrow as pa

from tasks.leaks import Findings, audited
from tasks.split.audit.claim import Claim
from tasks.split.audit.counts import Counts
from tasks.split.audit.order import order_facts
from tasks.split.everything import EVERYTHING
from tasks.store.engine import engine
from tasks.store.refs import DatasetRef
from tasks.store.store import Store, Writer

SENTENCES = {
    "rows_lost": "training, validation, test, dropped and left-out rows together are the positive rows of the log",
    "rows_foreign": "the rows (a sample of them) are in the log, with their ids and what else they say of themselves",
    "rows_twice": "no row of the log is in two parts or twice in one",
    "rows_disordered": "every part is sorted by user and then by time",
    "pairs_in_two_parts": "no pair is in two parts",
    "rows_before_the_cut": "every part is later than the part before it",
    "rows_held_out": "where everything is to be learned from, no row is held out",
    "rows_after_the_last": "held-out rows are the user's last, one for validation and one for the test",
    "shares_missed": "validation and test have their exact shares of the rows",
    "judging_pairs_known": "no pair that only judges is trained on, chosen by or masked",
    "indices_wrong": "every index is within the id maps",
    "ids_without_rows": "the id maps hold only ids of training and validation rows",
    "ids_disordered": "the id maps hold no id twice and are in catalogue order",
    "test_ids_wrong": "the indices of test rows are those of their ids, and -1 only where the id is unknown",
    "no_positives": "every training and validation row is a positive, and weighs what an event weighs",
    "rated_wrong": "rows that are only masked are low ratings and what was left out, and tell which precede the test",
    "too_little_activity": "every user and item with training rows has the least number of them",
}
"""By the fact, a number of rows or ids, that says where it does not hold."""


def audit(store: Store, parts: Mapping[str, DatasetRef], claim: Claim, judged: pa.Table | None) -> Findings:
    """Holds the written tables against what they are said to be. `judged` are the pairs (user_id, item_id) that only
    judge. Raises LeakFound."""
    return audited("split", violations(store, parts, claim, judged), SENTENCES)


def violations(
    store: Store, parts: Mapping[str, DatasetRef], claim: Claim, judged: pa.Table | None = None
) -> dict[str, int]:
    """By fact, what breaks it; only facts that this protocol promises."""
    with engine(store) as sql:
        counts = Counts.of(sql, parts, claim, judged)
        facts = {
            "rows_lost": counts.rows_lost(),
            "rows_foreign": counts.rows_foreign(),
            "indices_wrong": counts.indices_wrong(),
            "ids_without_rows": counts.ids_without_rows(),
            "ids_disordered": counts.ids_disordered(),
            "test_ids_wrong": counts.test_ids_wrong(),
            "no_positives": counts.no_positives(),
            "rated_wrong": counts.rated_wrong(),
            "too_little_activity": counts.too_little_activity(),
        }
        if claim.config.repeats != "keep":
            facts["pairs_in_two_parts"] = counts.pairs_in_two_parts()
        if claim.protocol == "temporal":
            facts["rows_before_the_cut"] = counts.rows_before_the_cut()
        if claim.protocol == EVERYTHING:
            facts["rows_held_out"] = counts.rows["valid"] + counts.rows["test"]
        if claim.protocol == "leave_last_out":
            facts["rows_after_the_last"] = counts.rows_after_the_last()
        if claim.protocol == "random":
            facts["shares_missed"] = counts.shares_missed()
        if judged is not None:
            facts["judging_pairs_known"] = counts.judging_pairs_known()
    return facts | order_facts(store, parts, claim)


def within(store: Store, writer: Writer, parts: Mapping[str, DatasetRef]) -> dict[str, DatasetRef]:
    """The refs as they are before the folder has its final name."""
    folder = writer.folder.relative_to(store.root)
    return {name: DatasetRef(f"{folder}/{name}.parquet", ref.rows, ref.fingerprint) for name, ref in parts.items()}
