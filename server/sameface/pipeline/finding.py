"""Finds every face of a photo: which parts of it the detector sees, and at which sizes."""

import dataclasses
from collections.abc import Sequence

from sameface.pipeline.detector import Detector
from sameface.pipeline.turning import EIGHTH_TURNS, QUARTER_TURNS, faces_at_any_turn, faces_of_turn
from sameface.vision import SURE, Look, Pixels, Sighting, finer_looks, has_room, has_room_for_larger, is_clear, merge
from sameface.vision.merging import is_among
from sameface.vision.turns import SEEN_TURNED, turned_back, turned_small
from sameface.vision.upright import is_surely_upright

FINE_WIDTH = 100.0
GLANCED_WIDTH = 32.0
"""Width in pixels of a face as large as the largest one, in a look for turned faces."""
SMALLEST_SIDE = 80
"""Longest side in pixels of the smallest look."""
MOST_CONFIRMED = 1000
"""It bounds the time of one photo: a second look takes about a millisecond."""


async def coarse_faces(pixels: Pixels, detector: Detector) -> tuple[Sighting, ...]:
    """Return the faces that a look at the whole image shows, in its pixels.

    A face may be too large for that look. So where there is room for such a face, a smaller look follows, and where
    nothing was found, up to three.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    height, width = pixels.shape[:2]
    side = min(detector.settings.longest_side, max(width, height))
    found = await _seen(pixels, side, detector)
    doubtful = [one for one in found if not is_clear(one.face.scaled(one.scale))]
    if doubtful:
        clear = (one for one in found if is_clear(one.face.scaled(one.scale)))
        found = (*clear, *await _confirmed(pixels, doubtful, detector))
    if not found:
        while not found and side // 2 >= SMALLEST_SIDE:
            side //= 2
            found = await _confirmed(pixels, await _seen(pixels, side, detector), detector)
        return found
    scale = side / max(width, height)
    faces = [one.face.scaled(scale) for one in found]
    if has_room_for_larger(round(width * scale), round(height * scale), faces):
        found = await _added(pixels, found, await _seen(pixels, max(SMALLEST_SIDE, side // 4), detector), detector)
    return found


async def faces_beside(pixels: Pixels, known: Sequence[Sighting], detector: Detector) -> dict[int, list[Sighting]]:
    """Return the faces that are seen in turns of an image, by turn and in its pixels.

    It looks only where the picture has room beside the ``known`` faces for one as large as the largest of them. Such a
    face is `GLANCED_WIDTH` wide in the look. One run of the detector sees all quarter turns. A second one sees the
    eighth turns of a group whose best face may be turned itself.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    height, width = pixels.shape[:2]
    largest = max((one.face for one in known), key=lambda face: face.area)
    # The grid of the room is fine enough if the largest face is this wide. The exact width decides about a cell.
    fine = FINE_WIDTH / largest.box[2]
    faces = [one.face.scaled(fine) for one in known]
    if not has_room(round(width * fine), round(height * fine), faces, (FINE_WIDTH, largest.box[3] * fine)):
        return {}
    scale = min(1.0, detector.settings.longest_side / max(width, height), GLANCED_WIDTH / largest.box[2])
    best = max((one.face for one in known), key=lambda face: face.score)
    found: list[tuple[int, Sighting]] = []
    tilted_group = len(known) > 1 and not is_surely_upright(best)
    for turns in (QUARTER_TURNS, EIGHTH_TURNS) if tilted_group else (QUARTER_TURNS,):
        views, matrices = turned_small(pixels, scale, turns)
        seen = await detector.faces_in_views(views, doubtful=True)
        for turn, each, matrix in zip(turns, seen, matrices, strict=True):
            back = turned_back([Sighting(face, scale) for face in each], matrix, least=0.0)
            found += [(turn, one) for one in back if not is_among(one.face, known)]
    found = found[:MOST_CONFIRMED]
    faces_again = await detector.confirm(pixels, [one.face for _, one in found])
    by_turn: dict[int, list[Sighting]] = {}
    for (turn, one), face in zip(found, faces_again, strict=True):
        if face is not None and face.score >= SEEN_TURNED:
            by_turn.setdefault(turn, []).append(dataclasses.replace(one, face=face))
    return by_turn


async def finer_faces(
    pixels: Pixels, turn: int, known: Sequence[Sighting], detector: Detector, *, every: bool
) -> tuple[Sighting, ...]:
    """Return the ``known`` faces and those that only finer looks at an image show, in its pixels.

    The image is looked at in the ``turn`` in which the known faces were found, in degrees to the left; where there are
    none, in any quarter turn.

    Raises:
        ModelUnavailable: a model does not answer at the moment.
    """

    async def search(image: Pixels, before: Sequence[Sighting] = ()) -> tuple[Sighting, ...]:
        looks = finer_looks(image.shape[1], image.shape[0], detector.settings.longest_side)
        return await fine_faces(image, looks, before, detector, every=every)

    if not known:
        return (await faces_at_any_turn(pixels, search, (QUARTER_TURNS,)))[1]
    quarter = turn - turn % 90
    if not quarter:
        return await search(pixels, known)
    found = await faces_of_turn(pixels, quarter, search)
    return merge((*known, *found))


async def fine_faces(
    pixels: Pixels, looks: Sequence[Look], known: Sequence[Sighting], detector: Detector, *, every: bool
) -> tuple[Sighting, ...]:
    """Return the ``known`` faces and those that finer looks at an image show, in its pixels.

    Without ``every`` it ends at the first look that shows a face: finer ones show only smaller faces.

    Raises:
        ModelUnavailable: the detector does not answer at the moment.
    """
    found, new = tuple(known), tuple[Sighting, ...]()
    for look in looks:
        for tile in look.tiles:
            new += tuple(Sighting(face, look.scale) for face in await detector.faces_in_tile(pixels, look, tile))
        if not every:
            found, new = await _added(pixels, found, new, detector), ()
            if found:
                break
    return await _added(pixels, found, new, detector)


async def _seen(pixels: Pixels, side: int, detector: Detector) -> tuple[Sighting, ...]:
    scale = min(1.0, side / max(pixels.shape[:2]))
    return tuple(Sighting(face, scale) for face in await detector.faces_in(pixels, side, doubtful=True))


async def _added(
    pixels: Pixels, known: tuple[Sighting, ...], new: tuple[Sighting, ...], detector: Detector
) -> tuple[Sighting, ...]:
    """Return the ``known`` faces with those of the ``new`` ones that a second look confirms, each face once."""
    old = {id(one) for one in known}
    candidates = [one for one in merge((*known, *new)) if id(one) not in old]
    confirmed = await _confirmed(pixels, candidates, detector)
    return merge((*known, *confirmed))


async def _confirmed(pixels: Pixels, found: Sequence[Sighting], detector: Detector) -> tuple[Sighting, ...]:
    """Return the faces that a second look confirms. The smallest of very many only need a high score."""
    ranked = sorted(found, key=lambda one: one.face.area, reverse=True)
    doubtful, others = ranked[:MOST_CONFIRMED], ranked[MOST_CONFIRMED:]
    faces = await detector.confirm(pixels, [one.face for one in doubtful])
    kept = [dataclasses.replace(one, face=face) for one, face in zip(doubtful, faces, strict=True) if face is not None]
    return (*kept, *(one for one in others if one.face.score >= SURE))
