"""Draws docs/images/demo.jpg, the first six decisions of the demo's report, with a browser that has no window."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

SIZE = (1180, 1040)
SHOWN = """<style>
h1, .lead, dl.parts, .grid.small, h2, pre, .grid:not(.small) article:nth-child(n+7) { display: none; }
h2:has(+ .grid:not(.small)) { display: block; margin: 0 0 .8rem; }
body { padding: .7rem 1.5rem; }
</style>"""


def browser() -> str:
    """Return the program: that of the variable CHROMIUM, or the first one on PATH; empty if there is none."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), "")


def draw(report: Path, target: Path, program: str) -> None:
    """Write a picture of the first six decisions in ``report``, the report.html of the demo."""
    page = report.read_text(encoding="utf-8").replace("</html>", f"{SHOWN}</html>")
    with TemporaryDirectory(prefix="picture-") as name:
        folder = Path(name)
        (folder / "report.html").write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        size, picture = f"--window-size={SIZE[0]},{SIZE[1]}", folder / "report.png"
        command = [program, *options, size, f"--screenshot={picture}", f"file://{folder}/report.html"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(picture) as image:
            image.convert("RGB").save(target, quality=90, optimize=True)
