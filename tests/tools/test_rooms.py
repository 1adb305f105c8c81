"""The rooms of a package are counted right, and those of the plugin stay few."""

from graphlib import CycleError
from pathlib import Path

import pytest

from tools.rooms import measure


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three rooms: top imports middle and below, middle imports below."""
    root = tmp_path / "house"
    (root / "middle").mkdir(parents=True)
    sources = {
        "__init__.py": "",
        "below.py": "",
        "middle/__init__.py": "",
        "middle/one.py": "from house.middle import two\n",
        "middle/two.py": "from house import below\n",
        "top.py": "from house.middle import one, two\nfrom house import below\n",
    }
    for name, source in sources.items():
        (root / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_imports_inside_a_room_do_not_count(package: Path) -> None:
    found = measure("house")
    assert (found["rooms"], found["imports"], found["floors"], found["modules"]) == (3, 3, 3, 6)
    assert found["each"] == {
        "top": {"floor": 3, "imports": ["below", "middle"]},
        "middle": {"floor": 2, "imports": ["below"]},
        "below": {"floor": 1, "imports": []},
    }


def test_a_circle_is_an_error(package: Path) -> None:
    (package / "below.py").write_text("from house import top\n")
    with pytest.raises(CycleError):
        measure("house")


def test_the_plugin_has_few_rooms() -> None:
    found = measure("sameface_qdrant")
    rooms, floors = found["rooms"], found["floors"]
    assert isinstance(rooms, int)
    assert isinstance(floors, int)
    assert rooms <= 12
    assert floors <= 6
