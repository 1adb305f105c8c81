"""Makes every output in the documents again that depends on the default embedder, and the picture of the demo.

``.venv/bin/python -m tools.transcripts`` writes the documents, and prints which ones changed; `make transcripts` does
the same. With ``--check`` it writes nothing, and ends with 1 if a document shows other numbers than are printed now.
Times do not count. The picture needs chromium, on PATH or named by CHROMIUM.
"""

import argparse
import sys

from tools.transcripts.outputs import every_output
from tools.transcripts.picture import browser, draw
from tools.transcripts.places import PLACES, ROOT, renewed, stale
from tools.transcripts.renewal import Changed

PICTURE = ROOT / "docs" / "images" / "demo.jpg"
REPORT = ROOT / "build" / "demo" / "report.html"


def main() -> int:
    """Run the commands, and write or check the documents."""
    parser = argparse.ArgumentParser(prog="python -m tools.transcripts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a document is not current")
    check = parser.parse_args().check
    outputs = every_output()
    differing, failed = [], []
    for document in dict.fromkeys(place.document for place in PLACES):
        path = ROOT / document
        try:
            if not stale(document, outputs) and check:
                continue
            text = path.read_text(encoding="utf-8")
            new = renewed(document, text, outputs)
        except Changed as error:
            failed.append(str(error))
            continue
        if new != text:
            differing.append(document)
            if not check:
                path.write_text(new, encoding="utf-8")
    if not check:
        _draw()
    for name in differing:
        print(f"{name} {'is not current' if check else 'was written'}")
    for told in failed:
        print(f"look at it: {told}", file=sys.stderr)
    return 1 if failed or (check and differing) else 0


def _draw() -> None:
    if program := browser():
        draw(REPORT, PICTURE, program)
        print(f"{PICTURE.relative_to(ROOT)} was drawn")
    else:
        print("docs/images/demo.jpg stays as it is: no chromium on PATH, and CHROMIUM names none", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
