"""Measures presentation attack detection on photos of people and on photos of attacks (ISO/IEC 30107-3)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.client import Client, Face, NotAPhoto, ServiceError
from sameface.errors import ModelNotFound
from sameface.evaluation.dataset import entries, photos_within
from sameface.evaluation.embedding import IN_FLIGHT, NO_PHOTO
from sameface.evaluation.support import apcer_support
from sameface.photo_folders import Skipped, is_folder, why_skipped
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.error_rates import Scores
from sameface_qdrant.metrics.presentation_attacks import (
    PadCurve,
    PadRate,
    apcer_rate,
    bpcer_rate,
    pad_curve,
    pad_rate,
    threshold_at_apcer,
)
from sameface_qdrant.metrics.support import Support

PAD = "face_pad"
UNSORTED = "unsorted"
"""The species of attacks that are in no sub-folder."""
APCER_TARGETS = {"BPCER10": 1 / 10, "BPCER20": 1 / 20, "BPCER100": 1 / 100}
"""BPCER at these APCERs (ISO/IEC 30107-3)."""


@dataclass(frozen=True, slots=True)
class Presentations:
    """Photos of one kind: bona fide, or attacks of one species."""

    samples: tuple[str, ...]
    """Photos with a score, by their paths below the folder."""
    scores: Scores
    """Their bona fide scores, 0 to 1."""
    without_face: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Files that are left out."""
    refusals: Mapping[str, int] | None = None
    """How many of the scored photos the quality gate refuses, by reason."""

    @property
    def count(self) -> int:
        """How many photos were presented."""
        return len(self.samples) + len(self.without_face)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """BPCER at the lowest threshold where no species has an APCER above the target."""

    name: str
    target: float
    threshold: float
    """Above 1 if so many attacks have a score of 1 that no policy reaches the target."""
    bpcer: PadRate


@dataclass(frozen=True, slots=True)
class PadEvaluation:
    """Every rate at one threshold, and BPCER at given APCERs. None where no photo has a score."""

    threshold: float
    bona_fide: Presentations
    attacks: Mapping[str, Presentations]
    bpcer: PadRate
    bpnrr: PadRate
    apcer: Mapping[str, PadRate | None]
    apnrr: Mapping[str, PadRate]
    points: tuple[OperatingPoint, ...]
    curve: PadCurve
    support: Support
    """Which APCERs the attacks support, by the species with the fewest."""

    @property
    def worst(self) -> str:
        """The species with the highest APCER."""
        return max((rate.value, name) for name, rate in self.apcer.items() if rate is not None)[1]


def read_bona_fide(folder: Path, skipped: list[Skipped] | None = None) -> tuple[Path, ...]:
    """Return every photo in a folder and its sub-folders, sorted. What else is there is added to ``skipped``.

    Raises:
        InvalidArgument: there is none.
    """
    photos = tuple(photos_within(folder, [] if skipped is None else skipped))
    if not photos:
        raise InvalidArgument(f"{folder} contains no photos; expected at least one", metadata={"field": "live"})
    return photos


def read_attacks(folder: Path, skipped: list[Skipped] | None = None) -> dict[str, tuple[Path, ...]]:
    """Return the photos of each species: the sub-folders of ``folder``, searched with their own sub-folders.

    Photos that are in no sub-folder are of the species ``unsorted``. What else is there is added to ``skipped``.

    Raises:
        InvalidArgument: there is no photo.
    """
    skipped = [] if skipped is None else skipped
    photos: dict[str, list[Path]] = {}
    for entry in entries(folder):
        path = folder / entry.name
        if is_folder(entry) and not entry.name.startswith("."):
            photos.setdefault(entry.name, []).extend(photos_within(path, skipped))
        elif why := why_skipped(entry) or ("" if entry.is_file() else "cannot be read"):
            skipped.append(Skipped(path, why))
        else:
            photos.setdefault(UNSORTED, []).append(path)
    found = {species: tuple(sorted(paths)) for species, paths in sorted(photos.items()) if paths}
    if not found:
        raise InvalidArgument(
            f"{folder} contains no photos; expected <species>/<photo>, for instance print/1.jpg and replay/1.jpg",
            metadata={"field": "attack"},
        )
    return found


