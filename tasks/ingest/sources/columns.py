"""Which of a file's columns is which of ours."""

import re
from collections.abc import Mapping, Sequence

from tasks.errors import ConfigError
from tasks.ingest.sources.base import TableName

OURS: dict[TableName, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "rating", "timestamp", "event"),
    "users": ("user_id",),
    "items": ("item_id", "title", "genres"),
}
REQUIRED: dict[TableName, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "users": ("user_id",),
    "items": ("item_id",),
}

PLACES = ("file_row_number", "file_index")
"""By these the engine asks where a row stands: a feature of that name would answer instead."""

# In lower case, letters and digits only: `userId`, `User ID` and `user_id:token` are all `userid`.
USUAL: dict[str, str] = {
    "user_id": (
        "user uid userid customer customerid visitor visitorid member memberid account accountid reviewer reviewerid "
        "profileid clientid"
    ),
    "item_id": (
        "item iid itemid product productid movie movieid sku asin track trackid song songid article articleid "
        "book bookid isbn artistid video videoid game gameid businessid newsid contentid"
    ),
    "rating": ("rating ratings score stars star overall preference"),
    "timestamp": (
        "timestamp ts time date datetime eventtime eventtimestamp createdat unixreviewtime unixtime epoch "
        "viewedat watchedat playedat purchasedat orderdate eventdate"
    ),
    "event": "event eventtype eventname action actiontype behavior behaviour behaviortype interactiontype",
}


def plain(name: str) -> str:
    """A column's name without the type that RecBole's atomic files carry (`age:token`)."""
    return re.sub(r":(token|token_seq|float|float_seq)$", "", name.strip())


def recognise(name: str, table: TableName) -> str | None:
    """Our name of a column that is called by a usual name."""
    spelt = re.sub(r"[^a-z0-9]", "", plain(name).lower())
    if table != "interactions" and spelt == "id":
        return REQUIRED[table][0]
    # Features keep their own names: a user's `rating` or an item's `date` is not an interaction's.
    fields = OURS[table] if table == "interactions" else REQUIRED[table]
    return next((field for field in fields if spelt in USUAL[field].split()), None)


def map_columns(names: Sequence[str], table: TableName, given: Mapping[str, str], label: str) -> dict[str, str]:
    """Ours: theirs, for the columns of one file. What the user gave goes before what is recognised.

    Raises ConfigError, listing the file's columns, where the mapping does not fit the file, is ambiguous
    or leaves out what is needed.
    """
    listed = ", ".join(names)
    _refuse_unknown_fields(given)
    found: dict[str, list[str]] = {field: [] for field in OURS[table]}
    for theirs, ours in given.items():
        if ours in found and theirs in names:
            found[ours].append(theirs)
    chosen = {field for field, columns in found.items() if columns}
    for name in names:
        field = recognise(name, table)
        if field is not None and field not in chosen and name not in given:
            found[field].append(name)
    _refuse_missing_keys(given, names, table, chosen, found, label)
    for field, columns in found.items():
        if len(columns) > 1:
            raise ConfigError(
                f"columns of {label}: {listed}; {' and '.join(columns)} are both {field}",
                f"choose one: --ingest.columns={{{columns[0]}: {field}}}"
                if field not in chosen
                else "map one column to each field",
            )
    for field in REQUIRED[table]:
        if not found[field]:
            raise ConfigError(
                f"columns of {label}: {listed}; none is recognised as {field}",
                f"--ingest.columns={{{names[0]}: {field}}} if {names[0]} is the {field}",
            )
    return {field: columns[0] for field, columns in found.items() if columns}


def refuse_missing_header(first_row: Sequence[str], table: TableName, given: Mapping[str, str], label: str) -> None:
    """Raises ConfigError where the first row is data: no name in it is known and all of it is numbers."""
    if any(name in given or recognise(name, table) for name in first_row):
        return
    if all(re.fullmatch(r"\s*[-+]?[\d.]+([eE][-+]?\d+)?\s*", name) for name in first_row):
        raise ConfigError(
            f"{label} seems to have no header: its first row is {', '.join(first_row)}",
            "add a first line with the names of the columns, such as user_id,item_id,rating,timestamp",
        )


def feature_columns(names: Sequence[str], mapping: Mapping[str, str], label: str) -> dict[str, str]:
    """Ours: theirs, for every column of a users or items file; features keep their own names."""
    taken = set(mapping.values())
    features = [(plain(name), name) for name in names if name not in taken and plain(name)]
    if taken_names := [name for _, name in features if plain(name).lower() in PLACES]:
        raise ConfigError(f"{label} has a column {taken_names[0]}, which is a name of ours", "rename or remove it")
    everything = [*mapping.items(), *features]
    ours = [field for field, _ in everything]
    if double := sorted({field for field in ours if ours.count(field) > 1}):
        raise ConfigError(f"columns of {label}: {', '.join(names)}; two are called {double[0]}", "rename one of them")
    return dict(everything)


def _refuse_unknown_fields(given: Mapping[str, str]) -> None:
    known = list(dict.fromkeys(field for fields in OURS.values() for field in fields))
    for theirs, ours in given.items():
        if ours not in known:
            hint = f"write it as yours: ours, {ours}: {theirs}" if theirs in known else f"known: {', '.join(known)}"
            raise ConfigError(f"ingest.columns maps {theirs!r} to {ours!r}, which is none of our columns", hint)


def _refuse_missing_keys(
    given: Mapping[str, str],
    names: Sequence[str],
    table: TableName,
    chosen: set[str],
    found: Mapping[str, list[str]],
    label: str,
) -> None:
    # One mapping serves several files, which may call the same thing differently. A key that a file lacks is
    # a mistake only where nothing else fills its field; in a log, a usual name is not enough, for the user
    # asked for another one.
    is_log = table == "interactions"
    filled = chosen if is_log else {field for field, columns in found.items() if columns}
    needed = OURS[table] if is_log else REQUIRED[table]
    for theirs, ours in given.items():
        if theirs not in names and ours in needed and ours not in filled:
            raise ConfigError(
                f"columns of {label}: {', '.join(names)}; there is no {theirs!r}, which ingest.columns maps to {ours}",
                "correct the name in ingest.columns",
            )
