"""What an entry says of a call: who, which rpc, on what, with which outcome. Never a photo, a vector or a score."""

import asyncio
import contextlib
import copy
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any

from sameface.access.caller import Caller
from sameface.access.roles import RULES, gallery_of, name_in
from sameface.audit.gone import forget_the_gone
from sameface.audit.log import MOST_PEOPLE, UNKNOWN, AuditLog, Entry
from sameface.audit.migrations import migration_fields, unasked_fields
from sameface.errors import AuditUnavailable
from sameface.observation.renewals import taken_renewals
from sameface.observation.stages import stage
from sameface.resource_names import ids_in, unescaped
from sameface.v1 import decision_pb2
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.erasure import ErasureReceipt
from sameface_qdrant.values.ids import ID_PATTERN, check_identity_id
from sameface_qdrant.values.migration import UnaskedChange

DONE = "OK"
GONE = ("IDENTITY_NOT_FOUND", "GALLERY_NOT_FOUND")
MAKING = ("EnrollTemplate", "CreateIdentity", "MoveIdentity")
UNTOUCHED = frozenset(
    {
        "PERMISSION_DENIED",
        "INVALID_ARGUMENT",
        "RATE_LIMITED",
        "SERVER_BUSY",
        "IDENTITY_NOT_EMPTY",
        "GALLERY_NOT_EMPTY",
        "IDENTITY_ALREADY_EXISTS",
        "TEMPLATE_LIMIT_REACHED",
        "QUOTA_EXCEEDED",
    }
)
"""Reasons with which a deletion or a move has changed nothing."""
MOST_TEXT = 128
"""Longest text of a caller in an entry."""
STRANGERS_PERIOD_S, MOST_STRANGERS = 60.0, 20
"""So many calls without valid credentials have entries of their own in so many seconds. Others are only counted, so
that strangers cannot fill the disk."""
REFUSED = "refused"
FORGOTTEN = "forgotten"
MALFORMED = "malformed"
LONGEST_UUID = 36
HIDDEN = "…"
QUOTED = re.compile(r"(?<!\w)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
"""What a message quotes. The apostrophe of a word does not begin a quotation."""
NAMING = ("gallery", "identity", "template", "key")
"""Metadata that may name somebody."""
UNSURE = ("CANCELLED", "STORE_UNAVAILABLE", "INTERNAL")
"""Reasons with which a call may have written all the same."""


class Recorder:
    """Writes entries of calls."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._strangers = Strangers()

    def check(self) -> None:
        """Raise AuditUnavailable if the call that begins could get no entry."""
        self._log.check()

    async def settle(self) -> None:
        """Return when every entry so far is on the disk, and everybody forgotten whom they say to forget."""
        with stage("audit"):
            await asyncio.to_thread(self._log.settle)

    async def without_names(self, error: SamefaceError, rpc: str, message: Any) -> SamefaceError:
        """Return the error of a call with pseudonyms for the people whom the request or the error names.

        Answers and their details end in logs and traces of proxies and callers. The caller knows whom it named.
        """
        gallery, identity = ("", "") if message is None else resource_of(rpc, message)
        people = {identity, error.metadata.get("identity", ""), str(getattr(message, "identity_id", ""))} - {""}
        names = {
            one: await asyncio.to_thread(self._log.pseudonyms.known, gallery, one) or UNKNOWN
            for one in people
            if _is_identity(one)
        }
        if ID_PATTERN.fullmatch(gallery):
            names[gallery] = gallery

        # Messages quote what the caller sent. What is no id that the call is about may be a name in the wrong place.
        quotable = {repr(one)[1:-1]: name for one, name in names.items()}

        def shown(quoted: re.Match[str]) -> str:
            return f"'{quotable.get(quoted[0][1:-1], HIDDEN)}'"

        renamed = copy.copy(error)
        renamed.message = QUOTED.sub(shown, error.message)
        renamed.args = (renamed.message,)
        renamed.metadata = {
            key: names.get(value, UNKNOWN) if key in NAMING and not (key == "template" and _is_uuid(value)) else value
            for key, value in error.metadata.items()
        }
        return renamed

    def record(self, caller: Caller | None, rpc: str, message: Any, reason: str, answer: Any = None) -> bool:
        """Write the entry of a call. Return whether it forgets somebody.

        Args:
            caller: who made it; None for a caller who was refused.
            rpc: its name.
            message: the request; None if it was not read.
            reason: of the error; empty for success.
            answer: of a call that succeeded.
        """
        if reason == AuditUnavailable.reason:
            return False  # nothing was done, and memory is bounded
        if count := self._strangers.counted(caller is None, time.monotonic()):
            self._tell_strangers(count)
        if caller is None and self._strangers.too_many:
            return False
        gallery, identity = ("", "") if message is None else resource_of(rpc, message)
        fields: dict[str, Any] = {
            "rpc": rpc,
            "caller": "" if caller is None else caller.name[:MOST_TEXT],
            "outcome": reason or DONE,
        }
        if gallery:
            # What is no id may be anything, also a name.
            fields["gallery"] = gallery if ID_PATTERN.fullmatch(gallery) else MALFORMED
        if request_id := getattr(message, "request_id", ""):
            fields["request_id"] = request_id if _is_uuid(request_id) else MALFORMED
        fields |= migration_fields(message, answer)
        people = {"identity": [(gallery, identity)] if identity else []}
        forgotten: list[tuple[str, ...]] = []
        dry_run = bool(getattr(message, "validate_only", False))
        if answer is not None:
            decisions = list(decisions_of(answer))
            if decisions:
                outcomes = [_outcome(one) for one in decisions]
                fields["decision"] = outcomes[0] if len(outcomes) == 1 else outcomes[:MOST_PEOPLE]
                fields["policy_revision"] = decisions[0].policy_revision
                if renewals := taken_renewals():
                    fields["renewal"] = renewals[0] if len(renewals) == 1 else renewals[:MOST_PEOPLE]
            if not identity:
                people["matched"] = [one for decision in decisions for one in _matched(decision)]
        # Where it is not known what a deletion has done, the pseudonym goes too.
        if identity and (reason in GONE or (rpc in ("DeleteIdentity", "MoveIdentity") and reason not in UNTOUCHED)):
            forgotten.append((gallery, identity))
        if gallery and (reason == "GALLERY_NOT_FOUND" or (rpc == "DeleteGallery" and reason not in UNTOUCHED)):
            forgotten.append((gallery,))
        # Who may have been enrolled by a call that failed gets a pseudonym too; if not, it is forgotten soon.
        unsure = reason in UNSURE and message is not None
        if rpc == "MoveIdentity" and (answer is not None or unsure):
            people["target"] = [(gallery, message.identity_id)]
        made = rpc in MAKING and (answer is not None or unsure) and not dry_run
        exist = (answer is not None and not dry_run) or made
        with stage("audit"):
            self._log.append(Entry(fields, people, exist, forgotten, made, erased=reason not in GONE))
        return bool(forgotten)

    def erased(self, receipts: Iterable[ErasureReceipt]) -> None:
        """Write entries of what the sweep has erased."""
        for one in receipts:
            fields = {"rpc": "sweep", "caller": "", "outcome": DONE, "gallery": one.gallery}
            people = {"identity": [(one.gallery, one.identity)] if one.identity else []}
            whole = [(one.gallery, one.identity)] if one.identity and not one.template else []
            self._log.append(Entry(fields, people, exist=True, forgotten=whole, erased=True))

    def migrated(self, change: UnaskedChange) -> None:
        """Write the entry of a change of a migration that no call has made."""
        self._log.append(Entry(unasked_fields(change)))

    async def forget_the_gone(self, store: Store) -> int:
        """Forget people who are not in the store any more, see `sameface.audit.gone`. Return how many."""
        if gone := await forget_the_gone(self._log.pseudonyms, store):
            self._log.append(Entry({"rpc": FORGOTTEN, "caller": "", "outcome": DONE, "count": gone}))
        return gone

    def close(self) -> None:
        """Write what was counted, and close the log."""
        if count := self._strangers.uncounted:
            self._tell_strangers(count)
        self._log.close()

    def _tell_strangers(self, count: int) -> None:
        self._log.append(Entry({"rpc": REFUSED, "caller": "", "outcome": "UNAUTHENTICATED", "count": count}))


class Strangers:
    """Counts calls without valid credentials in periods."""

    def __init__(self) -> None:
        self._began, self._count = float("-inf"), 0

    @property
    def too_many(self) -> bool:
        """Whether the last call that was counted gets no entry of its own."""
        return self._count > MOST_STRANGERS

    @property
    def uncounted(self) -> int:
        """How many of this period have no entry."""
        return max(0, self._count - MOST_STRANGERS)

    def counted(self, stranger: bool, now: float) -> int:
        """Count a call at ``now``, in seconds of any clock.

        Return how many had no entry in the period that has ended, if one has.
        """
        told = 0
        if now - self._began > STRANGERS_PERIOD_S:
            told = self.uncounted
            self._began, self._count = now, 0
        self._count += stranger
        return told


def resource_of(rpc: str, message: Any) -> tuple[str, str]:
    """Return the ids of the gallery and of the identity that a request names; empty for none."""
    if (rule := RULES.get(rpc)) is None or not (gallery := gallery_of(rule, message)):
        return "", ""
    if rpc == "CreateIdentity":
        identity = message.identity_id
    else:
        parts = name_in(rule, message).split("/")
        identity = parts[3] if len(parts) > 3 and parts[2] == "identities" else ""
        with contextlib.suppress(ValueError):
            identity = unescaped(identity)
    # An id is never cut: the result would be that of another person.
    return gallery[:MOST_TEXT], identity if _is_identity(identity) else identity[:MOST_TEXT]


def decisions_of(answer: Any) -> Iterable[decision_pb2.Decision]:
    """Return the decisions in an answer."""
    if isinstance(one := getattr(answer, "decision", None), decision_pb2.Decision):
        return [one]
    return [face.decision for face in getattr(answer, "faces", ()) if hasattr(face, "decision")]


def _is_identity(text: str) -> bool:
    try:
        check_identity_id(text, "identity")
    except InvalidArgument:
        return False
    return True


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return len(text) <= LONGEST_UUID


def _outcome(decision: decision_pb2.Decision) -> str:
    name: str = decision_pb2.Outcome.Name(decision.outcome)
    return name.removeprefix("OUTCOME_")


def _matched(decision: decision_pb2.Decision) -> list[tuple[str, str]]:
    if decision.outcome != decision_pb2.OUTCOME_MATCH or not decision.candidates:
        return []
    gallery, identity = ids_in(decision.candidates[0].identity)
    return [(gallery, identity)]
