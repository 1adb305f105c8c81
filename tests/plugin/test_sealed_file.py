"""A sealed file returns what was written, or it is refused: cut, changed, reordered, mixed or from a newer release."""

import json
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.transfer.errors import ExportCorrupt, ExportKeyRefused, ExportTooNew
from sameface_qdrant.transfer.frames import Frame, FrameKind, decoded, encoded
from sameface_qdrant.transfer.keys import ExportKey, derived
from sameface_qdrant.transfer.sealed_file import MAGIC, SealedReader, SealedWriter

KEY, OTHER_KEY = ExportKey("key-file", bytes(32)), ExportKey("key-file", bytes([1] * 32))
CONTENTS = [b"", b"first", b"second" * 9, b"first", b"last"]


def written(path: Path, contents: Sequence[bytes], key: ExportKey = KEY) -> bytes:
    writer = SealedWriter(path, key, force=True)
    for number, content in enumerate(contents):
        writer.write(content, last=number == len(contents) - 1)
    assert writer.finish() == path.stat().st_size
    return path.read_bytes()


def read(path: Path, key: ExportKey = KEY) -> list[bytes]:
    reader = SealedReader(path, key)
    try:
        return list(reader.frames())
    finally:
        reader.close()


def parts(whole: bytes) -> tuple[bytes, list[bytes]]:
    """Split a file into what comes before the frames, and the frames."""
    (length,) = struct.unpack(">I", whole[len(MAGIC) :][:4])
    at = len(MAGIC) + 4 + length + 60
    start, frames = whole[:at], []
    while at < len(whole):
        (length,) = struct.unpack(">I", whole[at : at + 4])
        frames.append(whole[at : at + 4 + length])
        at += 4 + length
    return start, frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed")


def refused(folder: Path, changed: bytes, *errors: type[SamefaceError]) -> None:
    path = folder / "changed"
    path.write_bytes(changed)
    with pytest.raises(errors or ExportCorrupt):
        read(path)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(folder: Path, contents: list[bytes]) -> None:
    written(folder / "x", contents)
    assert read(folder / "x") == contents


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_change_of_any_byte_is_refused(folder: Path, data: st.DataObject) -> None:
    whole = bytearray(written(folder / "x", CONTENTS))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    refused(folder, bytes(whole), ExportCorrupt, ExportKeyRefused, ExportTooNew)


def test_every_shorter_and_longer_file_is_refused(folder: Path) -> None:
    whole = written(folder / "x", CONTENTS)
    for length in range(len(whole)):
        refused(folder, whole[:length])
    for more in (b"\0", bytes(4), whole[-40:], parts(whole)[1][-1]):
        refused(folder, whole + more)


@given(st.permutations(range(len(CONTENTS))))
@settings(max_examples=60, deadline=None)
def test_frames_in_another_order_are_refused(folder: Path, order: list[int]) -> None:
    start, frames = parts(written(folder / "x", CONTENTS))
    if order != sorted(order):
        refused(folder, start + b"".join(frames[number] for number in order))


@given(st.lists(st.integers(0, len(CONTENTS) - 1), max_size=8))
@settings(max_examples=100, deadline=None)
def test_frames_left_out_or_repeated_are_refused(folder: Path, chosen: list[int]) -> None:
    start, frames = parts(written(folder / "x", CONTENTS))
    if chosen != list(range(len(CONTENTS))):
        refused(folder, start + b"".join(frames[number] for number in chosen))


def test_frames_of_another_file_under_the_same_key_are_refused(folder: Path) -> None:
    start, frames = parts(written(folder / "x", CONTENTS))
    other_start, other_frames = parts(written(folder / "y", CONTENTS))
    assert not set(frames) & set(other_frames), "each file has a key of its own"
    refused(folder, start + b"".join([*frames[:-1], other_frames[-1]]))
    refused(folder, start + b"".join(other_frames))
    refused(folder, other_start[:-60] + start[-60:] + b"".join(frames), ExportKeyRefused)


def test_another_key_is_refused(folder: Path) -> None:
    written(folder / "x", CONTENTS)
    with pytest.raises(ExportKeyRefused, match="the key file does not open"):
        read(folder / "x", OTHER_KEY)


