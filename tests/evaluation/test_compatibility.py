"""Stored templates of one version with probes of another: every figure against a brute force over pairs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface.evaluation.compatibility import Combination, in_order_of, measure_compatibility
from sameface.evaluation.identification import search_samples
from sameface.evaluation.model_figures import measure_model
from sameface.evaluation.samples import Samples, write_embeddings
from sameface_qdrant import Contract
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.template_map import TemplateMap
from tests.cli.conftest import Run
from tests.evaluation.conftest import far_apart

NAMES = [f"p{number:02}" for number in range(40) for _ in range(3)]
OLD = Contract("face_embedder", version=1, sha256="a" * 64, dimension=32, preprocessing="none")
NEW = Contract("face_embedder", version=2, sha256="b" * 64, dimension=32, preprocessing="none")


def named(samples: Samples, contract: Contract) -> Samples:
    return replace(samples, model=f"{contract.model} version {contract.version}, sha256 {contract.sha256}")


def turned(samples: Samples, seed: int = 4) -> tuple[Samples, NDArray[np.float64]]:
    """Return the samples as a version with a rotated space gives them, and the rotation."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(32, 32)))[0]
    return replace(samples, vectors=(samples.vectors @ rotation.T).astype(np.float32)), rotation


@pytest.fixture(scope="module")
def old() -> Samples:
    return named(far_apart(NAMES, noise=1.1), OLD)


@pytest.fixture(scope="module")
def new(old: Samples) -> Samples:
    """The same people with less noise, in a rotated space."""
    return named(turned(far_apart(NAMES, noise=0.9))[0], NEW)


def brute(templates: Samples, probes: Samples, fmr: float) -> float:
    """Return the FNMR at an FMR, where every identity counts the same; the earlier sample is the template."""
    mated: dict[str, list[float]] = {}
    non_mated = []
    for first in range(len(templates.sample)):
        for second in range(first + 1, len(probes.sample)):
            score = float(templates.vectors[first] @ probes.vectors[second])
            if templates.identity[first] == probes.identity[second]:
                mated.setdefault(templates.identity[first], []).append(score)
            else:
                non_mated.append(score)
    allowed = int(fmr * len(non_mated))
    threshold = sorted(non_mated, reverse=True)[allowed]
    return float(np.mean([np.mean([score <= threshold for score in scores]) for scores in mated.values()]))


def test_every_combination_is_that_of_a_brute_force(old: Samples, new: Samples) -> None:
    mapped = replace(old, vectors=turned(old)[0].vectors)
    found = measure_compatibility(old, new, mapped.vectors, fmrs=(0.05, 0.01), replicates=100, splits=4)
    sides = {
        Combination.OLD: (old, old),
        Combination.UNMAPPED: (old, new),
        Combination.MAPPED: (mapped, new),
        Combination.NEW: (new, new),
    }
    assert set(found.figures) == set(sides)
    for name, (templates, probes) in sides.items():
        for figure, fmr in zip(found.figures[name].figures, (0.05, 0.01), strict=False):
            assert figure.value.value == pytest.approx(brute(templates, probes, fmr), abs=1e-9), (name, fmr)
    rates = {name: one.figures[0].value.value for name, one in found.figures.items()}
    assert rates[Combination.NEW] < rates[Combination.OLD] < rates[Combination.UNMAPPED]


def test_searches_compare_probes_with_templates(old: Samples, new: Samples) -> None:
    searches = search_samples(new, splits=3, templates=old.vectors)
    templates, scores = old.vectors.astype(np.float64), new.vectors.astype(np.float64)
    possible = {round(float(one), 5) for one in (scores @ templates.T).ravel()}
    assert {round(float(one), 5) for one in searches.mated} <= possible
    assert not {round(float(one), 5) for one in searches.mated} <= {
        round(float(one), 5) for one in (scores @ scores.T).ravel()
    }


