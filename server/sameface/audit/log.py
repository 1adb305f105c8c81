"""The audit log, and the thread that writes it.

Entries are written in groups: a group is on the disk, with fsync, at most `AuditOptions.durable_within_s` after its
first entry. Each file continues the chain of the one before. A file that a crash has cut in the middle of a line is
mended at the next start, and an entry says so.

Where nothing can be written, the entries wait in memory and calls are refused, so that no call is made without an
entry. A reserve of space is kept for the entries of calls that are in work at that moment.
"""

import fcntl
import itertools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt

from sameface.audit.chain import REMOVED, SEAL, linked, signed_content
from sameface.audit.files import RETRY_S, begin_file, check_format, end_of, files_of, last_entry, signing_key
from sameface.audit.mirrors import Mirror, StandardOutput, Syslog
from sameface.audit.pseudonyms import Pseudonyms
from sameface.errors import AuditUnavailable

log = logging.getLogger(__name__)

RESERVE_BYTES = 1 << 20
MOST_WAITING = 100_000
MOST_PEOPLE = 100
DAY_S = 86400.0
MENDED = "mended"
UNKNOWN = "unknown"
"""Stands for somebody who is not known to be enrolled."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """The audit log."""

    enabled: bool = False
    folder: Path | None = None
    """Where it is; None: audit in the data folder."""
    durable_within_s: Annotated[float, Gt(0)] = 0.5
    """How long an entry may be in memory alone, in seconds."""
    file_bytes: Annotated[int, Ge(4096)] = 64 << 20
    """A file that is larger is ended, and another one begun."""
    retention_days: Annotated[float, Gt(0)] | None = None
    """Files whose last entry is older are removed. None keeps all."""
    seal_every_s: Annotated[float, Gt(0)] = 60.0
    """How often the chain is signed while there are new entries, in seconds."""
    mirror: bool = False
    """Print every entry on the standard output too."""
    syslog: str = ""
    """Send every entry to a syslog too: the path of a socket such as /dev/log, or host:port (UDP)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, before it has its place in the chain."""

    fields: Mapping[str, Any]
    people: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Fields that name people, by gallery and identity. They are written as pseudonyms."""
    exist: bool = False
    """Whether these people are known to exist. Others get no pseudonym: anybody can ask for any name."""
    forgotten: Sequence[tuple[str, ...]] = ()
    """People, and galleries with all their people, whose pseudonyms nobody can tell back after this entry."""
    made: bool = False
    """Whether the call has enrolled the people, so that who was forgotten shortly before gets a pseudonym again."""
    erased: bool = False
    """Whether the call has erased whom it says to forget. If not, they were found to be missing."""


