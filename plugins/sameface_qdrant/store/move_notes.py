"""Notes of moves: which identity got which other id, and when.

Who restores a backup must not bring back a person who was moved to another id since, and erased under that one.
Receipts name ids alone, so a move leaves a note of both. Like a receipt it stays, and it holds no biometric data.
"""

from sameface_qdrant.engines.base import Point
from sameface_qdrant.values.ids import member_id, point_id
from sameface_qdrant.values.schema import stamped

MOVE = "move"


def moved_template_id(uid: str, target: str, template: str) -> str:
    """Return the id that a template gets when it is moved to another identity."""
    return member_id("template", uid, target, f"moved/{template}")


def move_note(uid: str, gallery: str, source: str, target: str, move: str, now: float) -> Point:
    """Return the note of a move as a record of the meta collection. The same move has the same note."""
    payload = {
        "kind": MOVE,
        # Under no gallery, so that the note stays when its gallery is deleted.
        "gallery": "",
        # An indexed field, so that the moves of one gallery are found quickly.
        "identity": uid,
        "of_uid": uid,
        "of_gallery": gallery,
        "source": source,
        "target": target,
        "time": now,
    }
    return Point(point_id(MOVE, uid, move), stamped(payload))
