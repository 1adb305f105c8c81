"""Runs a page of the first hours: every block, in order, in an empty folder with an environment of its own.

A block without a language below a block of code is what that code prints: each of its lines must be printed, in this
order, with anything for ``…``. The first step that fails ends the run; the message has its number.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.first_hour.page import ONE_SESSION, PAGES, Step, steps
from tools.first_hour.terminal import StepFailed, Terminal, terminal


def run(shell: Terminal, chosen: Sequence[Step], *, as_json: bool) -> None:
    """Run steps and print each with its time.

    Raises:
        StepFailed: the message begins with the number of the step.
    """
    for step in chosen:
        skipped = bool(step.needs) and shutil.which(step.needs) is None
        began = time.monotonic()
        printed: list[str] = []
        if not skipped:
            try:
                printed = [shell.run(block) for block in step.blocks]
            except StepFailed as failure:
                raise StepFailed(f"step {step.number} ({step.title}) failed: {failure}") from None
        seconds = round(time.monotonic() - began, 1)
        if as_json:
            line = {"step": step.number, "title": step.title, "seconds": seconds, "skipped": skipped}
            print(json.dumps({**line, "output": "".join(printed)}), flush=True)
        elif skipped:
            print(f"step {step.number}: {step.title}: SKIPPED, {step.needs} is not installed", flush=True)
        else:
            print(f"step {step.number}: {step.title} ({seconds} s)\n{''.join(printed)}", flush=True)


def numbers(text: str) -> set[int]:
    """Return the numbers of ``1-3,5``.

    Raises:
        ValueError: it is not written like that.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a page; returns 1 if a step fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.first_hour", description="Run a page of the first hours.")
    parser.add_argument("page", nargs="?", choices=sorted(PAGES), default="first-hour", help="default: first-hour")
    parser.add_argument("--document", type=Path, help="another document of such steps, in place of a page")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install from, without the network")
    parser.add_argument(
        "--installed", action="store_true", help="use the commands of this environment; install nothing"
    )
    parser.add_argument("--steps", type=numbers, help="run these alone, for instance 1-7,9")
    parser.add_argument(
        "--replace",
        nargs=2,
        action="append",
        default=[],
        metavar=("OLD", "NEW"),
        help="write this otherwise in every block, for instance fewer steps of training; may be repeated",
    )
    parser.add_argument("--keep", type=Path, help="use this folder, which must not exist, and keep it")
    parser.add_argument("--json", action="store_true", help="print one object for each step")
    given = parser.parse_args(arguments)
    text = (given.document or PAGES[given.page]).read_text()
    chosen = [one for one in steps(text) if given.steps is None or one.number in given.steps]
    # So that a run that is ended ends what it has started.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def run_in(folder: Path) -> None:
        opened = terminal(
            folder,
            given.wheels,
            installed=given.installed,
            one_session=ONE_SESSION in text,
            replaced=[(old, new) for old, new in given.replace],
        )
        with opened as shell:
            run(shell, chosen, as_json=given.json)

    try:
        if given.keep:
            given.keep.mkdir(parents=True)
            run_in(given.keep.resolve())
        else:
            with tempfile.TemporaryDirectory(prefix="sameface-first-hour-", ignore_cleanup_errors=True) as name:
                run_in(Path(name))
    except StepFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
