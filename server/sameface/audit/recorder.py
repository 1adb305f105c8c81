"""What an entry says of a call: who, which rpc, on what, with which outcome. Never a photo, a vector or a score."""

from collections.abc import Iterable
from typing import Any

from sameface.access.caller import Caller
from sameface.access.roles import RULES, gallery_of, name_in
from sameface.audit.log import MOST_PEOPLE, AuditLog, Entry
from sameface.errors import AuditUnavailable
from sameface.v1 import decision_pb2
from sameface_qdrant.values.erasure import ErasureReceipt

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
    }
)
"""Reasons with which a deletion or a move has changed nothing."""
MOST_TEXT = 128
"""Longest text of a caller in an entry."""


class Recorder:
    """Writes entries of calls."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def check(self) -> None:
        """Raise AuditUnavailable if the call that begins could get no entry."""
        self._log.check()

    def record(self, caller: Caller | None, rpc: str, message: Any, reason: str, answer: Any = None) -> None:
        """Write the entry of a call.

        Args:
            caller: who made it; None for a caller who was refused.
            rpc: its name.
            message: the request; None if it was not read.
            reason: of the error; empty for success.
            answer: of a call that succeeded.
        """
        if reason == AuditUnavailable.reason:
            return  # nothing was done, and memory is bounded
        gallery, identity = ("", "") if message is None else resource_of(rpc, message)
        fields: dict[str, Any] = {
            "rpc": rpc,
            "caller": "" if caller is None else caller.name[:MOST_TEXT],
            "outcome": reason or DONE,
        }
        if gallery:
            fields["gallery"] = gallery
        if request_id := getattr(message, "request_id", ""):
            fields["request_id"] = str(request_id)[:MOST_TEXT]
        people = {"identity": [(gallery, identity)] if identity else []}
        forgotten: list[tuple[str, ...]] = []
        dry_run = bool(getattr(message, "validate_only", False))
        if answer is not None:
            decisions = list(decisions_of(answer))
            if decisions:
                outcomes = [_outcome(one) for one in decisions]
                fields["decision"] = outcomes[0] if len(outcomes) == 1 else outcomes[:MOST_PEOPLE]
                fields["policy_revision"] = decisions[0].policy_revision
            if not identity:
                people["matched"] = [one for decision in decisions for one in _matched(decision)]
            if rpc == "MoveIdentity":
                people["target"] = [(gallery, message.identity_id)]
        # Where it is not known what a deletion has done, the pseudonym goes too.
        if identity and (reason in GONE or (rpc in ("DeleteIdentity", "MoveIdentity") and reason not in UNTOUCHED)):
            forgotten.append((gallery, identity))
        if gallery and (reason == "GALLERY_NOT_FOUND" or (rpc == "DeleteGallery" and reason not in UNTOUCHED)):
            forgotten.append((gallery,))
        made = rpc in MAKING and answer is not None and not dry_run
        self._log.append(Entry(fields, people, answer is not None and not dry_run, forgotten, made))

    def erased(self, receipts: Iterable[ErasureReceipt]) -> None:
        """Write entries of what the sweep has erased."""
        for one in receipts:
            fields = {"rpc": "sweep", "caller": "", "outcome": DONE, "gallery": one.gallery}
            people = {"identity": [(one.gallery, one.identity)] if one.identity else []}
            whole = [(one.gallery, one.identity)] if one.identity and not one.template else []
            self._log.append(Entry(fields, people, exist=True, forgotten=whole))


def resource_of(rpc: str, message: Any) -> tuple[str, str]:
    """Return the ids of the gallery and of the identity that a request names; empty for none."""
    if (rule := RULES.get(rpc)) is None or not (gallery := gallery_of(rule, message)):
        return "", ""
    parts = name_in(rule, message).split("/")
    identity = message.identity_id if rpc == "CreateIdentity" else parts[3] if len(parts) > 3 else ""
    return gallery[:MOST_TEXT], identity[:MOST_TEXT]


def decisions_of(answer: Any) -> Iterable[decision_pb2.Decision]:
    """Return the decisions in an answer."""
    if isinstance(one := getattr(answer, "decision", None), decision_pb2.Decision):
        return [one]
    return [face.decision for face in getattr(answer, "faces", ()) if hasattr(face, "decision")]


def _outcome(decision: decision_pb2.Decision) -> str:
    name: str = decision_pb2.Outcome.Name(decision.outcome)
    return name.removeprefix("OUTCOME_")


def _matched(decision: decision_pb2.Decision) -> list[tuple[str, str]]:
    if decision.outcome != decision_pb2.OUTCOME_MATCH or not decision.candidates:
        return []
    _, gallery, _, identity = decision.candidates[0].identity.split("/")
    return [(gallery, identity)]
