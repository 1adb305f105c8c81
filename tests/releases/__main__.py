"""`python -m tests.releases --previous REVISION`: each release reads what the other one wrote, or refuses it.

The previous release is a git revision of this repository. Exit code: 0 if everything is as docs/operations.md says.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.releases.previous import Release, release_of, this_release

NEWER = {"version": 99, "least_reader": 1, "least_writer": 99}


def upgraded_and_back(old: Release, new: Release, folder: Path) -> str:
    """The old release writes, the new one changes it, the old one reads and changes it again."""
    written = old.run("write", folder)
    if new.run("state", folder) != written:
        return "the new release reads something else than the old one wrote"
    changed = new.run("use", folder)
    if "error" in changed:
        return f"the new release cannot use it: {changed}"
    if old.run("state", folder) != changed:
        return "the old release reads something else than the new one left"
    again = old.run("use", folder)
    if "error" in again:
        return f"the old release cannot use it again: {again}"
    return "" if new.run("state", folder) == again else "the new release reads something else than the old one left"


def refused_by(old: Release, new: Release, folder: Path) -> str:
    """A store that only a release to come may change is refused by both, and stays as it is."""
    new.run("write", folder)
    noted = folder / "store" / "FORMAT"
    noted.write_text(json.dumps({**json.loads(noted.read_text()), "schema": NEWER}))
    for release in (old, new):
        told = release.run("use", folder)
        if told.get("error") != "STORE_TOO_NEW":
            return f"{release.name} does not refuse it: {told}"
        if "99" not in told["message"] or json.loads(noted.read_text())["schema"] != NEWER:
            return f"{release.name} does not name the version, or has changed it: {told}"
    return ""


def migrating(old: Release, new: Release, folder: Path) -> str:
    """The old release refuses a gallery that the new one migrates, until the migration is given up."""
    new.run("write", folder)
    mapped = new.run("migrate", folder)
    if "error" in mapped:
        return f"the new release cannot migrate it: {mapped}"
    told = old.run("use", folder)
    if told.get("error") != "STORE_TOO_NEW":
        return f"{old.name} does not refuse a gallery in migration: {told}"
    if new.run("state", folder) != mapped:
        return "the new release reads something else after that"
    if "error" in (cancelled := new.run("cancel", folder)):
        return f"the new release cannot give the migration up: {cancelled}"
    again = old.run("use", folder)
    if "error" in again:
        return f"the old release cannot use it after that: {again}"
    return "" if new.run("state", folder) == again else "the new release reads something else than the old one left"


CASES: dict[str, Callable[[Release, Release, Path], str]] = {
    "the previous release writes; upgrade, downgrade, upgrade": upgraded_and_back,
    "this release writes; downgrade, upgrade, downgrade": lambda old, new, folder: upgraded_and_back(new, old, folder),
    "a release to come writes; both refuse": refused_by,
    "this release migrates a gallery; the previous one refuses it until that is given up": migrating,
}


def run_cases(old: Release, new: Release, folder: Path) -> dict[str, str]:
    """Return what was wrong with each case; empty for nothing."""
    found = {}
    for number, (name, case) in enumerate(CASES.items()):
        (folder / str(number)).mkdir()
        found[name] = case(old, new, folder / str(number))
    return found


def main() -> None:
    """Run every case and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.releases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--previous", required=True, metavar="REVISION", help="tag or commit of the previous release")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="sf-") as name:
        old = release_of(options.previous, Path(name) / "previous")
        found = run_cases(old, this_release(), Path(name))
    for case, wrong in found.items():
        print(f"{'FAILED' if wrong else 'ok':6}  {case}{wrong and ': '}{wrong}")
    raise SystemExit(any(found.values()))


if __name__ == "__main__":
    main()
