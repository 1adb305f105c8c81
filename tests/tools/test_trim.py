"""What is removed from the packages of an image, and that libraries still load."""

import ast
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.contents import IMPORT_ALL
from tools.trim import is_unused, shortened, trim

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


REMOVED = (
    "tests|testing|testutils|_simd|f2py|polynomial|pycparser|cffi|redis|v1|mypy|serverless|beta|framework|shared_memory"
    r"|http|formatters|lexers|styles|google\.(?:cloud|gapic|logging|longrunning|type)"
)
MAY_MISS = re.compile(
    rf"^[ \t]*(?:from|import)[ ][^(\n]*?(?:\([^)]*?)?\b\w*(?:{REMOVED})\b|\b(?:np|numpy)\.(?:{REMOVED})\b", re.M
)
"""What the text of a file has that imports, or asks NumPy for, something removed; maybe in a docstring alone."""
LEFT_WITHOUT = {
    "numpy/__init__.py": "imports its parts when they are asked for",
    "numpy/conftest.py": "is for its tests",
    "numpy/_pytesttester.py": "is for its tests",
    "pydantic_settings/sources/providers/gcp.py": "needs Google's client, which is not installed",
    "numpy/distutils": "is not there in the image: Python 3.12 has no distutils",
    "numpy/_pyinstaller/hook-numpy.py": "is for PyInstaller",
    "numpy/testing/print_coercion_tables.py": "is a program for NumPy's developers",
    "numpy/random/_examples/cffi/extending.py": "is an example",
    "numpy/random/_examples/numba/extending_distributions.py": "is an example",
    "portalocker/__init__.py": "goes on without: Redis' client is not installed",
    "pydantic/_internal/_generate_schema.py": "asks for it at a class with __get_validators__ of version 1",
    "pygments/__init__.py": "asks for a formatter's class when a caller names none",
    "pygments/cmdline.py": "is a program of its own",
    "pygments/sphinxext.py": "is for Sphinx",
}
"""The files that import what is removed, and why that does no harm."""


def imported(file: Path, packages: Path) -> Iterator[Path]:
    """Yield where the modules may be that a file imports anywhere, and the parts of NumPy that it asks for by name."""
    for node in ast.walk(ast.parse(file.read_text(errors="replace"))):
        if isinstance(node, ast.Import):
            yield from (packages.joinpath(*name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else packages
            base = start.joinpath(*(node.module or "").split("."))
            yield from (base, *(base / name.name for name in node.names))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("np", "numpy"):
            yield packages / "numpy" / node.attr


@cache
def is_removed(module: Path, packages: Path) -> bool:
    """Whether a module of the packages, or a folder that it is in, is there and is removed."""
    above = [one for one in (module, *module.parents) if packages in one.parents]
    files = (file for ending in ("py", "*.so") for file in module.parent.glob(f"{module.name}.{ending}"))
    return any(is_unused(one) and one.is_dir() for one in above) or any(is_unused(one) for one in files)


def missed_in(packages: Path, files: Iterable[Path]) -> dict[str, set[str]]:
    """The files that import something that is removed, and what."""
    missed = {}
    for file in files:
        if MAY_MISS.search(file.read_text(errors="replace")) and not is_removed(file.with_suffix(""), packages):
            modules = [one for one in imported(file, packages) if packages in one.parents and is_removed(one, packages)]
            if modules:
                missed[str(file)] = {str(one.relative_to(packages)) for one in modules}
    return missed


def test_nothing_in_the_image_imports_what_is_removed() -> None:
    packages = next(one for one in library("numpy").parents if one.name == "site-packages")
    names = re.findall(r"^([\w.-]+)==", Path("requirements/image.lock").read_text(), re.M)
    files = [packages / path for name in names for path in distribution(name).files or () if path.suffix == ".py"]
    assert len(files) > 1000
    missed = missed_in(packages, files)
    known = tuple(f"{packages / name}" for name in LEFT_WITHOUT)
    more = {file: modules for file, modules in missed.items() if not file.startswith(known)}
    assert not more, "leave these in tools/trim.py"
    own = [file for folder in ("server", "plugins") for file in Path(folder).absolute().rglob("*.py")]
    assert len(own) > 300
    assert missed_in(packages, own) == {}
    # The copy of a licence is removed, and the licence stays.
    (licence,) = packages.glob("opencv_python_headless-*.dist-info/LICENSE-3RD-PARTY.txt")
    assert (packages / "cv2" / licence.name).read_bytes() == licence.read_bytes()
    # Positive control.
    for name in ("pydantic/_internal/_generate_schema.py", "numpy/__init__.py"):
        assert missed_in(packages, [packages / name])


def test_all_that_is_loaded_stays() -> None:
    content = library("uvloop").read_bytes()
    shorter = shortened(content)
    assert len(shorter) < len(content)
    assert segments(shorter) == segments(content)
    assert shortened(shorter) == shorter


def segments(content: bytes) -> list[tuple[bytes, bytes]]:
    """What a loader reads (ELF-64, figure 6): each program header without its offset, and the bytes that it names."""
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    read = []
    for at in range(headers, headers + size * number, size):
        kind, flags, offset, address, physical, length, memory, align = struct.unpack_from("<IIQQQQQQ", content, at)
        if kind == 1:
            align = min(align, 1 << 16)
            assert (address - offset) % align == 0  # what the loader of the C library asks for
        known = struct.pack("<IIQQQQQ", kind, flags, address, physical, length, memory, align)
        # The header of the file itself says where the table of sections is, and the offsets are what may differ.
        begin = max(offset, headers + size * number)
        read.append((known, content[begin : offset + length]))
    return read


HOLES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 20_000), st.sampled_from([1 << 12, 1 << 21])), max_size=4)


@settings(max_examples=20, deadline=None)
@given(HOLES, st.binary(max_size=100))
def test_holes_between_segments_are_closed(holes: list[tuple[int, int, int]], tail: bytes) -> None:
    """A library of loaded segments, each with its length, the hole before it, and its alignment."""
    table, body = b"", bytearray(64 + 56 * (len(holes) + 1))
    address, filled = 0, len(body)
    headers = [(1, 5, 0, 0, 0, len(body), len(body), 1 << 12)]
    for length, hole, align in holes:
        body += bytes([0xAA]) * hole
        address += (1 << 22) + (len(body) - address) % align
        headers.append((1, 6, len(body), address, address, length, length + 9, align))
        body += bytes(range(1, length + 1))
        filled += length
    table = b"".join(struct.pack("<IIQQQQQQ", *header) for header in headers)
    begin = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, 64, 7, 0, 64, 56, len(headers), 64, 3, 2)
    body[: 64 + len(table)] = begin + table
    content = bytes(body) + tail
    shorter = shortened(content)
    assert segments(shorter) == segments(content)
    assert b"\xaa" not in shorter[64 + len(table) :]
    assert filled <= len(shorter) <= min(len(content), filled + sum(min(align, 1 << 16) for *_, align in holes))
    assert shortened(shorter) == shorter


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01"]))
def test_what_is_no_library_stays_or_loses_its_end_alone(content: bytes, begin: bytes) -> None:
    given = begin + content
    shorter = shortened(given)
    assert len(shorter) <= len(given)
    if begin != b"\x7fELF\x02\x01" and not content.startswith(b"\x7fELF\x02\x01"):
        assert shorter == given
