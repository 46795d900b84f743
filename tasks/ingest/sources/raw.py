"""A file before anything is mapped: what it is, what its columns are called, and all of them as they came."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import DataRefused
from tasks.ingest.sources import delimited, files, jsonl, parquet
from tasks.ingest.sources.base import Part, SourceFile
from tasks.ingest.sources.columns import refuse_missing_header
from tasks.ingest.sources.streams import blocks, checked, compression, unpacked

Format = Literal["Parquet", "JSONL", "delimited"]


@dataclass(frozen=True)
class Raw:
    """One file."""

    file: SourceFile
    format: Format
    packing: str | None
    header: tuple[str, ...]  # the names of all columns
    nested: frozenset[str]  # columns of lists and objects
    layout: delimited.Layout | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Without columns that have no name, or that of an earlier one: these cannot be asked for."""
        return usable(self.header)

    def parts(self) -> Iterator[Part]:
        """All columns but the nested ones, under their own names; of JSONL also those that turn up later.

        Raises, like every reading of a file, one line that names it."""
        assert self.file.path is not None
        with files.explained(self.file.label, self.file):
            match self.format:
                case "Parquet":
                    yield from parquet.read(self.file.path, self._own)
                case "JSONL":
                    yield from jsonl.read(self.file.path, self.packing, self._own, self.file.label, whole=False)
                case "delimited":
                    assert self.layout is not None
                    yield from delimited.read(
                        self.file.path, self.packing, self.layout, self._own(self.names), self.file.label
                    )

    def _own(self, names: Sequence[str]) -> dict[str, str]:
        return {name: name for name in usable(names) if name not in self.nested}


def look(file: SourceFile, given: Mapping[str, str]) -> Raw:
    """What a file is, from its first bytes. `given`: names that the user has mapped, which make a first row a header.

    Raises what reading it would raise."""
    assert file.path is not None
    with files.explained(file.label, file):
        packing = compression(file.path)
        extension = files.format_of(file.path, packing)
        if extension in files.PARQUET:
            if packing is not None:
                raise DataRefused(
                    f"{file.label} is Parquet packed once more", "unpack it: Parquet is compressed inside"
                )
            with pq.ParquetFile(file.path) as opened:
                schema = opened.schema_arrow
            names = [name for name in schema.names if not name.startswith("__index_level_")]
            nested = [field.name for field in schema if pa.types.is_nested(field.type)]
            return Raw(file, "Parquet", None, tuple(names), frozenset(nested))
        if extension in files.JSON_LINES:
            return _json(file, packing)
        layout = delimited.layout(file.path, packing, file.label)
        refuse_missing_header(layout.names, file.table, given, file.label)
        return Raw(file, "delimited", packing, layout.names, frozenset(), layout)


def usable(names: Sequence[str]) -> tuple[str, ...]:
    """Names that tell columns apart for every tool, upper and lower case taken as one."""
    first: dict[str, str] = {}
    for name in names:
        if name.strip():
            first.setdefault(name.lower(), name)
    return tuple(first.values())


def _json(file: SourceFile, packing: str | None) -> Raw:
    assert file.path is not None
    with unpacked(file.path, packing) as stream:
        head = next(jsonl.lines_together(checked(blocks(stream), file.label), file.label), b"")
        rows = [*islice(jsonl.first_rows(head, file.label), jsonl.SAMPLE_LINES)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    nested = {name for row in rows for name, value in row.items() if isinstance(value, list | dict)}
    return Raw(file, "JSONL", packing, tuple(names), frozenset(nested))
