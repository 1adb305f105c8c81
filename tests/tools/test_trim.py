"""What is removed from the packages of an image, and that libraries still load."""

import importlib.util
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.trim import trim, without_tail

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


def test_all_that_is_loaded_stays() -> None:
    content = library("uvloop").read_bytes()
    shorter = without_tail(content)
    # What a program header names (ELF-64, figure 6) is there, with the bytes that it had.
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    for at in range(headers, headers + size * number, size):
        offset, length = struct.unpack_from("<8xQ16xQ", content, at)
        begin = max(offset, 64)  # the header itself says where the table of sections is
        assert shorter[begin : offset + length] == content[begin : offset + length]
    assert without_tail(shorter) == shorter


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01"]))
def test_what_is_no_library_stays_or_loses_its_end_alone(content: bytes, begin: bytes) -> None:
    given = begin + content
    shorter = without_tail(given)
    assert len(shorter) <= len(given)
    if begin != b"\x7fELF\x02\x01" and not content.startswith(b"\x7fELF\x02\x01"):
        assert shorter == given
