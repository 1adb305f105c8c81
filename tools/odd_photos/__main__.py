"""Writes tests/data/odd: one small portrait as every kind of image file, and the table of what must become of each.

python -m tools.odd_photos

HEIC files need pillow-heif, which brings an encoder under the GPL and is therefore no dependency of this project. Where
it is not installed, the committed HEIC files stay as they are.
"""

from tools.odd_photos.colours import colours
from tools.odd_photos.heics import heics
from tools.odd_photos.jpegs import jpegs
from tools.odd_photos.others import orientations, others
from tools.odd_photos.pngs import pngs
from tools.odd_photos.portrait import FOLDER, ROOT
from tools.odd_photos.refused import cameras, no_photos
from tools.odd_photos.tiffs import tiffs


def main() -> None:
    """Write the files and the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = ["file\toutcome"]
    for group in (jpegs, pngs, tiffs, others, colours, orientations, heics, cameras, no_photos):
        for name, outcome, content in group():
            if content:
                (FOLDER / name).write_bytes(content)
            if (FOLDER / name).exists():
                table.append(f"{name}\t{outcome}")
    (FOLDER / "expected.tsv").write_text("\n".join(table) + "\n")
    files = [path for path in FOLDER.iterdir() if path.name not in ("README.md", "expected.tsv")]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