class AuditLog:
    """One writer of a folder."""

    def __init__(self, folder: Path, options: AuditOptions) -> None:
        """Open the folder and continue its chain.

        Raises:
            AuditUnavailable: another process writes here, or the folder cannot be used.
            InvalidArgument: the address of the syslog has another form.
            StoreTooNew: a newer release wrote the log. Nothing was changed.
        """
        self._folder, self._options = folder, options
        self._mirrors: list[Mirror] = [StandardOutput()] if options.mirror else []
        if options.syslog:
            self._mirrors.append(Syslog(options.syslog))
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(folder / "lock", "wb")  # noqa: SIM115  # closed in close()
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            check_format(folder)
            self._key = signing_key(folder)
            self.pseudonyms = Pseudonyms(folder / "pseudonyms.sqlite")
            self._number, self._before, mended = end_of(folder)
            self._file, self._begun = begin_file(folder, self._number + 1), time.time()
            self._reserve()
        except (OSError, ValueError, sqlite3.Error) as error:
            raise AuditUnavailable(
                f"the audit log in {folder} cannot be continued: {error}; another service may be using it, or "
                "`sameface audit verify` says what is wrong",
                metadata={"path": folder},
            ) from None
        self._waiting: list[tuple[float, Entry]] = []
        """With the time, in seconds of the epoch."""
        self._appended = self._durable = 0
        """How many entries there were, and how many of them are on the disk."""
        self._hurried = False
        self._unwritten = bytearray()
        """What was linked to the chain but is not on the disk yet."""
        self._changed = threading.Condition()
        self._failure = ""
        self._closing = False
        self._due: list[Path] = []
        """Files that are removed once the entry that says so is on the disk."""
        self._sealed, self._unsealed = time.monotonic(), False
        self._thread = threading.Thread(target=self._write_groups, name="audit", daemon=True)
        self._remove_old()
        self._thread.start()
        if mended:
            self.append(Entry({"rpc": MENDED, "outcome": f"{mended} bytes of an entry that was cut were removed"}))

    def check(self) -> None:
        """Check that entries can be written.

        Raises:
            AuditUnavailable: they cannot. The call must not be made.
        """
        if not self.writable:
            raise AuditUnavailable(
                "the audit log cannot be written at the moment, so no call is made; repeat the call",
                retry_after_s=RETRY_S,
            )

    @property
    def waiting(self) -> int:
        """Number of entries that are not on the disk yet."""
        return self._appended - self._durable

    @property
    def writable(self) -> bool:
        """Whether calls get entries, see `check`."""
        return not (self._failure or self._closing or len(self._waiting) >= MOST_WAITING) and self._thread.is_alive()

    def append(self, entry: Entry) -> None:
        """Add an entry, which is on the disk soon. The time is added."""
        now = time.time()
        with self._changed:
            if self._closing:
                log.error("an entry came after the audit log was closed: %s", entry.fields["rpc"])
                return
            self._waiting.append((now, entry))
            self._appended += 1
            if len(self._waiting) == 1:
                # The thread waits for the first entry of a group. Waking it for each one would take a core from calls.
                self._changed.notify_all()

    def settle(self) -> None:
        """Return when every entry so far is on the disk, and everybody forgotten whom they say to forget.

        Where nothing can be written at the moment, return at once: the entries wait.
        """
        with self._changed:
            upto, self._hurried = self._appended, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._durable >= upto or self._failure or not self._thread.is_alive())

    def close(self) -> None:
        """Write and seal what is waiting, and close the files."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if left := len(self._waiting) + self._unwritten.count(b"\n"):
            log.error("%d entries of the audit log were not written: %s", left, self._failure)
        os.close(self._file)
        for mirror in self._mirrors:
            mirror.close()
        self.pseudonyms.close()
        self._lock.close()

    def _write_groups(self) -> None:
        while True:
            with self._changed:
                seal_in = self._options.seal_every_s - (time.monotonic() - self._sealed)
                self._changed.wait_for(
                    lambda: bool(self._waiting) or self._closing or bool(self._unwritten),
                    timeout=RETRY_S if self._failure else max(0.0, seal_in) if self._unsealed else None,
                )
                closing = self._closing
                if not closing and self._waiting and not self._failure:
                    # A group gathers; the half leaves time to write it.
                    self._changed.wait_for(
                        lambda: self._closing or self._hurried, timeout=self._options.durable_within_s / 2
                    )
                group, self._waiting, self._hurried = self._waiting, [], False
            try:
                while group:
                    self._link(self._with_pseudonyms(*group[0]))
                    self._unsealed = True
                    del group[0]
                if self._unsealed and (closing or time.monotonic() - self._sealed >= self._options.seal_every_s):
                    signature = self._key.sign(signed_content(self._before)).hex()
                    self._link({"rpc": SEAL, "signature": signature, "time": _now()})
                    self._sealed, self._unsealed = time.monotonic(), False
                self._write()
            except Exception as error:
                # Of whatever kind: a log that is not written must be noticed.
                with self._changed:
                    self._waiting[:0] = group
                if not self._failure:
                    log.error("the audit log cannot be written, and calls are refused: %s", error)
                self._failure = str(error) or type(error).__name__
                with self._changed:
                    self._changed.notify_all()
                    if closing:
                        return
                    self._changed.wait_for(lambda: self._closing, timeout=RETRY_S)
                continue
            if self._failure:
                log.warning("the audit log is written again")
                self._failure = ""
            with self._changed:
                self._durable = self._appended - len(self._waiting)
                self._changed.notify_all()
            if closing and not self._unwritten:
                return

    def _with_pseudonyms(self, now: float, entry: Entry) -> dict[str, Any]:
        """Return the fields of an entry with its time, and with pseudonyms for its people; forget whom it says to
        forget.
        """

        def name(gallery: str, identity: str) -> str:
            if not entry.exist:
                return self.pseudonyms.known(gallery, identity)
            return self.pseudonyms.of(gallery, identity, made=entry.made)

        people = {
            field: [name(*one) or UNKNOWN for one in ones[:MOST_PEOPLE]] for field, ones in entry.people.items() if ones
        }
        for one in entry.forgotten:
            self.pseudonyms.forget(*one, erased=entry.erased)
        named = {field: ones[0] if len(ones) == 1 else ones for field, ones in people.items()}
        return {**entry.fields, **named, "time": _text_of(now)}

    def _link(self, fields: Mapping[str, Any]) -> None:
        """Give an entry its place in the chain. Entries are written in this order, however long it takes."""
        self._number += 1
        line, self._before = linked(fields, self._number, self._before)
        self._unwritten += line + b"\n"

    def _write(self) -> None:
        """Write what is linked. Raises OSError if that is impossible, or if there is no space for a reserve."""
        if self._unwritten:
            try:
                self._append()
            except OSError:
                # The entries of calls that were in work go where the reserve was.
                (self._folder / "reserve").unlink(missing_ok=True)
                self._append()
            for mirror in self._mirrors:
                mirror.send(self._unwritten.decode().splitlines())
            self._unwritten.clear()
        while self._due:
            self._due[0].unlink(missing_ok=True)
            del self._due[0]
        self._reserve()
        if self._is_full():
            file = begin_file(self._folder, self._number + 1)
            os.close(self._file)
            self._file, self._begun = file, time.time()
            self._remove_old()

    def _is_full(self) -> bool:
        """Return whether another file is to be begun. Where old files are removed, each is for a day at most."""
        size = os.fstat(self._file).st_size
        old = self._options.retention_days is not None and time.time() - self._begun > DAY_S
        return size > self._options.file_bytes or (old and size > 0)

    def _append(self) -> None:
        """Append whole lines, or nothing."""
        begin, left = os.fstat(self._file).st_size, memoryview(bytes(self._unwritten))
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except BaseException:
            os.ftruncate(self._file, begin)
            raise

    def _reserve(self) -> None:
        """Keep space for the entries of the calls in work. Raises OSError if there is none."""
        reserve = self._folder / "reserve"
        if reserve.exists() and reserve.stat().st_size == RESERVE_BYTES:
            return
        with open(reserve, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def _remove_old(self) -> None:
        """Say in the log which files are too old. They are removed afterwards."""
        if self._options.retention_days is None:
            return
        oldest = time.time() - self._options.retention_days * DAY_S
        files = files_of(self._folder)[:-1]
        for file in itertools.takewhile(lambda file: file.stat().st_mtime < oldest, files):
            if (last := last_entry(file)) is not None:
                # So that a check tells files that were removed for their age from files that somebody took away.
                self._link({"rpc": REMOVED, "until": last["number"], "last_hash": last["hash"], "time": _now()})
                self._unsealed = True
            self._due.append(file)


def _now() -> str:
    return _text_of(time.time())


def _text_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
