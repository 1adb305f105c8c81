"""Finds byte strings in the files of a folder. Every call blocks, but holds Python's interpreter lock only shortly.

A search library such as pyahocorasick would be a further dependency of the plugin, and it does not skip holes in files.
"""

import os
import time
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

import numpy as np

from sameface_qdrant.engines.edge.files import extents

WINDOW = 1 << 18
ANCHOR = 8
"""Bytes of a needle that are compared first; no needle is shorter."""


def present(folder: Path, needles: Sequence[bytes], *, skip: str, rest: float = 0.0) -> set[bytes]:
    """Return the needles that occur at any offset in the files below ``folder``, without its folder ``skip``.

    It picks candidates by their first two pairs of bytes, then by their first eight, then compares them as a whole. So
    the time hardly depends on the number of needles. After each window it sleeps ``rest`` times as long as that took.
    """
    sought = set(needles)
    if not sought:
        return set()
    assert min(map(len, sought)) >= ANCHOR
    by_anchor: dict[bytes, list[bytes]] = {}
    for needle in sought:
        by_anchor.setdefault(needle[:ANCHOR], []).append(needle)
    pairs = np.frombuffer(b"".join(by_anchor), dtype="<u2").reshape(-1, ANCHOR // 2)
    first, second = np.zeros(1 << 16, dtype=bool), np.zeros(1 << 16, dtype=bool)
    first[pairs[:, 0]], second[pairs[:, 1]] = True, True
    anchors = np.frombuffer(b"".join(by_anchor), dtype="<u8")
    found: set[bytes] = set()
    for window in _windows(folder, skip, max(map(len, sought)) - 1):
        began = time.perf_counter()
        for position in _candidates(window, first, second, anchors):
            for needle in by_anchor[window[position : position + ANCHOR]]:
                if window.startswith(needle, position):
                    found.add(needle)
        if len(found) == len(sought):
            break
        if rest:
            time.sleep(rest * (time.perf_counter() - began))
    return found


def _candidates(window: bytes, first: np.ndarray, second: np.ndarray, anchors: np.ndarray) -> list[int]:
    if len(window) < ANCHOR:
        return []
    octets = np.frombuffer(window, dtype=np.uint8)
    places = []
    for shift in (0, 1):
        words = octets[shift : shift + (len(octets) - shift) // 2 * 2].view("<u2")
        places.append(np.flatnonzero(first[words[:-1]] & second[words[1:]]) * 2 + shift)
    starts = np.concatenate(places)
    starts = starts[starts <= len(octets) - ANCHOR]
    heads = octets[starts[:, None] + np.arange(ANCHOR)].view("<u8")[:, 0]
    return [int(start) for start in starts[np.isin(heads, anchors)]]


def _windows(folder: Path, skip: str, overlap: int) -> Iterator[bytes]:
    # Skip folders that vanish meanwhile: their contents are being deleted.
    for path in (Path(base, name) for base, _, names in os.walk(folder) for name in names):
        if path.is_relative_to(folder / skip):
            continue
        try:
            with path.open("rb", buffering=0) as file:
                yield from _overlapping(file, overlap)
        except FileNotFoundError:  # replaced by Edge meanwhile
            continue


def _overlapping(file: FileIO, overlap: int) -> Iterator[bytes]:
    for begin, end in extents(file.fileno()):
        file.seek(begin)
        tail = b""
        while begin < end and (piece := file.read(min(WINDOW, end - begin))):
            begin += len(piece)
            yield tail + piece
            tail = (tail + piece)[-overlap:]
