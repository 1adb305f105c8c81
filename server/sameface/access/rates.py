"""How often a caller may call, and how often a claim may fail.

Token buckets: each fills at its rate, and holds what `BURST_S` seconds bring. They are in the memory of one service;
with several services behind one name a caller may get as much from each of them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt

from sameface.access.caller import Caller
from sameface.errors import RateLimited

BURST_S = 10.0
MOST_BUCKETS = 100_000
"""Beyond this, the bucket that was used longest ago is forgotten, which fills it."""
FIELDS_WITH_PHOTOS = ("photo", "sample", "first", "second")

Rate = Annotated[float, Gt(0)] | None


@dataclass(frozen=True, slots=True)
class RateOptions:
    """Limits of rates; None is no limit."""

    requests_per_s: Rate = None
    """Calls, and messages of streams, of one caller."""
    photos_per_s: Rate = None
    """Photos of one caller."""
    enrolments_per_s: Rate = None
    """Enrolments of one caller."""
    failed_claims_per_minute: Rate = None
    """Verifications against one identity that do not match, whoever makes them. It bounds how fast anybody can try
    photos until one matches."""


class Bucket:
    """One token bucket. Times are seconds of any clock."""

    def __init__(self, rate: float, now: float, burst_s: float = BURST_S) -> None:
        """``rate`` is tokens a second. The bucket is full at first, and holds one token at least."""
        self._rate = rate
        self._most = max(1.0, rate * burst_s)
        self._tokens, self._at = self._most, now

    def wait_s(self, now: float, tokens: float = 1.0) -> float:
        """Return how long to wait until so many tokens are there; 0 if they are. A full bucket is always enough."""
        self._fill(now)
        return max(0.0, (min(tokens, self._most) - self._tokens) / self._rate)

    def take(self, now: float, tokens: float = 1.0) -> None:
        """Take tokens; what is missing is owed."""
        self._fill(now)
        self._tokens -= tokens

    def give_back(self, tokens: float = 1.0) -> None:
        """Put tokens back."""
        self._tokens = min(self._most, self._tokens + tokens)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Rates:
    """The buckets of every caller and identity."""

    def __init__(self, options: RateOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = {
            "requests": options.requests_per_s,
            "photos": options.photos_per_s,
            "enrolments": options.enrolments_per_s,
        }
        self._claims_per_s = None if options.failed_claims_per_minute is None else options.failed_claims_per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def check(self, caller: Caller, rpc: str, message: Any) -> None:
        """Count a call.

        Raises:
            RateLimited: the caller has no more tokens of some kind; nothing is counted then.
        """
        wait, what = self._wait(caller, rpc, message)
        if wait > 0:
            raise _limited(what, wait)

    def wait_s(self, caller: Caller, rpc: str, message: Any) -> float:
        """Count a message of a stream, and return how long to wait before it is worked on; 0 if it was counted."""
        return self._wait(caller, rpc, message)[0]

    def claim(self, gallery: str, identity: str) -> Callable[[], None]:
        """Count a claim as failed, and return what makes it uncounted, to be called if it matches.

        Raises:
            RateLimited: too many claims of this identity have failed.
        """
        if self._claims_per_s is None:
            return lambda: None
        bucket, now = self._bucket(("claim", gallery, identity), self._claims_per_s), self._clock()
        if (wait := bucket.wait_s(now)) > 0:
            raise _limited("claims of this identity", wait)
        bucket.take(now)
        return bucket.give_back

    def _wait(self, caller: Caller, rpc: str, message: Any) -> tuple[float, str]:
        if not any(self._rates.values()):
            return 0.0, ""
        counts = {"requests": 1, "photos": photos_in(message), "enrolments": int(rpc == "EnrollTemplate")}
        now = self._clock()
        used = [
            (what, self._bucket((what, caller.name), rate), counts[what])
            for what, rate in self._rates.items()
            if rate is not None and counts[what]
        ]
        wait, longest = max(((bucket.wait_s(now, count), what) for what, bucket, count in used), default=(0.0, ""))
        if wait <= 0:
            for _, bucket, count in used:
                bucket.take(now, count)
        return wait, longest

    def _bucket(self, key: Hashable, rate: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate, self._clock())
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def photos_in(message: Any) -> int:
    """Return how many photos a request contains."""
    found = 0
    for name in FIELDS_WITH_PHOTOS:
        value = getattr(message, name, None)
        found += bool(value if isinstance(value, bytes) else getattr(value, "photo", b""))
    return found


def _limited(what: str, wait_s: float) -> RateLimited:
    return RateLimited(
        f"too many {what}; wait {wait_s:.2g} s and repeat the call", metadata={"what": what}, retry_after_s=wait_s
    )
