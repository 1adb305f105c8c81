"""Skilled forgeries are apart however they are labelled: never mated, never enrolled, and counted by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.evaluation.cross_comparison import compare_all_samples
from sameface.evaluation.dataset import read_labelled, read_photos
from sameface.evaluation.forgeries import with_forgeries
from sameface.evaluation.identification import search_samples
from sameface.evaluation.leakage import find_leakage
from sameface.evaluation.model_comparison import compare_models
from sameface.evaluation.samples import Failure, Samples, read_embeddings, separate_forgeries, write_embeddings
from sameface.evaluation.skilled_forgeries import best_forgeries, compare_forgeries
from sameface.evaluation.verification import verify
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run

SIGNERS = 12


def signatures(seed: int = 0, genuine: int = 4, forged: int = 3, *, names: str = "{who}/{kind}/{place}.png") -> Samples:
    """Return signatures in one list, forgeries between the signer and everybody else; named by ``names``."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(SIGNERS, 16))
    rows, identity, sample = [], [], []
    for who in range(SIGNERS):
        for place in range(genuine + forged):
            is_forgery = place >= genuine
            rows.append(centres[who] + (1.2 if is_forgery else 0.4) * rng.normal(size=16))
            identity.append(f"s{who:02}")
            kind = "forgery" if is_forgery else "genuine"
            sample.append(names.format(who=identity[-1], kind=kind, place=place))
    vectors = np.array(rows)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Samples(unit, tuple(identity), tuple(sample), model="made up")


def labels_of(samples: Samples) -> list[bool]:
    return ["forgery" in name for name in samples.sample]


@pytest.mark.parametrize("labelled", ["by folder", "by array", "by identity", "by regular expression"])
def test_each_way_of_labelling_keeps_the_same_forgeries_apart(labelled: str, tmp_path: Path) -> None:
    path, pattern = tmp_path / "signatures.npz", None
    written = signatures()
    is_forgery = labels_of(written)
    if labelled == "by folder":
        write_embeddings(path, written)
    elif labelled == "by identity":
        kinds = [name.rsplit("/", 1)[0] for name in written.sample]
        write_embeddings(path, replace(written, identity=tuple(kinds)))
    elif labelled == "by array":
        names = [f"{number:03}.png" for number in range(len(written.sample))]
        np.savez(path, vectors=written.vectors, identity=written.identity, sample=names, forgery=is_forgery)
    else:
        write_embeddings(path, signatures(names="{who}/{kind}_{place}.png"))
        assert read_embeddings(path).forgeries is None
        pattern = "/forgery_"
    read = read_embeddings(path, pattern)
    assert read.forgeries is not None
    np.testing.assert_array_equal(read.vectors, written.vectors[~np.array(is_forgery)])
    np.testing.assert_array_equal(read.forgeries.vectors, written.vectors[is_forgery])
    assert read.identity == tuple(name for name, forged in zip(written.identity, is_forgery, strict=True) if not forged)
    assert len(set(read.forgeries.identity)) == SIGNERS
    # What was read can be written, and is then the same.
    write_embeddings(tmp_path / "again.npz", read)
    again = read_embeddings(tmp_path / "again.npz")
    assert again.forgeries is not None
    assert (again.sample, again.forgeries.sample) == (read.sample, read.forgeries.sample)
    np.testing.assert_array_equal(again.forgeries.vectors, read.forgeries.vectors)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), forged=st.integers(0, 3))
def test_what_is_measured_on_genuine_samples_does_not_know_of_forgeries(seed: int, forged: int) -> None:
    together = signatures(seed, forged=forged)
    alone = separate_forgeries(together)
    without = signatures(seed, forged=3)
    kept = [place for place, is_forgery in enumerate(labels_of(together)) if not is_forgery]
    assert alone.sample == tuple(together.sample[place] for place in kept)
    compared = compare_all_samples(alone)
    assert compared.mated.size == SIGNERS * 6
    assert compared.non_mated == (SIGNERS * 4) ** 2 // 2 - SIGNERS * 8
    searched = search_samples(alone, splits=2, seed=seed)
    assert searched.mated.size + searched.non_mated.size + 2 * searched.gallery_size == 2 * SIGNERS * 4
    vectors, signers, is_forgery = with_forgeries(alone)
    assert (len(vectors), len(signers), int(is_forgery.sum())) == (len(together.sample),) * 2 + (SIGNERS * forged,)
    assert (compare_forgeries(alone, compared) is None) == (forged == 0)
    assert separate_forgeries(without).forgeries is not None


def test_rates_of_forgeries_are_those_of_plain_loops() -> None:
    samples = separate_forgeries(signatures(1))
    # One signer has more forgeries, one has none, and one imitates nobody here.
    forged = samples.forgeries
    assert forged is not None
    owners = list(forged.identity)
    owners[3:6] = ["s00", "s00", "nobody"]
    samples = replace(samples, forgeries=replace(forged, identity=tuple(owners)))
    found = verify(samples, (0.1, 0.01), replicates=50)
    assert found.skilled is not None
    scores: dict[str, list[float]] = {}
    for owner, probe in zip(owners, forged.vectors, strict=True):
        for who, reference in zip(samples.identity, samples.vectors, strict=True):
            if who == owner:
                scores.setdefault(owner, []).append(float(probe @ reference))
    assert (found.skilled.comparison.forgeries, found.skilled.identities) == (SIGNERS * 3 - 1, SIGNERS - 1)
    for point, rate in zip(found.points, found.skilled.fmr, strict=True):
        shares = [np.mean([score >= point.threshold for score in own]) for own in scores.values()]
        assert rate.value == pytest.approx(np.mean(shares))
        assert rate.interval.low <= rate.value <= rate.interval.high
    best = best_forgeries(samples, found.skilled.comparison)
    assert [score for *_, score in best] == pytest.approx(sorted((max(own) for own in scores.values()), reverse=True))
    for forgery, genuine, score in best:
        probe, reference = forged.sample.index(forgery), samples.sample.index(genuine)
        assert owners[probe] == samples.identity[reference]
        assert float(forged.vectors[probe] @ samples.vectors[reference]) == pytest.approx(score, abs=1e-6)
    # The same thresholds as without forgeries.
    plain = verify(replace(samples, forgeries=None), (0.1, 0.01), replicates=50)
    assert (plain.points, plain.skilled) == (found.points, None)


