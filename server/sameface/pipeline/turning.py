"""Finds faces at any turn, and turns each one upright before its landmarks count."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sameface.pipeline.detector import Detector
from sameface.vision import Detection, Pixels, Sighting, head_pose
from sameface.vision.turns import joined, seen_upright, turned, turned_back
from sameface.vision.upright import (
    AROUND,
    BORNE,
    NEAR,
    NEARBY,
    OPPOSITE,
    UPRIGHT,
    UPRIGHT_SCORE,
    VIEW_SCALES,
    averaged,
    believed,
    is_surely_upright,
    look_again,
    roll_by_scores,
    scores_in,
    small_views,
    tilted_by,
    upright_view,
)

Glance: TypeAlias = Callable[[tuple[Sighting, ...]], Awaitable[Mapping[int, Sequence[Sighting]]]]
"""Looks for faces in turns of an image beside those that were found, and returns them by turn, in its pixels."""
Search: TypeAlias = Callable[[Pixels], Awaitable[tuple[Sighting, ...]]]
"""Looks for faces in an array, and returns them in its pixels."""

QUARTER_TURNS = (90, 180, 270)
EIGHTH_TURNS = (45, 135, 225, 315)


async def faces_at_any_turn(
    pixels: Pixels,
    search: Search,
    rounds: Sequence[Sequence[int]] = (QUARTER_TURNS, EIGHTH_TURNS),
    glance: Glance | None = None,
    known: tuple[Sighting, ...] | None = None,
) -> tuple[int, tuple[Sighting, ...]]:
    """Return the turn of an image at which its best face was found, and its faces at any turn, in its own pixels.

    Unless a face is seen upright, each of the ``rounds`` of turns is searched until one shows a face. The landmarks of
    a turned face are turned as well.

    Args:
        pixels: the image.
        search: called with the image and with turned ones.
        rounds: turns in degrees to the left.
        known: what ``search`` found in the image, if it was called already.
        glance: called where a face is seen upright: another one beside it may be turned.

    Raises:
        Whatever ``search`` raises.
    """
    by_turn = {0: await search(pixels) if known is None else known}
    if seen_upright(by_turn[0]):
        others = {} if glance is None else await glance(by_turn[0])
        return joined({**by_turn, **others}) if others else (0, by_turn[0])
    for turns in rounds:
        for degrees in turns:
            by_turn[degrees] = await faces_of_turn(pixels, degrees, search)
        if any(by_turn.values()):
            break
    return joined(by_turn)


async def faces_of_turn(pixels: Pixels, degrees: int, search: Search) -> tuple[Sighting, ...]:
    """Return the faces that ``search`` finds in an image turned to the left, in pixels of the image itself."""
    image, matrix = turned(pixels, degrees)
    return turned_back(await search(image), matrix)


async def upright_face(pixels: Pixels, face: Detection, detector: Detector) -> Detection:
    """Return the same face with landmarks that were found where it is upright.

    A face that is surely upright costs no look at all, another upright face one look of eight small views. What none of
    these shows clearly gets a low score, so the quality gate refuses it. The landmarks of a turned face are the mean of
    two more looks.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    if is_surely_upright(face):
        return face

    best = 0.0

    async def scores(roll: float, turns: Sequence[int]) -> NDArray[np.float64]:
        nonlocal best
        views = small_views(pixels, face, [roll + turn for turn in turns])
        found = scores_in(face, await detector.faces_in_views(views))
        best = max(best, float(found.max()))
        return found

    first = estimate = head_pose(face).roll
    both = await scores(first, NEARBY + OPPOSITE)
    nearby, opposite = np.split(both, [len(NEARBY)])
    if nearby.max() < max(UPRIGHT_SCORE, opposite.max()):
        around = await scores(first, AROUND)
        if not best:
            return believed(face, best)
        turns = AROUND + NEARBY + OPPOSITE
        estimate += turns[int(np.concatenate([around, both]).argmax())]
        nearby = await scores(estimate, NEARBY)
    roll = roll_by_scores(estimate, nearby)
    if abs(roll - estimate) > NEAR:
        roll = roll_by_scores(roll, await scores(roll, NEARBY))
    face = believed(face, best)
    if max(abs(roll - first), abs(first)) <= UPRIGHT:
        return face if abs(roll - first) <= BORNE else tilted_by(face, roll - first)
    looks = []
    for scale in VIEW_SCALES:
        view, matrix = upright_view(pixels, face, roll, scale)
        (seen,) = await detector.faces_in_views(view[np.newaxis])
        looks.append(look_again(face, seen, len(view), matrix))
    return averaged(looks)
