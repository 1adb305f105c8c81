"""Names for people in the audit log, which nobody can tell back once the person is erased.

A person has one random pseudonym. The table that leads from the person to it is a file of its own; its key is a digest
under a random secret, so the table holds no ids either. When the person is erased, the row goes: the entries stay, and
nothing links them to anybody.
"""

import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

OWN_ROW = b"own"
IN_WORK_S, MOST_FORGOTTEN = 600.0, 100_000
"""How long a call may be in work that began before an erasure, and how many erasures are remembered for that."""
LENGTH = 12
"""Bytes of a pseudonym: collisions are unlikely below billions of people."""


class Pseudonyms:
    """The table, in a SQLite file. Threads may share it."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # What is deleted is overwritten, and no second file keeps it.
        for pragma in ("secure_delete = ON", "journal_mode = TRUNCATE", "synchronous = FULL"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS pseudonyms "
            "(person BLOB PRIMARY KEY, gallery BLOB NOT NULL, pseudonym TEXT NOT NULL, made REAL NOT NULL DEFAULT 0)"
        )
        if "made" not in [column[1] for column in self._database.execute("PRAGMA table_info(pseudonyms)")]:
            self._database.execute("ALTER TABLE pseudonyms ADD COLUMN made REAL NOT NULL DEFAULT 0")
        self._lock = threading.RLock()
        self._database.execute(
            "INSERT OR IGNORE INTO pseudonyms VALUES (?, ?, ?, 0)", (OWN_ROW, OWN_ROW, secrets.token_hex(32))
        )
        self._forgotten: OrderedDict[bytes, float] = OrderedDict()
        self._secret = bytes.fromhex(self._found(OWN_ROW))

    def of(self, gallery: str, identity: str, *, made: bool = False) -> str:
        """Return the pseudonym of a person, who gets one if there is none.

        Empty for who was forgotten shortly before, unless the person was ``made`` anew: a call that was in work during
        the erasure must not leave a row.
        """
        with self._lock:
            if pseudonym := self.known(gallery, identity):
                return pseudonym
            if not made and self._is_forgotten(gallery, identity):
                return ""
            pseudonym = "p" + secrets.token_hex(LENGTH)
            row = (self.key(gallery, identity), self.key(gallery), pseudonym, time.time())
            self._database.execute("INSERT INTO pseudonyms VALUES (?, ?, ?, ?)", row)
            return pseudonym

    def known(self, gallery: str, identity: str) -> str:
        """Return the pseudonym of a person who has one; empty for others."""
        return self._found(self.key(gallery, identity))

    def forget(self, gallery: str, identity: str = "", *, erased: bool = True) -> None:
        """Destroy what leads from a person, or from everybody in a gallery, to the pseudonyms.

        Who is enrolled again gets another one: for a while only by the enrolment itself, if the person was ``erased``
        or had a pseudonym. Anybody can ask for people who do not exist, and another service may enrol them.
        """
        column = "person" if identity else "gallery"
        key = self.key(gallery, identity) if identity else self.key(gallery)
        with self._lock:
            removed = self._database.execute(f"DELETE FROM pseudonyms WHERE {column} = ?", (key,))  # noqa: S608  # one of two
            if erased or removed.rowcount:
                self._forgotten.pop(key, None)
                self._forgotten[key] = time.monotonic()
                if len(self._forgotten) > MOST_FORGOTTEN:
                    self._forgotten.popitem(last=False)

    def galleries(self) -> set[bytes]:
        """Return the keys of all galleries that have people here."""
        with self._lock:
            found = self._database.execute("SELECT DISTINCT gallery FROM pseudonyms WHERE gallery != ?", (OWN_ROW,))
            return {key for (key,) in found}

    def people(self, gallery: bytes, before: float) -> set[bytes]:
        """Return the keys of a gallery's people who got their pseudonym ``before`` then, in seconds of the epoch."""
        with self._lock:
            rows = self._database.execute(
                "SELECT person FROM pseudonyms WHERE gallery = ? AND made < ?", (gallery, before)
            )
            return {key for (key,) in rows}

    def forget_people(self, keys: Iterable[bytes], before: float) -> int:
        """Forget these people, where they got their pseudonym ``before`` then. Return how many there were."""
        with self._lock:
            return sum(
                self._database.execute("DELETE FROM pseudonyms WHERE person = ? AND made < ?", (key, before)).rowcount
                for key in keys
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _is_forgotten(self, gallery: str, identity: str) -> bool:
        now = time.monotonic()
        keys = self.key(gallery, identity), self.key(gallery)
        return any(now - self._forgotten.get(key, float("-inf")) < IN_WORK_S for key in keys)

    def _found(self, key: bytes) -> str:
        with self._lock:
            found = self._database.execute("SELECT pseudonym FROM pseudonyms WHERE person = ?", (key,)).fetchone()
        return str(found[0]) if found else ""

    def key(self, *ids: str) -> bytes:
        """Return the key of a gallery, or of a gallery's identity. The id of a gallery contains no slash."""
        return hmac.digest(self._secret, "/".join(ids).encode(), "sha256")
