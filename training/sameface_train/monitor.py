"""Shows loss, active share, norm and spread of the embeddings in a run, and detects a collapse."""

import csv
import io
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import Tensor

from sameface_train.errors import CollapsedRun
from sameface_train.lines import complete_lines, damaged_line, write_whole

if TYPE_CHECKING:
    from sameface_train.validation import Measured

# Embeddings that lie closer together than this share of their length are one point: no threshold separates them.
COLLAPSED_SPREAD = 0.01
# One odd batch is not a collapse, so this many readings in a row are needed.
PATIENCE = 20
# A run is stuck if its loss stays this near to that of one point (as a share of it), for so many steps.
STUCK_WITHIN, STUCK_STEPS = 0.01, 300
BARS = "▁▂▃▄▅▆▇█"
TREND = 48


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of ``log.csv``."""

    step: int
    loss: float
    active: float
    """Share of the triplets (pairs, samples) that still cause a loss, 0..1."""
    norm: float
    """Mean length of the features."""
    spread: float
    """See `spread`: 0 is one point, about 1 is all around the origin. Of unit vectors, if the recipe compares these."""
    learning_rate: float
    step_s: float
    waited_s: float
    """How long the step waited for its images."""


def spread(features: Tensor) -> float:
    """Return how far features [B, D] lie around their mean, as a share of their length: √(E‖f − f̄‖² / E‖f‖²).

    >>> import torch
    >>> spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), spread(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    (1.0, 0.0)
    """
    features = features.detach().double()
    centred = (features - features.mean(dim=0)).square().sum(dim=1).mean()
    length = features.square().sum(dim=1).mean()
    return float((centred / length.clamp_min(1e-24)).sqrt())


class CollapseWatch:
    """Raises if the embeddings are one point for `PATIENCE` readings, are not finite, or nothing is learnt.

    With the soft margin a collapse is less complete: the hardest positive and the hardest negative of every anchor are
    equally far away, and the loss stays at log 2, but the embeddings are not quite one point.
    """

    def __init__(self, loss_at_one_point: float | None, *, soft: bool = False) -> None:
        """``loss_at_one_point`` is a triplet loss's margin, or log 2 for the ``soft`` one; None where there is none."""
        self._at_one_point, self._soft = loss_at_one_point, soft
        self._narrow = 0
        self._stuck = 0

    def see(self, reading: Reading) -> None:
        """Look at one reading.

        Raises:
            CollapsedRun: the embeddings have collapsed; the message says what helps.
        """
        if not (math.isfinite(reading.loss) and math.isfinite(reading.norm)):
            raise CollapsedRun(
                f"step {reading.step}: the loss is {reading.loss} and the embeddings' norm {reading.norm}; the run has "
                "diverged. Lower the learning rate",
                metadata={"step": reading.step},
            )
        self._narrow = self._narrow + 1 if reading.spread < COLLAPSED_SPREAD else 0
        if self._narrow >= PATIENCE:
            at_margin = not self._soft and self._near(reading.loss, 0.05)
            raise CollapsedRun(
                f"step {reading.step}: all embeddings are one point (spread {reading.spread:.4f}, below "
                f"{COLLAPSED_SPREAD} for {PATIENCE} steps; loss {reading.loss:.4f}"
                + (", which is the margin" if at_margin else "")
                + "). Mine semi-hard triplets, or all before the hardest (easy_steps), lower the learning rate, or "
                "start from pretrained weights",
                metadata={"step": reading.step, "spread": f"{reading.spread:.4f}"},
            )
        self._stuck = self._stuck + 1 if self._soft and self._near(reading.loss, STUCK_WITHIN) else 0
        if self._stuck >= STUCK_STEPS:
            raise CollapsedRun(
                f"step {reading.step}: the loss has stayed at log 2 for {STUCK_STEPS} steps ({reading.loss:.4f}; "
                f"{reading.active:.0%} of the triplets in the wrong order): positives are as far away as negatives. "
                "Mine all triplets before the hardest (easy_steps), lower the learning rate, or start from pretrained "
                "weights",
                metadata={"step": reading.step, "loss": f"{reading.loss:.4f}"},
            )

    def recall(self, reading: Reading) -> None:
        """Look at a reading from before an interruption. A collapse was reported then."""
        with suppress(CollapsedRun):
            self.see(reading)

    def _near(self, loss: float, share: float) -> bool:
        return self._at_one_point is not None and abs(loss - self._at_one_point) < share * self._at_one_point


class Log:
    """``log.csv`` of a run: one line for each step. A continued run removes the lines after its checkpoint."""

    def __init__(self, path: Path, first: int) -> None:
        kept = [reading for reading in read_log(path) if reading.step <= first]
        text = io.StringIO(newline="")
        self._writer = csv.DictWriter(text, [field.name for field in fields(Reading)])
        self._writer.writeheader()
        for reading in kept:
            self.write(reading)
        write_whole(path, text.getvalue())
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(Reading)])

    def write(self, reading: Reading) -> None:
        """Append one reading."""
        self._writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(reading).items()})

    def flush(self) -> None:
        """Write buffered lines to the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[Reading]:
    """Return the readings of a run, in order; none if there is no such file. Half a line at the end is left out.

    Raises:
        WrongCheckpoint: another line is damaged.
    """
    readings = []
    rows = csv.DictReader(complete_lines(path))
    for row in rows:
        try:
            numbers = {field.name: float(row[field.name]) for field in fields(Reading) if field.name != "step"}
            readings.append(Reading(int(row["step"]), **numbers))
        except (KeyError, TypeError, ValueError):
            raise damaged_line(path, rows.line_num) from None
    return readings


class View(Protocol):
    """Is told how a run goes on."""

    def see(self, reading: Reading) -> None:
        """Take the reading of a step."""
        ...

    def validated(self, measured: "Measured") -> None:
        """Take the figures on held-out identities."""
        ...


class LiveView:
    """A few lines in the terminal that change with every step: trend and value of each reading."""

    def __init__(self, title: str, steps: int, live: Live | None) -> None:
        self._title, self._steps, self._live = title, steps, live
        self._trends: dict[str, deque[float]] = {
            name: deque(maxlen=TREND) for name in ("loss", "active", "norm", "spread")
        }
        self._validation = ""

    def see(self, reading: Reading) -> None:
        """Show one reading."""
        for name, trend in self._trends.items():
            trend.append(getattr(reading, name))
        if self._live is None:
            return
        table = Table.grid(padding=(0, 2))
        for name, trend in self._trends.items():
            table.add_row(name, f"{trend[-1]:.4g}", sparkline(trend))
        left = (self._steps - reading.step) * reading.step_s
        head = Text(f"{self._title}  step {reading.step}/{self._steps}  {reading.step_s:.2f} s a step  ")
        head.append(f"about {left / 60:.0f} min left  data wait {reading.waited_s / max(reading.step_s, 1e-9):.0%}")
        bar = ProgressBar(total=self._steps, completed=reading.step, width=64)
        self._live.update(Group(head, bar, table, Text(self._validation)))

    def validated(self, measured: "Measured") -> None:
        """Show the figures on held-out identities."""
        self._validation = measured.text


@contextmanager
def live_view(title: str, steps: int, *, quiet: bool = False) -> Iterator[LiveView]:
    """Show a run while it goes on; in a terminal only, so that logs stay short."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield LiveView(title, steps, None)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveView(title, steps, live)


def sparkline(values: "deque[float] | list[float]") -> str:
    """Return values as bars, lowest to highest.

    >>> sparkline([0.0, 1.0, 2.0])
    '▁▅█'
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    reach = (high - low) or 1.0
    return "".join(
        BARS[round((value - low) / reach * (len(BARS) - 1) + 1e-9)] if math.isfinite(value) else "?" for value in values
    )
