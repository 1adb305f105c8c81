"""What became of the renewals of the present call. Its answer may leave them out: they tell how high a score is."""

from contextvars import ContextVar

from sameface_qdrant.values.decision import Renewal

_NOTED: ContextVar[list[str] | None] = ContextVar("renewals", default=None)


def begin_renewals() -> None:
    """Note the renewals of the call that begins, until its task ends."""
    _NOTED.set([])


def note_renewal(renewal: Renewal | None) -> None:
    """Note what became of a mapped template after a match; None for no renewal. Without a call, nothing is noted."""
    noted = _NOTED.get()
    if noted is not None and renewal is not None:
        noted.append(f"{renewal.state} {renewal.reason}" if renewal.reason else str(renewal.state))


def taken_renewals() -> list[str]:
    """Return what was noted since this was asked last: `PROPOSED`, `RENEWED`, or `REFUSED` and why."""
    noted = _NOTED.get() or []
    taken = noted.copy()
    noted.clear()
    return taken
