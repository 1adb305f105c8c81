"""What is removed from the packages of an image, and that libraries still load."""

import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.contents import IMPORT_ALL
from tools.trim import shortened, trim

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux alone are shortened")


def library(package: str) -> Path:
    """The largest shared library of an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.rglob("*.so*"), key=lambda path: path.stat().st_size)


def test_a_shortened_package_is_imported_and_works(tmp_path: Path) -> None:
    source = library("uvloop")
    shutil.copytree(source.parent, tmp_path / "uvloop")
    (tmp_path / "uvloop" / "tests").mkdir()
    removed = trim(tmp_path)
    shortened = tmp_path / "uvloop" / source.name
    assert 0 < source.stat().st_size - shortened.stat().st_size <= removed
    assert shortened.stat().st_mode == source.stat().st_mode
    assert not [*tmp_path.rglob("tests"), *tmp_path.rglob("*.pyi"), *tmp_path.rglob("*.pxd")]
    program = "import uvloop; print(uvloop.__file__); uvloop.run(__import__('asyncio').sleep(0.001))"
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path / 'uvloop' / '__init__.py'}\n"), ran.stderr
    assert trim(tmp_path) == 0


def install(folder: Path, name: str, files: dict[str, str]) -> None:
    """Put a package into a folder as an installer does."""
    for path, content in files.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(content)
    told = folder / f"{name}-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (told / "top_level.txt").write_text(f"{name}\n")


def test_a_package_that_imports_what_was_removed_is_named(tmp_path: Path) -> None:
    """`make images` runs this program in the images."""
    install(tmp_path, "whole", {"__init__.py": "", "tests/__init__.py": ""})
    install(tmp_path, "broken", {"__init__.py": "from broken.part.tests import thing", "part/tests/thing.py": ""})
    install(tmp_path, "wrapped", {"__init__.py": "try:\n import broken\nexcept Exception:\n raise RuntimeError(7)"})
    # An extra that was not installed is not missed, however a package says so.
    install(tmp_path, "extra", {"__init__.py": "try:\n import not_there\nexcept ImportError:\n raise RuntimeError(7)"})

    def failed() -> set[str]:
        command = [sys.executable, "-S", "-B", "-c", IMPORT_ALL]
        ran = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
        return set(json.loads(ran.stdout)["failed"])

    assert failed() == set()
    trim(tmp_path)
    assert failed() == {"broken", "wrapped"}


IMPORTS = re.compile(r"^[ \t]*(?:from[ ]+(\.*)([\w.]*)[ ]+import[ ]+\(?([\w, ]*)|import[ ]+([\w.]+))", re.M)


def imported(file: Path, packages: Path) -> Iterator[Path]:
    """Yield where the modules would be that a file imports, also those that a name of ``from x import name`` may be."""
    for dots, module, names, whole in IMPORTS.findall(file.read_text(errors="replace")):
        if "tests" in f"{module} {names} {whole}":
            start = file.parents[len(dots) - 1] if dots else packages
            base = start.joinpath(*(whole or module).split("."))
            yield from (base, *(base / name.strip().split(" ")[0] for name in names.split(",")))


def test_no_package_of_the_image_imports_the_tests_that_are_removed() -> None:
    packages = library("numpy").parents[1]
    packages = next(one for one in (packages, *packages.parents) if one.name == "site-packages")
    names = re.findall(r"^([\w.-]+)==", Path("requirements/image.lock").read_text(), re.M)
    looked = 0
    for name in names:
        for path in distribution(name).files or ():
            if path.suffix == ".py" and "tests" not in path.parts[:-1]:
                file = packages / path
                looked += 1
                for module in imported(file, packages):
                    removed = [one for one in (module, *module.parents) if one.name == "tests" and one.is_dir()]
                    assert not removed, f"{file} imports {module}: leave it in tools/trim.py"
    assert looked > 1000
    # Positive control: a test of numpy does import such a module.
    (file,) = packages.glob("numpy/_core/tests/test_stringdtype.py")
    assert packages / "numpy/_core/tests/_natype" in set(imported(file, packages))


def test_all_that_is_loaded_stays() -> None:
    content = library("uvloop").read_bytes()
    shorter = shortened(content)
    # What a program header names (ELF-64, figure 6) is there, with the bytes that it had.
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    for at in range(headers, headers + size * number, size):
        offset, length = struct.unpack_from("<8xQ16xQ", content, at)
        begin = max(offset, 64)  # the header itself says where the table of sections is
        assert shorter[begin : offset + length] == content[begin : offset + length]
    assert shortened(shorter) == shorter


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01"]))
def test_what_is_no_library_stays_or_loses_its_end_alone(content: bytes, begin: bytes) -> None:
    given = begin + content
    shorter = shortened(given)
    assert len(shorter) <= len(given)
    if begin != b"\x7fELF\x02\x01" and not content.startswith(b"\x7fELF\x02\x01"):
        assert shorter == given
