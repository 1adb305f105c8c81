"""A folder with a sub-folder per person as a source of photos: ``folder/<name>/<photo>``."""

from collections.abc import Iterable
from pathlib import Path

from sameface.client.files import read_path
from sameface.photo_folders import Skipped, photos_below
from sameface.samples.source import Sample


class FolderSource:
    """Photos of a folder; a file counts by its content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.skipped: list[Skipped] = []
        """What is in the folder and is no photo."""

    def samples(self) -> Iterable[Sample]:
        """See `sameface.samples.source.SampleSource`."""
        self.skipped.clear()
        for path in photos_below(self._folder, self.skipped):
            person, *below = path.relative_to(self._folder).parts
            if below:
                yield Sample(person, str(path))
            else:
                self.skipped.append(Skipped(path, "not in a person's folder"))

    def read(self, sample: Sample, most: int) -> bytes:
        """See `sameface.samples.source.SampleSource`."""
        return read_path(sample.name, most)
