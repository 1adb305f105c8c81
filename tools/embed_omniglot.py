"""Makes tests/plugin/data/omniglot.npz: embeddings of handwritten characters, to try the plugin on.

The drawings are from Omniglot (Lake, Salakhutdinov and Tenenbaum, Science 350, 2015; MIT licence): 20 people drew each
character of 50 alphabets once. An embedding is a histogram of oriented gradients (Dalal and Triggs, CVPR 2005) of the
drawing, projected by linear discriminant analysis. The projection is learnt only on the 30 background alphabets. The
file holds drawings of evaluation alphabets, which the projection has never seen.

    python tools/embed_omniglot.py <folder of Omniglot>

The folder holds `omniglot28.npz` (arrays image [N, 28, 28] uint8, alphabet, character, drawer, split) and `all_runs`
(the 20 official runs of 20-way one-shot classification), whose error the script prints.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

TARGET = Path(__file__).resolve().parents[1] / "tests" / "plugin" / "data" / "omniglot.npz"
SIDE, CELL, DIRECTIONS, DIMENSION = 32, 4, 8, 128
# Six of the 20 evaluation alphabets, 150 characters, by twelve people each, so that the file has half a megabyte.
ALPHABETS = ("Angelic", "Avesta", "Keble", "Mongolian", "Syriac_(Serto)", "Tengwar")
DRAWERS = 12
SHRINKAGE = 0.1


def drawing(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a drawing [H, W] as white strokes on black [32, 32], the strokes' box centred and as large as fits."""
    strokes = image > 127 if image.mean() < 127 else image < 128
    rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
    box = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255
    scale = (SIDE - 6) / max(box.shape)
    height, width = (max(1, round(length * scale)) for length in box.shape)
    small = cv2.resize(box, (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    canvas[top : top + height, left : left + width] = small
    return cv2.GaussianBlur(canvas, (3, 3), 0)


def gradients(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the histograms of oriented gradients of one drawing: 8 directions in 8x8 cells, normed in 2x2 blocks."""
    picture = drawing(image).astype(np.float32)
    down, right = np.gradient(picture)
    # A stroke has no front and back, so directions count modulo 180 degrees. The two nearest bins share each one.
    place = (np.arctan2(down, right) % np.pi) / np.pi * DIRECTIONS
    strength = np.hypot(down, right)
    lower = np.floor(place).astype(int) % DIRECTIONS
    layers = np.zeros((SIDE, SIDE, DIRECTIONS), np.float32)
    rows, columns = np.indices((SIDE, SIDE))
    layers[rows, columns, lower] = strength * (1 - place % 1)
    layers[rows, columns, (lower + 1) % DIRECTIONS] += strength * (place % 1)
    count = SIDE // CELL
    cells = layers.reshape(count, CELL, count, CELL, DIRECTIONS).sum(axis=(1, 3))
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    normed = blocks / np.sqrt((blocks**2).sum(axis=2, keepdims=True) + 1.0)
    return np.sqrt(normed).ravel()


def embed(model: LinearDiscriminantAnalysis, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors [N, 128]."""
    projected = model.transform(features)
    return (projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float32)


def official_error(model: LinearDiscriminantAnalysis, runs: Path) -> float:
    """Return the share of wrong answers in the 20 official runs of 20-way one-shot classification (400 in all)."""
    wrong = 0
    for run in sorted(runs.glob("run*")):
        answers = dict(line.split() for line in (run / "class_labels.txt").read_text().splitlines())
        probes, references = sorted(answers), sorted(set(answers.values()))
        probe_vectors, reference_vectors = (
            embed(model, np.stack([gradients(cv2.imread(str(runs / name), cv2.IMREAD_GRAYSCALE)) for name in names]))
            for names in (probes, references)
        )
        nearest = (probe_vectors @ reference_vectors.T).argmax(axis=1)
        wrong += sum(references[place] != answers[probe] for place, probe in zip(nearest, probes, strict=True))
    return wrong / 400


def main() -> None:
    """Learn the projection, print its error, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    omniglot = np.load(folder / "omniglot28.npz")
    names = np.char.add(np.char.add(omniglot["alphabet"], "/"), omniglot["character"])
    background = omniglot["split"] == "background"
    learnt_on = np.stack([gradients(image) for image in omniglot["image"][background]])
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE, n_components=DIMENSION)
    model.fit(learnt_on, names[background])
    print(f"official 20-way one-shot runs: {official_error(model, folder / 'all_runs'):.2%} wrong")
    chosen = np.isin(omniglot["alphabet"], ALPHABETS) & (omniglot["drawer"] <= DRAWERS)
    assert not (chosen & background).any()
    vectors = embed(model, np.stack([gradients(image) for image in omniglot["image"][chosen]]))
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        TARGET,
        vector=vectors.astype(np.float16),
        alphabet=omniglot["alphabet"][chosen],
        character=omniglot["character"][chosen],
        drawer=omniglot["drawer"][chosen],
    )
    print(f"{TARGET}: {len(vectors)} vectors, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
