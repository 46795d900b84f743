"""MovieLens (F. M. Harper, J. A. Konstan: The MovieLens Datasets, TiiS 2015), fetched once, pinned by checksum.

The 100K set is taken from the wheel of RecBole, which carries it as an example: fetched by pip, it comes from whatever
mirror the user has set up. The wheel is only unzipped, never installed or imported.
"""

import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataRefused, RunFailed
from tasks.ingest.config import IngestConfig
from tasks.ingest.sources import delimited
from tasks.ingest.sources.base import Part, SourceFile, TableName, identity
from tasks.ingest.sources.delimited import Layout
from tasks.ingest.sources.download import Checksum, fetch_url, fetch_wheel
from tasks.ingest.sources.streams import from_latin1
from tasks.store.store import Store

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
MIRROR = "ENCORE_GROUPLENS_URL"
TERMS = (
    "MovieLens is GroupLens' data: for research, not to be redistributed, and to be cited as\n"
    "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context, 2015, doi:10.1145/2827872"
)


@dataclass(frozen=True)
class Member:
    """A file in the archive, its layout, and which of its columns becomes which of ours (ours: theirs)."""

    path: str
    layout: Layout
    mapping: dict[str, str]


@dataclass(frozen=True)
class Archive:
    name: str
    checksum: Checksum
    members: dict[TableName, Member]
    requirement: str = ""  # of pip, where the archive is a wheel


def _recbole(*columns: str) -> Layout:
    return Layout(columns, "\t", quoted=False)


def _ml_1m(*columns: str) -> Layout:
    return Layout(columns, "::", quoted=False, has_header=False, change=from_latin1)


def _same(*columns: str) -> dict[str, str]:
    return {name: name for name in columns}


ARCHIVES: dict[str, Archive] = {
    "movielens-100k": Archive(
        "recbole-1.2.1-py3-none-any.whl",
        Checksum("sha256", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),
        {
            "interactions": Member(
                "recbole/dataset_example/ml-100k/ml-100k.inter",
                _recbole("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
                {
                    "user_id": "user_id:token",
                    "item_id": "item_id:token",
                    "rating": "rating:float",
                    "timestamp": "timestamp:float",
                },
            ),
            "users": Member(
                "recbole/dataset_example/ml-100k/ml-100k.user",
                _recbole("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"),
                {name: f"{name}:token" for name in ("user_id", "age", "gender", "occupation", "zip_code")},
            ),
            "items": Member(
                "recbole/dataset_example/ml-100k/ml-100k.item",
                _recbole("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
                {
                    "item_id": "item_id:token",
                    "title": "movie_title:token_seq",
                    "year": "release_year:token",
                    "genres": "class:token_seq",
                },
            ),
        },
        requirement="recbole==1.2.1",
    ),
    "movielens-1m": Archive(
        "ml-1m.zip",
        Checksum("md5", "c4d9eecfca2ab87c1945afe126590906"),  # as GroupLens publishes it
        {
            "interactions": Member(
                "ml-1m/ratings.dat",
                _ml_1m("user_id", "item_id", "rating", "timestamp"),
                _same("user_id", "item_id", "rating", "timestamp"),
            ),
            "users": Member(
                "ml-1m/users.dat",
                _ml_1m("user_id", "gender", "age", "occupation", "zip_code"),
                _same("user_id", "gender", "age", "occupation", "zip_code"),
            ),
            "items": Member(
                "ml-1m/movies.dat", _ml_1m("item_id", "title", "genres"), _same("item_id", "title", "genres")
            ),
        },
    ),
    "movielens-25m": Archive(
        "ml-25m.zip",
        Checksum("md5", "6b51fb2759a8657d3bfcbfc42b592ada"),  # as GroupLens publishes it
        {
            "interactions": Member(
                "ml-25m/ratings.csv",
                Layout(("userId", "movieId", "rating", "timestamp"), ","),
                {"user_id": "userId", "item_id": "movieId", "rating": "rating", "timestamp": "timestamp"},
            ),
            "items": Member(
                "ml-25m/movies.csv",
                Layout(("movieId", "title", "genres"), ","),
                {"item_id": "movieId", "title": "title", "genres": "genres"},
            ),
        },
    ),
}


def identify(config: IngestConfig) -> list[SourceFile]:
    """The tables of the archive. It is pinned, so nothing needs to be fetched to know its content."""
    archive = ARCHIVES[config.source]
    return [
        SourceFile(table, PurePosixPath(member.path).name, identity(archive.checksum.value, member.path))
        for table, member in archive.members.items()
    ]


def read(file: SourceFile, config: IngestConfig, store: Store) -> Iterator[Part]:
    """One table of the archive, which is fetched if it is not here. Raises DownloadFailed where that fails."""
    archive = ARCHIVES[config.source]
    path = store.path(f"downloads/{archive.name}")
    fetch(archive, path)
    for part in read_member(path, archive.members[file.table]):
        yield replace(part, cells=_movies(part.cells, config.source)) if file.table == "items" else part


def fetch(archive: Archive, path: Path) -> None:
    if archive.requirement:
        is_new = fetch_wheel(archive.requirement, path, archive.checksum)
    else:
        base = os.environ.get(MIRROR, GROUPLENS).rstrip("/")
        is_new = fetch_url(f"{base}/{archive.name}", path, archive.checksum)
    if is_new:
        print(TERMS, file=sys.stderr)


def read_member(path: Path, member: Member) -> Iterator[Part]:
    """One file of a zip archive, read in place: nothing is written outside it, whatever its members are called."""
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_escaping(archive.namelist(), path.name)
            with archive.open(member.path) as stream:
                yield from delimited.read_stream(stream, member.layout, member.mapping, member.path)
    except FileNotFoundError as error:
        raise RunFailed(f"{path} vanished while it was read", "run again") from error
    except (zipfile.BadZipFile, KeyError, pa.ArrowInvalid, EOFError, zlib.error) as error:
        raise DataRefused(f"{path.name} is damaged: {str(error).splitlines()[0]}", f"delete {path}") from error


def refuse_escaping(names: list[str], archive: str) -> None:
    """Raises DataRefused where a member's name would leave the folder that the archive is unpacked into."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or (parts and parts[0].endswith(":")):
            raise DataRefused(
                f"{archive} holds a member that would leave its folder: {name!r}", "get it from elsewhere"
            )


def _movies(table: pa.Table, source: str) -> pa.Table:
    """Genres as `A|B`; the year, which the larger sets keep in the title, as a column of its own."""
    genres = table["genres"]
    if source == "movielens-100k":
        genres = pc.replace_substring(genres, " ", "|")
    genres = pc.if_else(pc.equal(genres, "(no genres listed)"), pa.scalar(None, pa.string()), genres)
    table = table.set_column(table.column_names.index("genres"), "genres", genres)
    return table if "year" in table.column_names else _with_year(table)


def _with_year(table: pa.Table) -> pa.Table:
    found = pc.extract_regex(table["title"], r"^(?P<title>.*?)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$")
    title = pc.coalesce(pc.struct_field(found, "title"), table["title"])
    table = table.set_column(table.column_names.index("title"), "title", title)
    return table.append_column("year", pc.struct_field(found, "year"))
