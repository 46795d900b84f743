"""Files in S3-compatible storage, by Arrow's own client: listed, fetched once, known again by address, size and time.

Where the storage is and who asks come from the environment, as for AWS's own tools: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE. Nothing of it is ever shown.

An object is identified by its content, so a new one is fetched and hashed before it is known; it waits in
`staging/<dataset>/_remote/` until it is staged. `_remote.json` there remembers what was fetched.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError, DataRefused, DownloadFailed, EncoreError, RunFailed
from tasks.ingest.progress import Progress
from tasks.ingest.sources.base import BLOCK, SourceFile, TableName, identity
from tasks.store.atomic import new_file, write_json
from tasks.store.store import FETCHED, Store

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, S3FileSystem

SCHEME = "s3://"
WHO = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; and AWS_ENDPOINT_URL if it is not AWS"
SECONDS_TO_CONNECT, SECONDS_TO_ANSWER = 10, 60


def identify(
    table: TableName, pattern: str, dataset: str, store: Store, extensions: frozenset[str]
) -> list[SourceFile]:
    """The objects behind an s3:// address: one object, the data files below a prefix, or those that match a glob.

    New and changed ones are fetched to be hashed. Raises ConfigError where there are none, RunFailed or DownloadFailed
    where the storage cannot be asked."""
    bucket = pattern.removeprefix(SCHEME).partition("/")[0]
    if ":" in bucket or "@" in bucket:  # no bucket's name; a secret key may hold slashes, so all up to the last @ goes
        shown = SCHEME + pattern.rpartition("@")[2] if "@" in pattern else f"an {SCHEME} address"
        raise ConfigError(f"{shown} was given with a password in it, which is not used", f"leave it out; {WHO}")
    with _explained(pattern):
        client = _connect()
        found = _matching(client, pattern, extensions)
    memory = store.path(f"staging/{dataset}/_remote.json")
    return [_identified(table, info, client, memory) for info in found]


def here(file: SourceFile) -> SourceFile:
    """The object as a file on this machine, fetched if it is not here any more; a local file as it is."""
    if not file.label.startswith(SCHEME):
        return file
    assert file.path is not None
    if not file.path.is_file():
        with _explained(file.label):
            client = _connect()
            (info,) = client.get_file_info([file.label.removeprefix(SCHEME)])
            if _stamp(info) != file.stamp or _fetch(client, info, file.path) != file.sha256:
                raise RunFailed(f"{file.label} changed while it was read", "run again once it is complete")
    status = file.path.stat()
    return replace(file, stamp=(status.st_size, status.st_mtime_ns))


def let_go(file: SourceFile) -> None:
    """Removes what was fetched: its rows are staged."""
    if file.label.startswith(SCHEME) and file.path is not None:
        file.path.unlink(missing_ok=True)


def _identified(table: TableName, info: "FileInfo", client: "S3FileSystem", memory: Path) -> SourceFile:
    url, stamp = SCHEME + info.path, _stamp(info)
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
    place = _place(memory, url, stamp)
    if stamp[0] == 0:
        raise DataRefused(f"{url} is empty")
    before = known.get(url, {})
    if before.get("stamp") == list(stamp):
        return SourceFile(table, url, before["sha256"], place, stamp)
    if before:
        _place(memory, url, before["stamp"]).unlink(missing_ok=True)  # of a night that ended before it was staged
    with _explained(url):
        sha256 = _fetch(client, info, place)
    write_json(memory, {**known, url: {"stamp": stamp, "sha256": sha256}})
    return SourceFile(table, url, sha256, place, stamp)


def _place(memory: Path, url: str, stamp: Sequence[int]) -> Path:
    """Where an object waits until it is staged; the extension tells its format."""
    suffixes = "".join(PurePosixPath(url).suffixes[-2:])
    return memory.parent / FETCHED / f"{identity(url, *stamp)[:32]}{suffixes}"


def _stamp(info: "FileInfo") -> tuple[int, int]:
    return info.size or 0, info.mtime_ns or 0


def _fetch(client: "S3FileSystem", info: "FileInfo", final: Path) -> str:
    """Downloads an object and returns its sha256. What broke off or changed meanwhile leaves nothing."""
    digest, n_bytes, url = hashlib.sha256(), 0, SCHEME + info.path
    name = PurePosixPath(info.path).name
    with (
        client.open_input_stream(info.path, compression=None) as stream,
        new_file(final) as temporary,
        Progress(f"downloading {name}", info.size) as progress,
    ):
        with temporary.open("wb") as file:
            while block := stream.read(BLOCK):
                file.write(block)
                digest.update(block)
                n_bytes += len(block)
                progress.advance(len(block))
        if n_bytes != info.size:
            raise DownloadFailed(f"{url} broke off after {n_bytes:,} of {info.size:,} bytes", "run again")
        (now,) = client.get_file_info([info.path])
        if _stamp(now) != _stamp(info):
            raise RunFailed(f"{url} changed while it was read", "run again once it is complete")
    return digest.hexdigest()


def _connect() -> "S3FileSystem":
    # Arrow's client takes a tenth of a second to load, which a night of local files need not spend.
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    options: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.rstrip("/").partition("://")
        if scheme not in ("http", "https") or not host:
            raise ConfigError("AWS_ENDPOINT_URL is no http:// or https:// address", "such as https://s3.example.com")
        options |= {"scheme": scheme, "endpoint_override": host}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    return S3FileSystem(
        connect_timeout=SECONDS_TO_CONNECT,
        request_timeout=SECONDS_TO_ANSWER,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
        **options,
    )


def _matching(client: "S3FileSystem", pattern: str, extensions: frozenset[str]) -> "list[FileInfo]":
    from pyarrow.fs import FileType

    key = pattern.removeprefix(SCHEME)
    if (glob := next((at for at, letter in enumerate(key) if letter in "*?["), None)) is not None:
        base = key[:glob].rpartition("/")[0]
        if not base:
            raise ConfigError(f"{pattern} names no bucket", "a glob may begin behind s3://bucket/")
        fits = re.compile(_glob(key))
        found = [info for info in _below(client, base) if fits.fullmatch(info.path) and info.base_name[0] != "."]
        missing = f"no such object: {pattern}"
    else:
        (info,) = client.get_file_info([key.rstrip("/")])
        if info.type == FileType.File and not key.endswith("/"):
            return [info]
        base = key.rstrip("/")
        found = [one for one in _below(client, base) if _is_data(one.path.removeprefix(base), extensions)]
        missing = f"no data file below {pattern}" if info.type == FileType.Directory else f"no such object: {pattern}"
    if not found:
        raise ConfigError(missing, "list the bucket: aws s3 ls --recursive s3://BUCKET/PREFIX/")
    return sorted(found, key=lambda info: str(info.path))


def _below(client: "S3FileSystem", base: str) -> "list[FileInfo]":
    from pyarrow.fs import FileSelector, FileType

    listed = client.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
    return [info for info in listed if info.type == FileType.File]


def _is_data(path: str, extensions: frozenset[str]) -> bool:
    """A file that we read, and not one that is hidden or a job's own note, as for folders of this machine."""
    parts = PurePosixPath(path.lstrip("/")).parts
    suffixes = {suffix.lower() for suffix in PurePosixPath(path).suffixes[-2:]}
    return bool(suffixes & extensions) and not any(part.startswith((".", "_")) for part in parts)


