"""The benchmarks that the documentation names can be run."""

import re
from pathlib import Path

from benchmarks.__main__ import NAMES

NAMED = re.compile(r"python -m benchmarks (\w+)")


def test_every_benchmark_that_a_page_names_is_a_command() -> None:
    named = {name for page in Path("docs").glob("*.md") for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert {"gallery", "bulk", "serving"} <= named <= set(NAMES)
