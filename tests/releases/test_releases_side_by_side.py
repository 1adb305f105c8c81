"""The cases that `python -m tests.releases` runs with two releases, with one, in this process."""

import asyncio
from pathlib import Path
from typing import Any

from tests.releases.__main__ import refused_by, upgraded_and_back
from tests.releases.previous import ROOT, Release
from tests.releases.work import main


class Here(Release):
    """This release, in a thread of this process."""

    def run(self, order: str, folder: Path) -> dict[str, Any]:
        told = asyncio.run(main(order, folder))
        told.pop("code")
        return told


def test_what_a_release_to_come_writes_is_refused_by_this_one(tmp_path: Path) -> None:
    here = Here("this release", ROOT)
    assert not refused_by(here, here, tmp_path)


def test_a_difference_between_releases_is_told(tmp_path: Path) -> None:
    class Forgetful(Here):
        def run(self, order: str, folder: Path) -> dict[str, Any]:
            told = super().run(order, folder)
            if "state" in told:
                told["state"]["people"] = told["state"]["people"][1:]
            return told

    here, forgetful = Here("this release", ROOT), Forgetful("another one", ROOT)
    assert "reads something else" in upgraded_and_back(here, forgetful, tmp_path)
    (tmp_path / "again").mkdir()
    assert not upgraded_and_back(here, here, tmp_path / "again")
