"""Who is to be forgotten, and how to tell a row, a line or a page that names them."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from html import escape

from tasks.store.atomic import write_json
from tasks.store.store import Store

ANYBODY = "[erased]"
"""Stands in pages where the person was named."""


@dataclass(frozen=True)
class Person:
    """A user of a dataset, by the id as the log has it."""

    dataset: str
    user_id: str
    shown: str
    """The id as reports quote it in examples."""

    def is_in_refused(self, row: str) -> bool:
        """Whether a refused row, as JSON, names the person: by its user, or where it could not be told apart into
        cells by any word of its line, since what is kept of a person must not depend on how broken a line is."""
        cells = json.loads(row)
        if "line" not in cells:
            return cells.get("user_id") is not None and str(cells["user_id"]) == self.user_id
        word = rf"(?<![^\s,;|:\x1f\"'\[\]{{}}]){re.escape(self.user_id)}(?![^\s,;|:\x1f\"'\[\]{{}}])"
        return re.search(word, str(cells["line"])) is not None

    def taken_out_of(self, page: str) -> str:
        """A page or text of ours without what it shows of the person: the example on a run card, and the id where
        examples of failing rows quote it."""
        card = rf'<div class="card padded"><h3>user {re.escape(escape(self.user_id))} <span.*?</div></div></div>\n?'
        page = re.sub(card, "", page, flags=re.DOTALL)
        for one in (self.shown, escape(self.shown)):
            page = page.replace(one, ANYBODY)
        return page


def list_path(dataset: str) -> str:
    return f"lake/{dataset}/erased.json"


def was_erased(store: Store, person: Person) -> bool:
    listed = _read(store, person.dataset)
    return _hash(listed["salt"], person) in listed["hashes"]


def remember(store: Store, person: Person) -> None:
    """Adds the person to those whose rows are left out whenever a file is read. Names nobody: a salted hash is kept."""
    if not was_erased(store, person):
        listed = _read(store, person.dataset)
        hashes = sorted([*listed["hashes"], _hash(listed["salt"], person)])
        write_json(store.path(list_path(person.dataset)), {"salt": listed["salt"], "hashes": hashes})


def _read(store: Store, dataset: str) -> dict[str, list[str] | str]:
    path = store.path(list_path(dataset))
    if not path.is_file():
        return {"salt": secrets.token_hex(16), "hashes": []}
    found: dict[str, list[str] | str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _hash(salt: object, person: Person) -> str:
    return hashlib.sha256(f"{salt}{person.user_id}".encode()).hexdigest()
