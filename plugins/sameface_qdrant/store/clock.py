"""The time of day as it is stored."""

import time


def time_now() -> float:
    """Return the seconds since the epoch, in whole microseconds.

    Edge reads numbers from JSON, and may change the last bit of one that has more than 16 digits. Then the time that a
    call returns, and an etag made from it, would differ from those that are read later.
    """
    return round(time.time(), 6)
