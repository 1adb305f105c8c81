"""When a failed call is repeated. Pure."""

import grpc

from sameface.client.errors import ServiceError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


def pause_before_retry(error: ServiceError, *, attempt: int, left_s: float, repeat_lost_races: bool) -> float | None:
    """Return how long to wait before a repeat, None where repeating is of no use or no time is left for it.

    Args:
        error: why the ``attempt``-th attempt failed, counted from 0.
        attempt: how often the call has been repeated already.
        left_s: seconds until the call's deadline.
        repeat_lost_races: whether another attempt may win where another writer was faster.

    A server that says when to come back is taken at its word. A connection that failed, and a race that was lost, are
    tried again after a growing pause. Everything else is final: a limit, a missing thing, a wrong photo.
    """
    growing = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
    if error.retry_after_s is not None:
        pause = error.retry_after_s
    elif (error.reason == "CONCURRENT_UPDATE" and repeat_lost_races) or (
        error.code == grpc.StatusCode.UNAVAILABLE and not error.reason
    ):
        pause = growing
    else:
        return None
    return pause if pause < left_s else None
