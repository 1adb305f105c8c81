"""How far the migrations of galleries are, all of them together: no metric names a gallery."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sameface_qdrant.store.store import Store
from sameface_qdrant.values.migration import Migration, MigrationState

PAGE = 1000
OPEN = tuple(state for state in MigrationState if not state.ended)
PROGRESS = ("mapped", "native", "left")


@dataclass(frozen=True, slots=True)
class Migrating:
    """What is known of the migrations that have not ended."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, OPEN), 0))
    """How many there are in each state."""
    stopped: int = 0
    """How many are paused because something failed."""
    templates: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROGRESS, 0))
    """Templates by how far they are, see `PROGRESS`."""
    estimated_end: float | None = None
    """When the last of them will be mapped, in seconds of the epoch; None while nothing is being mapped."""


def migrating(migrations: Iterable[Migration]) -> Migrating:
    """Return the sums over migrations. Those that have ended do not count."""
    found, stopped, ends = Migrating(), 0, list[float]()
    for one in migrations:
        if one.state.ended:
            continue
        found.states[one.state] += 1
        stopped += bool(one.failure)
        found.templates["mapped"] += one.mapped
        found.templates["native"] += one.native
        found.templates["left"] += max(0, one.total - one.mapped - one.native)
        if one.estimated_end is not None:
            ends.append(one.estimated_end.timestamp())
    return Migrating(found.states, stopped, found.templates, max(ends, default=None))


async def count_migrations(store: Store) -> Migrating:
    """Read every migration. It also lets the store go on with one whose service has crashed.

    Raises:
        SamefaceError: the store does not answer.
    """
    found, token = list[Migration](), ""
    while True:
        page = await store.migrations.list(page_size=PAGE, page_token=token)
        found += page.items
        if not (token := page.next_token):
            return migrating(found)
