"""Whether the photos that are to be enrolled under one id resemble each other.

The service compares a new template with those that are stored. It sees no more of a folder of several people that is
enrolled under one id by mistake, for its photos come in any order, and some are the first.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray

from sameface.cli.output import note
from sameface.cli.photos import NamedPhoto
from sameface.cli.policies import policy_text
from sameface.cli.work import work_on
from sameface.client import Client, ServiceError
from sameface.evaluation.embedding import most_central
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.gallery import POLICY_SETTINGS

Person = TypeVar("Person")
Photos = Sequence[NamedPhoto]

UNKNOWN = {"THRESHOLD_NOT_CALIBRATED": "no threshold is known", "PERMISSION_DENIED": "the key may not read embeddings"}
"""Why photos cannot be compared, by the reason of the service's refusal."""
SHOWN = 5
"""So many names of photos are shown."""
_SETTINGS = {setting.name: setting for setting in POLICY_SETTINGS}


class Unlike(SamefaceError):
    """A photo was not enrolled, because photos under its id show people who do not resemble each other."""

    reason = "UNLIKE"


def outside_largest_group(vectors: NDArray[np.float32], threshold: float) -> list[int]:
    """Return which vectors are not in the largest group, in order.

    Two vectors are in one group if their cosine is at least the threshold, or if others between them lead from one to
    the other. Of groups of one size, the one with the first vector counts as the largest.

    Args:
        vectors: unit vectors [number, dimension].
        threshold: lowest cosine of two that are alike, -1 to 1.

    >>> outside_largest_group(np.eye(3, dtype=np.float32)[[0, 1, 1, 2]], 0.5)
    [0, 3]
    """
    left = np.arange(len(vectors))
    largest: set[int] = set()
    while left.size > len(largest):
        group, reached = {int(left[0])}, [int(left[0])]
        left = left[1:]
        while reached and left.size:
            near = vectors[left] @ vectors[reached.pop()] >= threshold
            group.update(left[near].tolist())
            reached += left[near].tolist()
            left = left[~near]
        if len(group) > len(largest):
            largest = group
    return sorted(set(range(len(vectors))) - largest)


def find_unlike(
    client: Client,
    gallery: Any,
    people: Mapping[Person, Photos],
    read: Callable[[Person, NamedPhoto], bytes | None],
    face: str | None,
) -> dict[Person, list[NamedPhoto]]:
    """Return, for each person with photos that do not resemble the largest group of the others, these photos.

    A person of one photo costs nothing, and any other one more inference for each photo. A photo that cannot be read or
    has no face is passed over, because its enrolment says so. The threshold is that of the gallery's outliers.

    Args:
        client: of the service.
        gallery: where the photos are to be enrolled; None if it does not exist yet.
        people: the photos of each person.
        read: returns the bytes of a photo; None for one that is enrolled already.
        face: which face of a photo is enrolled; None is the largest.

    Raises:
        ServiceError: the service does not compare them.
    """
    photos = [(person, photo) for person, found in people.items() if len(found) > 1 for photo in found]
    if gallery is not None and policy_text(gallery.policy, _SETTINGS["on_outlier"]) == "allow":
        return {}
    version = gallery.contract.version if gallery is not None else 0
    model = gallery.contract.model if gallery is not None else ""

    def embedding(item: tuple[Person, NamedPhoto]) -> Any:
        content = read(*item)
        return (
            None
            if content is None
            else _chosen(client.embed(content, embedder_version=version, embedder_model=model), face)
        )

    embeddings: dict[Person, list[tuple[NamedPhoto, Any]]] = {}
    for (person, photo), answer in work_on(photos, embedding, "comparing"):
        if isinstance(answer, ServiceError) and answer.reason in UNKNOWN:
            return _not_compared(answer)
        if answer is not None and not isinstance(answer, Exception):
            embeddings.setdefault(person, []).append((photo, answer))
    several = {person: seen for person, seen in embeddings.items() if len(seen) > 1}
    if not several:
        return {}
    try:
        threshold = _threshold(client, gallery, next(iter(several.values()))[0][1], version, model)
    except ServiceError as error:
        if error.reason in UNKNOWN:
            return _not_compared(error)
        raise
    unlike: dict[Person, list[NamedPhoto]] = {}
    for person, seen in several.items():
        vectors = np.array([list(one.values) for _, one in seen], dtype=np.float32)
        if outside := outside_largest_group(vectors, threshold):
            unlike[person] = [seen[number][0] for number in outside]
    return unlike


def ask(identity: str, unlike: Photos, photos: int) -> bool:
    """Ask whether photos that do not resemble the others are enrolled all the same; False without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    names = ", ".join(photo.name for photo in unlike[:SHOWN]) + (", …" if len(unlike) > SHOWN else "")
    note(f"{len(unlike)} of {photos} photos do not resemble the others: {names}")
    return typer.confirm(f"Enrol all {photos} as {identity}?", err=True)


def refusal(photo: NamedPhoto, identity: str, unlike: Sequence[NamedPhoto], photos: int) -> Unlike:
    """Return why a photo is not enrolled together with others that it, or some of them, do not resemble."""
    told = (
        "does not resemble the others"
        if photo in unlike
        else f"not enrolled, because {len(unlike)} of {photos} photos do not resemble the others"
    )
    return Unlike(
        f"{told}; if all of them are of {identity}, enrol them with --allow-unlike",
        metadata={"identity": identity, "unlike": str(photo in unlike).lower()},
    )


def _not_compared(error: ServiceError) -> dict[Any, list[NamedPhoto]]:
    note(f"whether photos of one person resemble each other was not checked: {UNKNOWN[error.reason]}")
    return {}


def _chosen(answer: Any, face: str | None) -> Any:
    """Return the embedding of the face that an enrolment would take, or None where it would find none or refuse."""
    if not answer.faces or (face == "error" and answer.faces_found > 1):
        return None
    return (most_central(answer) if face == "most_central" else answer.faces[0]).embedding


def _threshold(client: Client, gallery: Any, embedding: Any, version: int, model: str) -> float:
    """Return the lowest score with others of its identity that is no outlier, as the service's guard takes it."""
    numbers = {
        name: float(text)
        for name in ("outlier_threshold", "verify_threshold", "target_fmr")
        if gallery is not None and (text := policy_text(gallery.policy, _SETTINGS[name], absent=""))
    }
    for name in ("outlier_threshold", "verify_threshold"):
        if name in numbers:
            return numbers[name]
    # An embedding needs no inference.
    compared = client.compare(
        embedding, embedding, target_fmr=numbers.get("target_fmr"), embedder_version=version, embedder_model=model
    )
    return compared.decision.threshold
