"""Folders of maps: how they are written and replaced, writes that are killed, and folders that are not complete."""

import multiprocessing
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.map_cards import CARD, FOLDER, MAP, map_folders, maps_of, read_map
from sameface.models.build import copy_cards
from sameface.models.mapping import MadeMap
from sameface.models.mapping_files import check_no_map, write_map
from sameface.settings import model_repository_source
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run
from tests.models.killed_write import write

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)


def titled(made: MadeMap, title: str) -> MadeMap:
    return replace(made, card=made.card.model_copy(update={"title": title}))


def titles(repository: Path) -> list[str]:
    """Read the maps like a service that starts, and return the titles of those that it takes."""
    served = maps_of(repository, CARDS)
    read = {versions: read_map(folder)[0].title for versions, folder in map_folders(repository)}
    return [read[versions] for versions in served]


def names(repository: Path) -> list[str]:
    return sorted(path.name for path in (repository / EMBEDDER / FOLDER).iterdir())


def test_a_map_is_overwritten_only_if_that_is_asked_for(made: MadeMap, unmapped: Path) -> None:
    folder, _ = write_map(unmapped, titled(made, "first"), accept_worse=True)
    with pytest.raises(InvalidArgument, match=r"1-4 exists already.*--replace.*remove the folder"):
        write_map(unmapped, titled(made, "second"), accept_worse=True)
    assert titles(unmapped) == ["first"]
    write_map(unmapped, titled(made, "second"), accept_worse=True, replace=True)
    assert titles(unmapped) == ["second"]
    assert names(unmapped) == ["1-4"]
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777
    check_no_map(unmapped, EMBEDDER, 1, 3)


def test_the_command_refuses_an_existing_map_before_it_fits_one(
    sameface: Run, made: MadeMap, unmapped: Path, tmp_path: Path
) -> None:
    write_map(unmapped, made, accept_worse=True)
    # There are no faces: the first refusal is that of the map.
    ended = sameface(
        "model", "map", "1", "4", str(tmp_path), "--data", "faces", SAMEFACE_MODEL_REPOSITORY=str(unmapped)
    )
    assert ended.returncode == 3
    assert "1-4 exists already" in ended.stderr


def test_a_write_that_is_killed_leaves_the_map_before_or_the_new_one_or_none(made: MadeMap, unmapped: Path) -> None:
    new, _ = write_map(unmapped, titled(made, "new"), accept_worse=True)
    files = {name: (new / name).read_bytes() for name in (MAP, CARD)}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.models.killed_write"])
    for before in ([], ["before"]):
        left, killed = set[tuple[str, ...]](), 0
        while True:
            shutil.rmtree(new.parent)
            new.parent.mkdir()
            if before:
                write_map(unmapped, titled(made, "before"), accept_worse=True)
            process = context.Process(target=write, args=(new, files, killed))
            process.start()
            process.join()
            left.add(tuple(titles(unmapped)))
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            killed += 1
            write_map(unmapped, titled(made, "again"), accept_worse=True, replace=True)
            assert titles(unmapped) == ["again"]
        assert killed >= 5
        assert left == {(), ("new",), tuple(before)}
        assert titles(unmapped) == ["new"]
        assert names(unmapped) == ["1-4"]


def test_a_replacement_that_fails_leaves_the_map_before(
    made: MadeMap, unmapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_map(unmapped, titled(made, "before"), accept_worse=True)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "made":
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space"):
        write_map(unmapped, titled(made, "new"), accept_worse=True, replace=True)
    assert titles(unmapped) == ["before"]
    assert names(unmapped) == ["1-4"]


@pytest.mark.parametrize("name", ["1-4.bak", "old-1-4", "1-4-2", "01-4", "1-٤", "1_4", ".1-4-x", "0-4", "notes.txt"])
def test_what_is_no_folder_of_a_map_is_skipped(
    made: MadeMap, unmapped: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = write_map(unmapped, made, accept_worse=True)
    (folder.parent / name).mkdir()
    assert [*maps_of(unmapped, CARDS)] == [(1, 4)]
    (told,) = [one.getMessage() for one in caplog.records if "is skipped" in one.getMessage()]
    assert str(folder.parent / name) in told


@pytest.mark.parametrize("missing", [(CARD,), (MAP,), (CARD, MAP)], ids=" and ".join)
def test_an_incomplete_folder_is_refused_by_its_name(made: MadeMap, unmapped: Path, missing: tuple[str, ...]) -> None:
    folder, _ = write_map(unmapped, made, accept_worse=True)
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(ModelCheckFailed) as refused:
        maps_of(unmapped, CARDS)
    told = str(refused.value)
    assert str(folder) in told
    assert all(f"no {name}" in told for name in missing)
    assert "sameface model map --replace" in told
    assert "remove the folder" in told
    # A pair that is not served stops no service.
    assert maps_of(unmapped, [one for one in CARDS if one.version != 4]) == {}
    write_map(unmapped, made, accept_worse=True, replace=True)
    assert [*maps_of(unmapped, CARDS)] == [(1, 4)]


def test_a_build_completes_the_shipped_maps_and_keeps_those_that_somebody_fitted(tmp_path: Path) -> None:
    copy_cards(REPOSITORY, tmp_path)
    assert maps_of(tmp_path, CARDS) == maps_of(REPOSITORY, CARDS)
    maps = tmp_path / EMBEDDER / FOLDER
    (maps / "1-2" / CARD).unlink()
    shutil.rmtree(maps / "4-3")
    own = read_map(maps / "1-3")[0].model_copy(update={"title": "own"})
    (maps / "1-3" / CARD).write_text(own.model_dump_json())
    copy_cards(REPOSITORY, tmp_path)
    assert maps_of(tmp_path, CARDS) == maps_of(REPOSITORY, CARDS)
    assert read_map(maps / "1-3")[0] == own
    old = own.old.model_copy(update={"sha256": "0" * 64})
    (maps / "1-3" / CARD).write_text(own.model_copy(update={"old": old}).model_dump_json())
    copy_cards(REPOSITORY, tmp_path)
    assert maps_of(tmp_path, CARDS) == maps_of(REPOSITORY, CARDS)
