"""What became of the sweeps of expired identities and templates."""

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sweeps:
    """What became of the sweeps. Times are seconds of the epoch."""

    interval_s: float
    results: Counter[str] = field(default_factory=lambda: Counter(ok=0, failed=0))
    erased: int = 0
    last_success: float = field(default_factory=time.time)

    def succeeded(self, erased: int) -> None:
        """Count a sweep that has erased so much."""
        self.results["ok"] += 1
        self.erased += erased
        self.last_success = time.time()

    def failed(self) -> None:
        """Count a sweep that failed."""
        self.results["failed"] += 1