def test_native_templates_instead_of_mapped_ones_give_the_new_version_alone(old: Samples, new: Samples) -> None:
    found = measure_compatibility(old, new, new.vectors, fmrs=(0.05,), replicates=100, splits=4)
    assert found.cosine is not None
    assert found.cosine.value == pytest.approx(1.0, abs=1e-6)
    alone = measure_model(new, fmrs=(0.05,), replicates=100, splits=4)
    for combination in (Combination.MAPPED, Combination.NEW):
        for one, other in zip(found.figures[combination].figures, alone.figures, strict=True):
            assert one.value == other.value
    assert not found.worse


def test_the_order_of_the_samples_does_not_matter(old: Samples, new: Samples) -> None:
    order = np.random.default_rng(1).permutation(len(old.sample))
    mixed = replace(
        old,
        vectors=old.vectors[order],
        identity=tuple(old.identity[place] for place in order),
        sample=tuple(old.sample[place] for place in order),
    )
    assert np.array_equal(in_order_of(mixed, new).vectors, old.vectors)


def test_a_map_that_makes_decisions_worse_is_told(old: Samples, new: Samples) -> None:
    noise = np.random.default_rng(2).normal(size=new.vectors.shape)
    spoilt = new.vectors + 0.35 * noise
    spoilt = (spoilt / np.linalg.norm(spoilt, axis=1, keepdims=True)).astype(np.float32)
    found = measure_compatibility(old, new, spoilt, fmrs=(1e-4,), replicates=100, splits=4)
    assert "FNMR at FMR 1e-4" in [one.name for one in found.worse]


def test_versions_of_other_sizes_have_no_unmapped_combination(old: Samples, new: Samples) -> None:
    short = old.vectors[:, :16] / np.linalg.norm(old.vectors[:, :16], axis=1, keepdims=True)
    found = measure_compatibility(replace(old, vectors=short), new, fmrs=(0.05,), replicates=100, splits=4)
    assert set(found.figures) == {Combination.OLD, Combination.NEW}
    assert found.cosine is None


def test_other_samples_are_refused(old: Samples, new: Samples) -> None:
    less = replace(new, vectors=new.vectors[1:], identity=new.identity[1:], sample=new.sample[1:])
    with pytest.raises(InvalidArgument, match="expected the same samples"):
        measure_compatibility(old, less)
    with pytest.raises(InvalidArgument, match="mapped templates have shape"):
        measure_compatibility(old, new, new.vectors[1:])


def test_the_command_measures_writes_and_refuses(sameface: Run, tmp_path: Path, old: Samples, new: Samples) -> None:
    files = []
    for name, samples in (("old", old), ("new", new)):
        path = tmp_path / f"{name}.npz"
        write_embeddings(path, samples)
        files += ["--embeddings", str(path)]
    rotation = turned(old)[1].astype(np.float32)
    fitting = tmp_path / "map.npz"
    fitting.write_bytes(TemplateMap(OLD, NEW, rotation, np.zeros(32, np.float32)).to_bytes())
    page, picture = tmp_path / "page.html", tmp_path / "det.png"
    command = ["evaluate", "compatibility", "1", "2", *files, "--fmr", "0.05", "--replicates", "100"]
    done = sameface(*command, "--map", str(fitting), "--json", "--html", str(page), "--png", str(picture))
    record = json.loads(done.stdout)
    assert set(record["combinations"]) == {"old", "unmapped", "mapped", "new"}
    mapped = record["combinations"]["mapped"]["FNMR at FMR 5e-2"]
    expected = brute(replace(old, vectors=turned(old)[0].vectors), new, 0.05)
    assert mapped["value"] == pytest.approx(expected, abs=0.01)
    assert mapped["low"] <= mapped["value"] <= mapped["high"]
    assert "mapped templates, new probes" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")
    other = tmp_path / "other.npz"
    other.write_bytes(TemplateMap(NEW, OLD, rotation, np.zeros(32, np.float32)).to_bytes())
    refused = sameface(*command, "--map", str(other))
    assert refused.returncode != 0
    assert "sameface model map" in refused.stderr
