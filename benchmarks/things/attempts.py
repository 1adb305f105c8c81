"""Enrols one image of each identity through the service, and lets the other images claim and search."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.things.splits import Image
from sameface.client import Client, Decision

GENUINE, IMPOSTOR, FORGERY = "genuine", "impostor", "skilled forgery"
MATED, NON_MATED, FORGED = "enrolled", "not enrolled", "skilled forgery of an enrolled one"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call and its answer."""

    kind: str
    """Of a claim `GENUINE`, `IMPOSTOR` or `FORGERY`; of a search `MATED`, `NON_MATED` or `FORGED`."""
    probe: str
    """Who or what the image shows, or whom it imitates."""
    claimed: str
    """Identity that is claimed; of a search, the nearest one."""
    score: float
    threshold: float
    outcome: str

    @property
    def accepted(self) -> bool:
        """Whether the score reaches the threshold. The outcome may still be AMBIGUOUS, or NO_MATCH for another one."""
        return self.score >= self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which image of each identity is enrolled, and which are probes."""

    enrolled: dict[str, Image]
    probes: tuple[Image, ...]
    forgeries: tuple[Image, ...]
    halves: tuple[tuple[str, ...], tuple[str, ...]]
    """The identities in two halves: of searches, one is enrolled and the other is not, and the other way round."""


def draw(images: Sequence[Image], most: int, seed: int = 0) -> Drawn:
    """Draw one image of each identity to enrol, and at most so many probes and so many forgeries of the others."""
    rng = np.random.default_rng(seed)
    genuine: dict[str, list[Image]] = {}
    for image in images:
        if not image.forged:
            genuine.setdefault(image.identity, []).append(image)
    names = sorted(genuine)
    shuffled = {name: [genuine[name][place] for place in rng.permutation(len(genuine[name]))] for name in names}
    # One probe of each identity first, then a second one of each, and so on.
    longest = max(map(len, shuffled.values()))
    probes = [own[turn] for turn in range(1, longest) for own in shuffled.values() if turn < len(own)]
    forged = [image for image in images if image.forged]
    forgeries = [forged[place] for place in rng.permutation(len(forged))[:most]]
    order = [names[place] for place in rng.permutation(len(names))]
    half = len(order) // 2
    return Drawn(
        {name: own[0] for name, own in shuffled.items()},
        tuple(probes[:most]),
        tuple(forgeries),
        (tuple(order[:half]), tuple(order[half:])),
    )


def claims(client: Client, gallery: str, drawn: Drawn, progress: Progress, seed: int = 0) -> list[Attempt]:
    """Enrol everything in a gallery. Each probe claims its own identity and another one; a forgery whom it imitates."""
    rng = np.random.default_rng(seed)
    enroll(client, gallery, drawn.enrolled)
    names = sorted(drawn.enrolled)
    asked = [(GENUINE, image, image.identity) for image in drawn.probes]
    for image in drawn.probes:
        others = [name for name in names if name != image.identity]
        asked.append((IMPOSTOR, image, others[int(rng.integers(len(others)))]))
    asked += [(FORGERY, image, image.identity) for image in drawn.forgeries]
    found = []
    for number, (kind, image, claimed) in enumerate(asked, start=1):
        found.append(_attempt(kind, image, claimed, client.verify(gallery, claimed, image.path).decision))
        if number % 100 == 0:
            progress(f"{gallery}: {number} of {len(asked)} claims")
    return found


def searches(
    client: Client, galleries: Sequence[str], drawn: Drawn, progress: Progress, seed: int = 0
) -> list[Attempt]:
    """Enrol each half in a gallery of its own, and search both for every probe; for a forgery in whom it imitates."""
    found = []
    for gallery, half in zip(galleries, drawn.halves, strict=True):
        inside = set(half)
        enroll(client, gallery, {name: drawn.enrolled[name] for name in half})
        asked = [(MATED if image.identity in inside else NON_MATED, image) for image in drawn.probes]
        asked += [(FORGED, image) for image in drawn.forgeries if image.identity in inside]
        for number, (kind, image) in enumerate(asked, start=1):
            (face,) = client.identify(gallery, image.path).faces
            assert face.decision is not None
            nearest = face.decision.candidates[0].identity_id
            found.append(_attempt(kind, image, nearest, face.decision))
            if number % 100 == 0:
                progress(f"{gallery}: {number} of {len(asked)} searches")
    return found


def enroll(client: Client, gallery: str, images: dict[str, Image]) -> None:
    """Enrol one image of each identity."""
    for name, image in images.items():
        client.enroll(gallery, name, image.path)


def _attempt(kind: str, image: Image, claimed: str, decision: Decision) -> Attempt:
    assert decision.score is not None
    return Attempt(kind, image.identity, claimed, decision.score, decision.threshold, str(decision.outcome))
