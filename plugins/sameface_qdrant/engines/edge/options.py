"""Options of the embedded engine."""

import math
from dataclasses import dataclass

from sameface_qdrant.errors import InvalidArgument

USUAL_SIZE, USUAL_EF, LARGEST_EF = 100_000, 256, 4096


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """How Qdrant Edge searches large galleries. ``m`` and ``ef_construct`` are for indexes that are built later.

    Raises:
        InvalidArgument: a value is out of range; ``metadata["field"]`` names it.
    """

    exact: bool = False
    """Compare with every template of a gallery, whatever its size, and build no index."""
    index_from: int = 100_000
    """From this many records on a gallery is searched in an HNSW graph, which may miss the nearest identity. Smaller
    galleries, claims and guards are always exact, and so is a large gallery until its graph is built in the
    background."""
    m: int = 32
    """Links of each template in the graph."""
    ef_construct: int = 200
    """How many candidates the links are chosen from when a graph is built."""
    hnsw_ef: int | None = None
    """Size of the candidate list of a search. None is 256 for 100,000 records; it grows with the cube root of the
    gallery's size."""
    index_threads: int = 0
    """Threads that build the graph, at the lowest priority; 0 means one for each core."""

    def __post_init__(self) -> None:
        ranges = {
            "index_from": (self.index_from, 1, 1 << 40),
            "m": (self.m, 2, 256),
            "ef_construct": (self.ef_construct, 4, 4096),
            "hnsw_ef": (self.hnsw_ef, 1, LARGEST_EF),
            "index_threads": (self.index_threads, 0, 1024),
        }
        for name, (value, least, most) in ranges.items():
            if value is not None and not least <= value <= most:
                raise InvalidArgument(
                    f"{name} is {value}; expected {least} to {most}", metadata={"field": name, "given": value}
                )

    def ef(self, records: int) -> int:
        """Return the size of the candidate list for a gallery."""
        grown = USUAL_EF * math.cbrt(max(1.0, records / USUAL_SIZE))
        return min(LARGEST_EF, math.ceil(grown)) if self.hnsw_ef is None else self.hnsw_ef
