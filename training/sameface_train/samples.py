"""Labelled images in memory: any folder with one sub-folder per identity, and Omniglot's packed file."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sameface.errors import ImageTooLarge, ImageUndecodable
from sameface.evaluation.dataset import entries, photos_within
from sameface.inference.whole_image import Strokes
from sameface.photo_folders import Skipped, is_folder, why_skipped
from sameface.vision import ImageLimits, decode_image
from sameface_train.data_folder import OMNIGLOT, check_exists, check_folder
from sameface_train.errors import UnusableData
from sameface_train.signers import check_signers, have_forgeries, identity_of

LIMITS = ImageLimits(max_side=1 << 16)
"""Those of the service, and no image is reduced."""
Images: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Images of one size with their identities. An identity may be anything: a face, a signer, a character."""

    images: Images
    """[N, channels, height, width]; may be mapped from a file."""
    labels: Labels
    """[N] indices of ``identities``."""
    identities: tuple[str, ...]
    names: tuple[str, ...]
    """Each image's path below its data folder, ``/`` between the parts."""
    groups: tuple[str, ...] = ()
    """The group of each identity, for instance a character's alphabet; empty if there are no groups."""
    made_from: tuple[str, ...] = ()
    """The base of each identity: the unrotated character, the signer of a forgery; empty if each is its own base."""
    strokes: Strokes = "as-is"
    """What was done to the strokes of the images, as an embedder's card says it (`sameface.inference.whole_image`)."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """What was left out, by reason: ``UNREADABLE``, ``WRONG_SIZE``, ``ONE_IMAGE``, and ``PASSED_OVER`` for what is no
    image."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """Distinguishes this data from other data, by names, identities and sizes (not by pixels)."""
        text = "\n".join([str(self.images.shape), *self.names, *self.identities])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def bases(self) -> tuple[str, ...]:
        """The base of each identity: its own name, unless ``made_from`` says otherwise."""
        return self.made_from or self.identities

    def only(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Return the chosen samples (a flag for each); identities keep their numbers."""
        keep = np.flatnonzero(chosen)
        names = tuple(self.names[place] for place in keep)
        return replace(self, images=self.images[keep], labels=self.labels[keep], names=names)

    def of(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Return the samples of the chosen identities (a flag for each), renumbered."""
        keep = np.flatnonzero(chosen[self.labels])
        numbers = np.cumsum(chosen) - 1
        return Samples(
            images=self.images[keep],
            labels=numbers[self.labels[keep]],
            identities=tuple(np.asarray(self.identities, dtype=object)[chosen]),
            names=tuple(self.names[place] for place in keep),
            groups=tuple(np.asarray(self.groups, dtype=object)[chosen]) if self.groups else (),
            made_from=tuple(np.asarray(self.made_from, dtype=object)[chosen]) if self.made_from else (),
            strokes=self.strokes,
            skipped=self.skipped,
        )


def read_image(path: Path, *, grey: bool) -> Images | None:
    """Return an image as the service reads it, uint8 [height, width] or RGB [height, width, 3]; None if it cannot.

    Transparency lies over white, as `sameface.vision.decode_image` says: a network must see in training what it gets
    in the service.
    """
    try:
        pixels = decode_image(path.read_bytes(), LIMITS, for_faces=False).pixels
    except (ImageUndecodable, ImageTooLarge):
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if grey else pixels, np.uint8)


def read_folder(
    root: Path, *, side: int | tuple[int, int], grey: bool = False, progress: Callable[[int, int], None] | None = None
) -> Samples:
    """Read ``root/<identity>/…/<image>``; every image must be ``side`` pixels (a number, or height and width).

    With folders of skilled forgeries (`sameface.evaluation.forgery_names`) it is ``root/<signer>/<kind>/<image>``, and
    the forgeries of a signer are another identity in the same group.

    Prepared folders (`sameface_train.prepare`) have the right size. What cannot be used is left out and listed in
    ``skipped``. Identities with one image stay, because fine-tuning uses them as negatives; they are listed there too.

    Raises:
        UnusableData: there are no images at the right level of folders, no identity with two images is left, or
            forgeries are not filed under their signers.
    """
    check_folder(root)
    height, width = (side, side) if isinstance(side, int) else side
    passed_over: list[Skipped] = []
    paths = image_paths(root, passed_over)
    all_names = [path.relative_to(root).as_posix() for path in paths]
    if signed := have_forgeries(all_names):
        check_signers(root, all_names)
    skipped: dict[str, list[str]] = {}
    if passed_over:
        skipped["PASSED_OVER"] = [one.path.relative_to(root).as_posix() for one in passed_over]
    images: list[Images] = []
    names: list[str] = []
    sizes: Counter[str] = Counter()
    for number, (path, name) in enumerate(zip(paths, all_names, strict=True)):
        image = read_image(path, grey=grey)
        if image is None:
            skipped.setdefault("UNREADABLE", []).append(name)
        elif image.shape[:2] != (height, width):
            skipped.setdefault("WRONG_SIZE", []).append(name)
            sizes[f"{image.shape[0]}x{image.shape[1]}"] += 1
        else:
            images.append(np.asarray(image[np.newaxis] if grey else image.transpose(2, 0, 1), np.uint8))
            names.append(name)
        if progress is not None:
            progress(number + 1, len(paths))
    owners = [identity_of(name) if signed else name.split("/")[0] for name in names]
    identities, labels = np.unique(np.asarray(owners, dtype=str), return_inverse=True)
    counts = np.bincount(labels, minlength=len(identities)) if owners else np.zeros(0, np.int64)
    if alone := [str(identities[place]) for place in np.flatnonzero(counts == 1)]:
        skipped["ONE_IMAGE"] = alone
    if not (counts >= 2).any():
        others = ", ".join(f"{count} of {size}" for size, count in sizes.most_common(3))
        advice = (
            "prepare raw photos of faces by `sameface-train prepare`, and resize other images to this size"
            if sizes
            else "add images"
        )
        raise UnusableData(
            f"{root} holds {len(paths)} images, {len(images)} of them readable and {height}x{width} pixels"
            f"{f' ({others})' if others else ''}, and no identity with two of these; expected two or more of each "
            f"identity, <identity>/<image>: {advice}",
            metadata={"field": "data", "images": len(paths), "usable": len(images)},
        )
    signers = tuple(str(identity).rpartition("/")[0] for identity in identities) if signed else ()
    return Samples(
        np.stack(images),
        labels.astype(np.int64),
        tuple(map(str, identities)),
        tuple(names),
        groups=signers,
        made_from=signers,
        skipped=skipped,
    )


def image_paths(root: Path, skipped: list[Skipped] | None = None) -> list[Path]:
    """Return the images of ``root/<identity>/…``, in order. What else is there is added to ``skipped``."""
    passed_over = [] if skipped is None else skipped
    here = [entry for entry in entries(root) if not entry.name.startswith(".")]
    folders = [root / entry.name for entry in here if is_folder(entry)]
    loose = (entry for entry in here if not is_folder(entry) and not why_skipped(entry))
    passed_over += [Skipped(root / entry.name, "not in an identity's folder") for entry in loose]
    return [path for folder in folders for path in photos_within(folder, passed_over)]


def read_omniglot(path: Path, split: str) -> Samples:
    """Read ``omniglot28.npz``; an identity is ``<alphabet>/<character>``, its group the alphabet.

    Arrays: image [N, 28, 28] uint8, alphabet, character, drawer, split ("background" or "evaluation", as published by
    Lake, Salakhutdinov and Tenenbaum, Science 350, 2015). Strokes become 255 on 0.

    Raises:
        UnusableData: the file cannot be read, lacks an array, or holds nothing of the split.
    """
    check_exists(path, OMNIGLOT, field="data", folder=False)
    try:
        archive = np.load(path)
        missing = {"image", "alphabet", "character", "drawer", "split"} - set(archive.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UnusableData(f"{path} cannot be read as an npz archive: {error}", metadata={"field": "data"}) from None
    if missing:
        raise UnusableData(
            f"{path} lacks the arrays {', '.join(sorted(missing))}; expected those of omniglot28.npz",
            metadata={"field": "data"},
        )
    with archive:
        chosen = archive["split"] == split
        if not chosen.any():
            raise UnusableData(
                f"{path} holds nothing of split {split!r}; expected background or evaluation",
                metadata={"field": "split"},
            )
        images, alphabets, characters, drawers = (
            archive[name][chosen] for name in ("image", "alphabet", "character", "drawer")
        )
    owners = np.char.add(np.char.add(alphabets.astype(str), "/"), characters.astype(str))
    identities, labels = np.unique(owners, return_inverse=True)
    return Samples(
        images=strokes_white(images)[:, np.newaxis],
        labels=labels.astype(np.int64),
        identities=tuple(map(str, identities)),
        names=tuple(f"{owner}/{drawer}" for owner, drawer in zip(owners, drawers, strict=True)),
        groups=tuple(name.split("/")[0] for name in map(str, identities)),
        strokes="bright",
    )


def strokes_white(images: NDArray[Any]) -> Images:
    """Return drawings with strokes near 255 on a ground of 0. The rarer of dark and bright is the stroke."""
    images = np.asarray(images)
    if images.dtype == np.bool_:
        images = images.astype(np.uint8) * 255
    bright = images.mean() > 127
    return np.asarray(255 - images if bright else images, np.uint8)


def rotated(samples: Samples) -> Samples:
    """Return the samples with each quarter turn as identities of their own (Vinyals et al. 2016, section 4.1)."""
    return _variants(samples, {f"@{90 * turn}": np.rot90(samples.images, turn, axes=(2, 3)) for turn in range(4)})


def mirrored(samples: Samples) -> Samples:
    """Return the samples with their mirror images as identities of their own beside them."""
    return _variants(samples, {"": samples.images, "@mirrored": samples.images[:, :, :, ::-1]})


def _variants(samples: Samples, images: dict[str, Images]) -> Samples:
    """Return the samples once for each entry, with its images, as identities with its suffix."""
    count = len(samples.identities)
    return Samples(
        images=np.concatenate(list(images.values())),
        labels=np.concatenate([samples.labels + place * count for place in range(len(images))]),
        identities=tuple(name + suffix for suffix in images for name in samples.identities),
        names=tuple(name + suffix for suffix in images for name in samples.names),
        groups=tuple(name + suffix for suffix in images for name in samples.groups),
        made_from=samples.bases * len(images),
        strokes=samples.strokes,
        skipped=samples.skipped,
    )


def nesting_hint(samples: Samples) -> str:
    """Return advice for too few identities, if every image lies one level deeper than needed; else nothing."""
    inner = {name.rpartition("/")[0] for name in samples.names}
    if samples.groups or samples.made_from or not all(name.count("/") > 1 for name in samples.names):
        return ""
    return (
        f". The images lie in {len(inner)} sub-folders of these {len(samples.identities)}, for instance {min(inner)}: "
        "if each of them is an identity, put them together in one folder and give that"
    )


def held_out(bases: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Return a flag for each identity: whether it is kept out of training (a seeded draw of ``share`` of them).

    Identities with the same base are kept out together: the network must not learn a held-out drawing from its
    rotations, or a held-out signer from forgeries.
    """
    names, places = np.unique(np.asarray(bases, dtype=str), return_inverse=True)
    flags = np.zeros(len(names), dtype=np.bool_)
    flags[np.random.default_rng(seed).permutation(len(names))[: round(share * len(names))]] = True
    held: NDArray[np.bool_] = flags[places]
    return held
