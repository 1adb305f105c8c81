"""Cuts data of characters and of signatures into identities to train on, to measure thresholds on, and to report."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

DEVELOPMENT_EVERY = 4
"""Every fourth alphabet or signer, in order of names, is kept out of training to measure thresholds on."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image file of the held-out identities."""

    path: Path
    identity: str
    """Who or what it shows; of a forgery, whom it imitates."""
    forged: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing, with its data. No identity is in two of the three parts."""

    name: str
    task: str
    training: Path
    development: Path
    """``<identity>/<image>``, or ``<signer>/{genuine,forgery}/<image>``."""
    held_out: tuple[Image, ...]
    data: str
    """What the card says about the training data."""


def split_off(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names to train on, and those to measure thresholds on.

    >>> split_off(["d", "a", "c", "b", "e"])
    (['a', 'b', 'c', 'e'], ['d'])
    """
    ordered = sorted(set(names))
    development = ordered[DEVELOPMENT_EVERY - 1 :: DEVELOPMENT_EVERY]
    return [name for name in ordered if name not in development], development


def characters(omniglot: Path, folder: Path) -> Thing:
    """Write Omniglot's characters for this measurement: background alphabets train, evaluation alphabets are held out.

    Args:
        omniglot: ``omniglot28.npz``; see `sameface_train.samples.read_omniglot`.
        folder: where ``characters.npz``, ``development/`` and ``held_out/`` are written: dark strokes on white PNGs.
    """
    with np.load(omniglot) as archive:
        arrays = {name: archive[name] for name in archive.files}
    background = arrays["split"] == "background"
    _, development = split_off(arrays["alphabet"][background].tolist())
    # A name of its own, so that the training does not read them.
    part = np.where(np.isin(arrays["alphabet"], development) & background, "development", arrays["split"])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "characters.npz", **{**arrays, "split": part})
    written: dict[str, list[Image]] = {"development": [], "evaluation": []}
    for kind, images in written.items():
        for place in np.flatnonzero(part == kind):
            alphabet, character, drawer = (str(arrays[name][place]) for name in ("alphabet", "character", "drawer"))
            identity = f"{alphabet}-{character}"
            path = folder / kind / identity / f"{int(drawer):02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawing = arrays["image"][place]
            cv2.imwrite(str(path), 255 - drawing if drawing.mean() < 128 else drawing)
            images.append(Image(path, identity))
    return Thing(
        "characters",
        "drawings",
        folder / "characters.npz",
        folder / "development",
        tuple(written["evaluation"]),
        "Omniglot (MIT)",
    )


def signatures(signers: Path, others: Path, folder: Path) -> Thing:
    """Link signatures for this measurement: some of ``signers`` train, others are for thresholds.

    Args:
        signers: ``<signer>/{genuine,forgery}/<image>``.
        others: the same, of the signers that are held out.
        folder: where ``train/`` and ``development/`` are made.
    """
    for part, names in zip(("train", "development"), split_off(_folders(signers)), strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (folder / part / name).exists():
                os.symlink((signers / name).resolve(), folder / part / name)
    held_out = [
        Image(path, signer, kind == "forgery")
        for signer in _folders(others)
        for kind in ("genuine", "forgery")
        for path in sorted((others / signer / kind).glob("*"))
    ]
    return Thing(
        "signatures",
        "signatures",
        folder / "train",
        folder / "development",
        tuple(held_out),
        "SigComp 2009 and 2011, for research",
    )


def _folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())
