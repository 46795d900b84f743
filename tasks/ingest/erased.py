"""People who asked to be forgotten: their rows are left out before anything of them is written.

Kept as salted hashes, so that the list of who was erased names nobody.
"""

import hashlib
import json
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import RunFailed
from tasks.ingest.sources.base import Block
from tasks.store.keys import make_hash
from tasks.store.store import Store

WORDS = re.compile(r"[^\s,;|:\x1f\"'\[\]{}]+")  # what may be an id in a line that is no row


@dataclass(frozen=True)
class ErasedUsers:
    salt: str
    hashes: frozenset[str]  # sha256 of the salt and the user's id, as hexadecimal digits

    @property
    def key(self) -> str:
        """Of who is left out: part of the key of everything staged."""
        return make_hash(self.salt, sorted(self.hashes)) if self.hashes else ""

    def knows(self, user_id: str) -> bool:
        return hashlib.sha256((self.salt + user_id).encode()).hexdigest() in self.hashes

    def keep(self, user_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """True for rows that stay: of users who were not erased, or of none. Each id is hashed once."""
        chunks = []
        for chunk in user_ids.chunks:
            codes = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            stays = [user is None or not self.knows(user) for user in codes.dictionary.to_pylist()]
            chunks.append(pc.fill_null(pa.array(stays, pa.bool_()).take(codes.indices), True))
        return pa.chunked_array(chunks, pa.bool_())

    def without(self, block: Block) -> Block:
        """The rows of everyone else, and the lines that do not name an erased person."""
        if not self.hashes:
            return block
        rows = block.rows.filter(self.keep(block.rows["user_id"]))
        named = np.array([self._named_in(row) for row in block.unread["row"].to_pylist()], dtype=bool)
        return Block(rows, block.unread.filter(pa.array(~named)))

    def _named_in(self, row: str) -> bool:
        """Of a row whose cells are known only its user counts; of a line that is no row, any word of it."""
        cells = json.loads(row)
        if "line" not in cells:
            return cells.get("user_id") is not None and self.knows(cells["user_id"])
        return any(self.knows(word) for word in {*WORDS.findall(cells["line"]), cells["line"].strip()})


NOBODY = ErasedUsers("", frozenset())


def load(store: Store, dataset: str) -> ErasedUsers:
    """Who was erased from a dataset. Raises RunFailed where the list is damaged: nobody may come back by accident."""
    path = store.path(f"lake/{dataset}/erased.json")
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return ErasedUsers(str(listed["salt"]), frozenset(map(str, listed["hashes"])))
    except FileNotFoundError:
        return NOBODY
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFailed(
            f"{path} cannot be read: {error}", "bring it back from a backup: it says who was erased"
        ) from error