def test_the_interval_of_forgeries_covers_the_rate_of_other_signers() -> None:
    def rate(seed: int, replicates: int = 60) -> Any:
        found = verify(separate_forgeries(signatures(seed)), (0.02,), replicates=replicates)
        assert found.skilled is not None
        return found.skilled.fmr[0]

    truth = np.mean([rate(seed, 1).value for seed in range(100, 140)])
    intervals = [rate(seed).interval for seed in range(20)]
    assert sum(one.low <= truth <= one.high for one in intervals) >= 17


def test_two_models_are_compared_on_the_same_forgeries() -> None:
    first = separate_forgeries(signatures(2))
    found = compare_models(first, first, replicates=20, splits=2)
    assert found.endpoints[-1].name == "EER, skilled forgeries"
    assert found.endpoints[-1].difference.value == 0.0
    with pytest.raises(InvalidArgument, match="forgeries of 's00', or of others, in only one"):
        compare_models(first, replace(first, forgeries=None), replicates=20, splits=2)


def test_a_folder_of_signers_is_read(tmp_path: Path) -> None:
    for name in (
        "ada/genuine/1.png",
        "ada/Genuine/2.png",
        "ada/forgery/3.png",
        "bob/4.png",
        "bob/forgeries/5.png",
        "bob/other/6.png",
        "forgery/7.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    found = read_labelled(tmp_path)
    named = {path.relative_to(tmp_path).as_posix(): who for path, who in found.photos.items()}
    assert named == {
        "ada/Genuine/2.png": "ada",
        "ada/genuine/1.png": "ada",
        "bob/4.png": "bob",
        "forgery/7.png": "forgery",
    }
    assert {path.name: who for path, who in found.forgeries.items()} == {"3.png": "ada", "5.png": "bob"}
    assert [one.path.name for one in found.skipped] == ["other"]
    # A forgery that was trained on is found, and the name of whom it imitates.
    (tmp_path / "train" / "ada" / "forgery").mkdir(parents=True)
    (tmp_path / "train" / "ada" / "forgery" / "x.png").write_bytes(b"ada/forgery/3.png")
    train = read_labelled_all(tmp_path / "train")
    leaked = find_leakage(train, {**found.photos, **found.forgeries})
    assert [(one.name, other.name) for one, other in leaked.identical_files] == [("x.png", "3.png")]
    assert leaked.shared_identities == ("ada",)


def read_labelled_all(root: Path) -> dict[Path, str]:
    (root / "ada" / "y.png").write_bytes(b"something else")
    found = read_labelled(root)
    return {**found.photos, **found.forgeries}


def test_kinds_before_signers_are_refused(tmp_path: Path) -> None:
    for name in ("genuine/1.png", "forgery/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidArgument, match="none of signers; expected <signer>/genuine"):
        read_photos(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"), [([True], r"expected \[84\] of bool"), (["forgery"] * 84, "expected"), ([2] * 84, "expected")]
)
def test_labels_of_another_shape_are_refused(flags: list[Any], message: str, tmp_path: Path) -> None:
    made = signatures()
    path = tmp_path / "bad.npz"
    np.savez(path, vectors=made.vectors, identity=made.identity, sample=made.sample, forgery=flags)
    with pytest.raises(InvalidArgument, match=message):
        read_embeddings(path)


def test_forgeries_without_an_embedding_are_apart_too(tmp_path: Path) -> None:
    failures = (
        Failure("s00/genuine/x.png", "s00", "FACE_NOT_FOUND"),
        Failure("s00/forgery/y.png", "s00", "FACE_NOT_FOUND"),
    )
    write_embeddings(tmp_path / "few.npz", replace(signatures(), failures=failures))
    read = read_embeddings(tmp_path / "few.npz")
    assert read.forgeries is not None
    assert (read.failures, read.forgeries.failures) == (failures[:1], failures[1:])
    # Mated with nothing: only the genuine one adds false non-matches.
    assert int((compare_all_samples(read).mated < -1).sum()) == 4


def test_every_command_on_a_file_says_that_forgeries_are_apart(sameface: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "signatures.npz")
    write_embeddings(Path(path), signatures())
    few = ["--replicates", "100"]
    commands: dict[str, list[str]] = {
        "verification": few,
        "identification": [*few, "--splits", "2"],
        "compare": ["--embeddings", path, *few],
        "few-shot": ["--ways", "5", "--episodes", "10"],
        "forgeries": [*few, "--templates", "2", "--html", str(tmp_path / "page.html")],
    }
    for command, options in commands.items():
        told = sameface("evaluate", command, "--embeddings", path, *options)
        assert told.returncode == 0, told.stderr
        assert "36, apart from these samples: never mated, never enrolled" in told.stdout, command
    assert "skilled forgeries (36)" in (tmp_path / "page.html").read_text()
    result = sameface("evaluate", "verification", "--embeddings", path, *few, "--json")
    record = json.loads(result.stdout)
    assert record["mated"] == SIGNERS * 6
    assert record["skilled_forgeries"]["comparisons"] == SIGNERS * 12
    assert record["conditions"]["skilled_forgeries"] == 36
