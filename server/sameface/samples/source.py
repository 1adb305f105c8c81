"""The protocol of a source of photos."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo of a source."""

    person: str
    """The name of the person, as that of a folder: an identity's id is made of it."""
    name: str
    """What the source calls the photo; it is printed."""
    request_id: str = ""
    """The UUID of the request that enrolled it, if there was one. A photo that was enrolled without one is recognised
    by its bytes."""


class SampleSource(Protocol):
    """Where an operator keeps photos."""

    def samples(self) -> Iterable[Sample]:
        """List the photos, those of one person together.

        Raises:
            OSError: the source cannot be read.
            InvalidArgument: the address names nothing.
        """
        ...

    def read(self, sample: Sample, most: int) -> bytes:
        """Return the bytes of a photo. Several threads may call it.

        Raises:
            OSError: it cannot be read.
            InvalidArgument: it has more than ``most`` bytes.
        """
        ...