def with_header(whole: bytes, **changes: object) -> bytes:
    start, frames = parts(whole)
    header = {**json.loads(start[len(MAGIC) + 4 : -60]), **changes}
    text = json.dumps(header).encode()
    return MAGIC + struct.pack(">I", len(text)) + text + start[-60:] + b"".join(frames)


def test_another_version_is_refused_with_its_number(folder: Path) -> None:
    (folder / "new").write_bytes(with_header(written(folder / "x", CONTENTS), format=2))
    with pytest.raises(ExportTooNew, match="has format 2; this release reads format 1"):
        read(folder / "new")


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2**30},
        {"r": 1 << 20},
        {"p": 0},
        {"n": 1000},
        {"n": -2},
        {"salt": "00"},
        {"salt": 1},
        {"derivation": "md5"},
    ],
    ids=str,
)
def test_parameters_that_would_exhaust_the_memory_or_are_weak_are_refused(changes: dict[str, object]) -> None:
    scrypt = {"kind": "passphrase", "derivation": "scrypt", "n": 2**14, "r": 8, "p": 1, "salt": "00" * 16}
    key = ExportKey.of_passphrase("twelve signs")
    assert len(derived(key, scrypt)) == 32
    with pytest.raises(ExportCorrupt, match="key derivation"):
        derived(key, {**scrypt, **changes})


def test_passphrases_and_key_files_must_be_long_enough(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="11 characters; expected 12 or more"):
        ExportKey.of_passphrase("eleven sign")
    for size in (0, 31, 4097):
        (folder / "key").write_bytes(bytes(size))
        with pytest.raises(InvalidArgument, match="expected 32 to 4096 random bytes"):
            ExportKey.of_file(folder / "key")
    assert "twelve" not in repr(ExportKey.of_passphrase("twelve signs"))


def test_two_writers_do_not_share_a_file(folder: Path) -> None:
    first = SealedWriter(folder / "z", KEY)
    assert stat.S_IMODE((folder / ".z.partial").stat().st_mode) == 0o600
    with pytest.raises(InvalidArgument, match="another process writes"):
        SealedWriter(folder / "z", KEY)
    assert (folder / ".z.partial").exists()
    first.discard()
    assert not (folder / ".z.partial").exists()


def test_what_an_interrupted_export_left_is_used_again(folder: Path) -> None:
    (folder / ".w.partial").write_bytes(b"left over" * 99)
    os.chmod(folder / ".w.partial", 0o644)
    written(folder / "w", CONTENTS)
    assert read(folder / "w") == CONTENTS
    assert stat.S_IMODE((folder / "w").stat().st_mode) == 0o600


def test_a_file_that_appears_meanwhile_is_not_overwritten(folder: Path) -> None:
    writer = SealedWriter(folder / "v", KEY)
    writer.write(b"", last=True)
    (folder / "v").write_bytes(b"mine")
    with pytest.raises(InvalidArgument, match="exists already"):
        writer.finish()
    writer.discard()
    assert (folder / "v").read_bytes() == b"mine"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_points_survive_a_frame_bit_by_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = tuple(
        Point(
            f"id-{number}",
            {"x": float(rng.normal()), "text": "ä\x00\U0001f600", "none": None, "deep": {"a": [1, 2.0, True]}},
            None if rng.random() < 0.3 else rng.normal(size=int(rng.integers(1, 9))).astype(np.float32),
        )
        for number in range(int(rng.integers(0, 6)))
    )
    frame = Frame(FrameKind.IDENTITIES, {"again": ["é"]}, points)
    found = decoded(encoded(frame))
    assert (found.kind, found.fields) == (frame.kind, frame.fields)
    for one, other in zip(found.points, points, strict=True):
        assert (one.id, one.payload) == (other.id, other.payload)
        assert (one.vector is None) == (other.vector is None)
        if one.vector is not None and other.vector is not None:
            assert one.vector.tobytes() == other.vector.tobytes()


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_frame_are_refused(content: bytes) -> None:
    with pytest.raises(ExportCorrupt):
        decoded(content)
