"""Fetches archives into the data folder: whole and checked under their final name, or not there."""

import fcntl
import http.client
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigError, DownloadFailed, without_passwords
from tasks.ingest.progress import Progress
from tasks.ingest.sources.base import hash_file
from tasks.store.atomic import new_file, scratch_folder

BLOCK = 1 << 18  # bytes
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Checksum:
    algorithm: str
    value: str


def fetch_wheel(requirement: str, final: Path, checksum: Checksum) -> bool:
    """Has pip fetch a wheel, so that the user's mirrors, proxies and caches apply. Returns whether it was fetched now.

    Raises DownloadFailed where pip cannot, or where the file is not the pinned one.
    """
    with _alone(final):
        if final.exists():
            _refuse_other_content(final, checksum)
            return False
        with scratch_folder(final.parent) as folder:
            _pip_download(requirement, folder, final)
            fetched = folder / final.name
            if not fetched.is_file():
                raise DownloadFailed(f"pip fetched {requirement} under another name than {final.name}", _by_hand(final))
            _refuse_other_content(fetched, checksum)
            with new_file(final) as temporary:
                fetched.rename(temporary)
    return True


def fetch_url(url: str, final: Path, checksum: Checksum) -> bool:
    """Downloads a file; a broken download is continued. Returns whether it was fetched now.

    Raises DownloadFailed where it breaks off (what has come stays for the next try) or is not the pinned file.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"cannot download from {without_passwords(url)}", "ENCORE_GROUPLENS_URL takes http:// and https:// only"
        )
    if without_passwords(url) != url:
        raise ConfigError(
            f"{without_passwords(url)} was given with a password in it, which is not used", "leave it out of the URL"
        )
    part = final.with_name(f"{final.name}.part")
    with _alone(final):
        if final.exists():
            _refuse_other_content(final, checksum)
            return False
        try:
            _download(url, part)
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            reason = getattr(error, "reason", None) or error
            raise DownloadFailed(f"{without_passwords(url)} could not be fetched: {reason}", _by_hand(final)) from error
        _refuse_other_content(part, checksum)
        with new_file(final) as temporary:
            part.rename(temporary)
    return True


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing left to send: whether it is the right file is checked next
            return
        raise
    with response:
        if response.status != 206:  # this server cannot continue
            have = 0
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest else None
        with part.open("ab" if have else "wb") as file, Progress(f"downloading {url.rpartition('/')[2]}", total) as bar:
            bar.advance(have)
            while block := response.read(BLOCK):
                file.write(block)
                bar.advance(len(block))
                have += len(block)
    if total is not None and have < total:
        raise DownloadFailed(
            f"{without_passwords(url)} broke off after {have:,} of {total:,} bytes", "run again: it goes on from there"
        )


def _pip_download(requirement: str, folder: Path, final: Path) -> None:
    options = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", requirement, *options]
    result = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = [line for line in result.stderr.splitlines() if "ERROR" in line or "No module named" in line]
        reason = f": {without_passwords(said[-1].removeprefix('ERROR: '))}" if said else ""
        raise DownloadFailed(f"pip could not fetch {requirement}{reason}", _by_hand(final))


def _refuse_other_content(path: Path, checksum: Checksum) -> None:
    found = hash_file(path, checksum.algorithm)
    if found != checksum.value:
        path.unlink()
        raise DownloadFailed(
            f"{path.name} has {checksum.algorithm} {found}, not the pinned {checksum.value}; it was removed",
            "run again; if it stays so, the mirror serves another file",
        )


def _by_hand(final: Path) -> str:
    return f"check the network, or put the file at {final}"


@contextmanager
def _alone(final: Path) -> Iterator[None]:
    """Two runs that want the same file: the second waits and then finds it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with final.with_name(f"{final.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
