"""Markers of a JPEG are found where a plain search finds them, also far away and at the edges of blocks."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.vision.jpeg import next_marker

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
NO_MARKERS = [b"\x00", b"\xff\x00", b"\xff\xd0", b"\xff\xd7", b"\xff\xff", b"\x12\x34"]
EDGES = (0, 1 << 16, 3 << 16, 5 << 16)
"""Where the search changes from near to far, and from block to block."""

pieces = st.lists(
    st.sampled_from([*NO_MARKERS, b"\xff\x01", b"\xff\xcf", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xfe"]),
    max_size=6,
).map(b"".join)


@given(
    filling=st.sampled_from(NO_MARKERS),
    position=st.integers(0, 70),
    edge=st.sampled_from(EDGES),
    shift=st.integers(-8, 8),
    piece=pieces,
    tail=st.sampled_from([0, 1, 70, 1 << 17]),
)
@settings(max_examples=150, deadline=None)
def test_the_next_marker_is_the_first_one(
    filling: bytes, position: int, edge: int, shift: int, piece: bytes, tail: int
) -> None:
    before = filling * ((position + edge + 8) // len(filling) + 1)
    content = before[: max(0, position + edge + shift)] + piece + filling * tail
    found = MARKER.search(content, position)
    assert next_marker(content, position) == (None if found is None else found.start())