def served_pad(client: Client) -> str:
    """Return the name of the service's model, with version and title.

    Raises:
        ModelNotFound: the service has none.
    """
    served = [model for model in client.server_info().models if model.name == PAD]
    if not served:
        raise ModelNotFound(
            f"the service has no {PAD}; add a model with `sameface model add` and restart it", metadata={"model": PAD}
        )
    used = max(served, key=lambda model: model.version)
    return f"{PAD} version {used.version}: {used.title}"


def examine(client: Client, root: Path, photos: Sequence[Path], advance: Callable[[], None]) -> Presentations:
    """Score the largest face of each photo, as the service selects it by default.

    Args:
        client: of a service that has the model.
        root: samples are named by their paths below it.
        photos: the files.
        advance: called after each photo.

    Raises:
        ServiceError: the service did not answer, or refused a photo for another reason than its file.
    """

    def look(path: Path) -> Face | str | None:
        try:
            faces = client.detect(path).faces
        except OSError as error:
            return type(error).__name__
        except NotAPhoto as error:
            return error.reason
        except ServiceError as error:
            if error.reason in NO_PHOTO:
                return error.reason
            raise
        finally:
            advance()
        return faces[0] if faces else None

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = dict(zip(photos, threads.map(look, photos), strict=True))
    names = {path: path.relative_to(root).as_posix() for path in photos}
    faces = {path: face for path, face in answers.items() if isinstance(face, Face)}
    return Presentations(
        samples=tuple(names[path] for path in faces),
        scores=np.array([_bona_fide_score(face) for face in faces.values()], dtype=np.float64),
        without_face=tuple(names[path] for path, answer in answers.items() if answer is None),
        unreadable=tuple(names[path] for path, answer in answers.items() if isinstance(answer, str)),
        refusals=dict(Counter(face.issues[0].reason for face in faces.values() if face.issues).most_common()),
    )


def _bona_fide_score(face: Face) -> float:
    examined = face.presentation_attack_detection
    return 0.0 if examined is None else examined.score


def measure_attacks(
    bona_fide: Presentations, attacks: Mapping[str, Presentations], threshold: float = 0.5
) -> PadEvaluation:
    """Return every rate.

    Args:
        bona_fide: photos of people.
        attacks: photos of attacks, by species.
        threshold: lowest bona fide score that is accepted, 0 to 1.

    Raises:
        InvalidArgument: no photo of people, or no photo of any attack, has a score; or the threshold is out of range.
    """
    if not 0.0 <= threshold <= 1.0:
        raise InvalidArgument(f"threshold is {threshold:g}; expected 0 to 1", metadata={"field": "threshold"})
    scored = {species: group.scores for species, group in attacks.items() if group.scores.size}
    if not (bona_fide.scores.size and scored):
        lacking = "attack" if bona_fide.scores.size else "live"
        raise InvalidArgument(
            f"no face was found in any photo of the {lacking} folder, so there is no rate; send other photos",
            metadata={"field": lacking},
        )
    points = []
    for name, target in APCER_TARGETS.items():
        at = threshold_at_apcer(scored, target)
        points.append(OperatingPoint(name, target, at, bpcer_rate(bona_fide.scores, at)))
    return PadEvaluation(
        threshold=threshold,
        bona_fide=bona_fide,
        attacks=attacks,
        bpcer=bpcer_rate(bona_fide.scores, threshold),
        bpnrr=pad_rate(len(bona_fide.without_face), bona_fide.count),
        apcer={
            species: apcer_rate(group.scores, threshold) if group.scores.size else None
            for species, group in attacks.items()
        },
        # A species of which no file could be read has no photos at all.
        apnrr={
            species: pad_rate(len(group.without_face), group.count) for species, group in attacks.items() if group.count
        },
        points=tuple(points),
        curve=pad_curve(bona_fide.scores, scored),
        support=apcer_support(scored),
    )