def _glob(pattern: str) -> str:
    """A regular expression: `*` and `?` stay within a folder, `**/` stands for any folders."""
    marks = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    return "".join(
        marks.get(part) or (part if part.startswith("[") and part.endswith("]") else re.escape(part)) for part in found
    )


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Says in one line what the storage says; never who asked."""
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(
            f"no such object: {url}", "list the bucket: aws s3 ls --recursive s3://BUCKET/PREFIX/"
        ) from error
    except OSError as error:
        raise _failure(error, url) from error


def _failure(error: OSError, url: str) -> EncoreError:
    said = re.search(r"AWS Error (\w+)|HTTP status (\d+)", str(error))
    code = next((group for group in said.groups() if group), "") if said else ""
    if error.errno is not None and not code:
        return RunFailed(f"{url} could not be fetched: {error.strerror}")
    if "NO_SUCH" in code or code in ("RESOURCE_NOT_FOUND", "404"):
        return ConfigError(f"no such bucket or object: {url}", "correct ingest.interactions, users or items")
    if any(word in code for word in ("ACCESS", "SIGNATURE", "TOKEN", "CLIENT", "AUTH", "401", "403")):
        return RunFailed(f"{url} may not be read: {code}", WHO)
    return DownloadFailed(f"{url} could not be fetched: {code or 'no answer'}", f"check the network; {WHO}")
