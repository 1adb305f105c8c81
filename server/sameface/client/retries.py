"""When a failed call is repeated. Pure: the caller gives the time and the random number.

The reason in the error's details decides. A retry policy of gRPC sees only the status code. tenacity would be a further
dependency and would replace only the pause.
"""

from dataclasses import dataclass
from typing import Any

import grpc

from sameface.client.errors import ServiceError
from sameface.client.rpc import Call

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
SPREAD = 0.25
"""Pauses are longer by up to this share, so that callers who failed together do not repeat together."""


@dataclass(slots=True)
class Attempts:
    """The attempts of one call, all within one deadline."""

    call: Call[Any]
    deadline: float
    unreachable_s: float
    """Seconds to try an address at which nothing answers, counted from the first of these failures in a row."""
    failures: int = 0
    may_have_run: bool = False
    """Whether the server may have done what was asked although no answer came."""
    unreachable_since: float | None = None

    def already_done(self, error: ServiceError) -> bool:
        """Whether an earlier attempt, whose answer was lost, did the deletion that now finds nothing."""
        return self.may_have_run and bool(self.call.gone) and error.reason == self.call.gone

    def pause(self, error: ServiceError, now: float, dice: float) -> float | None:
        """Note a failure and return the seconds to wait before a repeat; None if a repeat cannot help.

        Args:
            error: why the latest attempt failed.
            now: time, by the same clock as ``deadline``.
            dice: uniform in [0, 1).

        Where the server says how long to wait, that is the pause. After a failed connection, a server without room, or
        a lost race the pause grows. Every other failure is final: a limit, a missing resource, a wrong photo, a
        certificate that is refused.
        """
        unreachable = error.code == grpc.StatusCode.UNAVAILABLE and not error.reason and not error.unconnectable
        # gRPC itself refuses what is beyond the server's room, before any handler has seen it.
        no_room = error.code == grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason and not error.too_large
        lost_race = error.reason == "CONCURRENT_UPDATE" and self.call.repeat_lost_races
        growing = min(FIRST_PAUSE_S * 2**self.failures, LONGEST_PAUSE_S)
        self.failures += 1
        self.may_have_run |= unreachable or error.reason == "STORE_UNAVAILABLE"
        if not unreachable:
            self.unreachable_since = None
        elif self.unreachable_since is None:
            self.unreachable_since = now
        if error.retry_after_s is not None:
            wait = error.retry_after_s
        elif unreachable or no_room or lost_race:
            wait = growing
        else:
            return None
        wait *= 1 + SPREAD * dice
        end = self.deadline
        if self.unreachable_since is not None:
            end = min(end, self.unreachable_since + self.unreachable_s)
        return wait if now + wait < end else None
