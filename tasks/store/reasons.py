"""Why rows are in quarantine, as it is counted: those that could not be read go together by the cell that was in the
way, since the cells themselves may all be different."""

from collections.abc import Iterable

from tasks.store.engine import literal

UNREAD = "could not be read: "
"""What such a reason begins with."""


def kind(counted: Iterable[str]) -> str:
    """The reason of a row of QUARANTINE, in SQL, as a manifest beside it counts it. `counted`: the manifest's reasons,
    which are sentences of expectations but for those of rows that could not be read."""
    sentences = sorted(reason for reason in counted if not reason.startswith(UNREAD))
    unread = f"{literal(UNREAD)} || split_part(split_part(reason, '=', 1), ':', 1)"
    return f"CASE WHEN reason IN ({', '.join(map(literal, sentences)) or 'NULL'}) THEN reason ELSE {unread} END"
