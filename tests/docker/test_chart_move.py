"""The Job of the Helm chart that moves templates from a volume to a Qdrant server."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import kubernetes_validate

from sameface_qdrant import Contract
from sameface_qdrant.blocking import Store
from tests.docker.chart import CASES, CLAIM, files, pod, render

MOVED = CASES["templates moved to a Qdrant"]
CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")


def test_the_job_that_moves_templates_reads_the_volume_and_writes_to_the_server() -> None:
    objects = render(MOVED, claim=CLAIM)
    job = objects["Job", "mine-move"]
    for version in ("1.27", "1.30", "1.33"):
        kubernetes_validate.validate(job, version, strict=True)
    spec = job["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "mine-data"}} in spec["volumes"]
    assert {"name": "data", "emptyDir": {}} in pod(objects, "mine")["volumes"]
    assert "post-upgrade" in job["metadata"]["annotations"]["helm.sh/hook"]
    (one,) = spec["containers"]
    assert {"name": "SAMEFACE_QDRANT_URL", "value": "http://qdrant:6334"} in one["env"]
    script = one["command"][-1]
    assert script.index("store import") > script.index("volume export")
    # Only the import writes to the server.
    assert script.count("env -u SAMEFACE_QDRANT_URL sameface store") == 1


def test_only_a_volume_that_is_there_and_stays_is_moved() -> None:
    going = {**CLAIM, "metadata": {**CLAIM["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    for claim in ({}, going):
        assert ("Job", "mine-move") not in render(MOVED, claim=claim)
        assert "Set it to false again" in files(MOVED, claim=claim)["NOTES.txt"]
    notes = files(MOVED, claim=CLAIM)["NOTES.txt"]
    # The notes are written before the Job has ended, and cannot know what it does.
    assert "were moved" not in notes
    assert "logs job/mine-move" in notes
    assert "set qdrant.moveFromVolume to false again" in notes


@dataclass
class Volume:
    """A volume with a store, and the script of the Job for it.

    There is no server, so the script finds everything already there: it imports into the store that it exported.
    """

    folder: Path

    def enrol_a_gallery(self, name: str) -> None:
        """Write to the store, as a service does."""
        with Store.open(f"edge://{self.folder / 'store'}") as store:
            store.galleries.create(name, CONTRACT)

    def move(self, change: tuple[str, str] = ("", "")) -> "subprocess.CompletedProcess[str]":
        """Run the script, with a text of it changed."""
        job = render(MOVED, claim=CLAIM)["Job", "mine-move"]
        *shell, script = job["spec"]["template"]["spec"]["containers"][0]["command"]
        script = script.replace("/data", str(self.folder))
        assert change[0] in script
        return subprocess.run(
            [*shell, script.replace(*change) if change[0] else script],
            env={
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "HOME": str(self.folder),
                "SAMEFACE_DATA_DIR": str(self.folder),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def left(self) -> set[str]:
        """Return the names of the files that the script left."""
        return {one.name for one in (self.folder / "move").iterdir()}


def test_templates_are_moved_once_and_a_volume_that_was_used_since_is_told(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.enrol_a_gallery("staff")
    first = volume.move()
    assert first.returncode == 0, first.stderr
    assert "already there" in first.stdout
    assert first.stdout.splitlines()[-1].startswith("done")
    # The key and the exports of an attempt that ended before it removed them go too.
    for name in ("key", "templates.sameface"):
        (tmp_path / "move" / name).touch()
    second = volume.move()
    # Otherwise who was erased on the server since would come back.
    assert (second.returncode, second.stdout.split(";")[0]) == (0, "the templates of this volume were moved before")
    assert volume.left() == {"done"}
    # After a rollback, a service enrols on the volume again.
    volume.enrol_a_gallery("visitors")
    third = volume.move()
    assert third.returncode == 90
    assert "nothing is moved" in third.stderr


def test_an_interrupted_move_goes_on_with_its_export_unless_the_volume_was_used_since(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.enrol_a_gallery("staff")
    interrupted = volume.move(("sameface store import", "exit 1; sameface store import"))
    assert interrupted.returncode == 1
    assert volume.left() == {"key", "templates.sameface", "erased.sameface", "exported"}
    again = volume.move(("sameface store import", "exit 0; sameface store import"))
    assert (again.returncode, again.stdout) == (0, "")
    volume.enrol_a_gallery("visitors")
    assert volume.move().returncode == 90
