"""The fit of a template map: what it finds exactly, whom it is judged by, and which form it chooses."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sameface.models.mapping_fit import (
    Candidate,
    Fitted,
    Form,
    PhotoEmbeddings,
    choose,
    cosines,
    fit,
    held_out,
    parts_of,
)
from sameface_qdrant.errors import NotEnoughData

Rows = NDArray[np.float64]


def unit(rows: Rows) -> Rows:
    found: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def photos(people: int = 40, each: int = 5, size: int = 12, seed: int = 0) -> tuple[Rows, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(people), each)
    rows = unit(rng.normal(size=(people, size))[owner] + 0.3 * rng.normal(size=(people * each, size)) + 0.4)
    return rows, np.stack([owner, owner], axis=1)


def rotation(size: int, seed: int = 1) -> Rows:
    found: Rows = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return found


def test_a_mean_that_is_subtracted_before_the_norm_is_found_exactly() -> None:
    old, people = photos()
    given = PhotoEmbeddings(old, unit(old - old.mean(axis=0)), people)
    fitted = fit(given, Candidate(Form.RIDGE, 1e-2))
    others, _ = photos(seed=7)
    exact = unit(others - old.mean(axis=0))
    assert np.einsum("ij,ij->i", fitted.applied(others), exact).min() > 0.9999
    # Directions alone would not do: a plain least squares to unit vectors is an order of magnitude further away.
    plain = np.linalg.lstsq(np.hstack([old, np.ones((len(old), 1))]), given.new, rcond=None)[0]
    by_plain = unit(np.hstack([others, np.ones((len(others), 1))]) @ plain)
    assert np.einsum("ij,ij->i", by_plain, exact).min() < 0.9995


@pytest.mark.parametrize("form", [Form.ORTHOGONAL, Form.RIDGE])
def test_a_rotated_space_is_found(form: Form) -> None:
    old, people = photos()
    turn = rotation(12)
    fitted = fit(PhotoEmbeddings(old, old @ turn.T, people), Candidate(form, 1e-2))
    assert np.abs(fitted.applied(old) - old @ turn.T).max() < 1e-3


def test_spaces_of_other_sizes_are_mapped() -> None:
    old, people = photos()
    project = np.random.default_rng(3).normal(size=(7, 12))
    given = PhotoEmbeddings(old, unit(old @ project.T), people)
    best = choose(given)[0]
    assert best.cosine > 0.999
    assert fit(given, best).applied(old).shape == (len(old), 7)


def test_everybody_is_mapped_by_a_fit_to_others() -> None:
    old, people = photos(people=10)
    new = unit(old + 0.3 * np.random.default_rng(5).normal(size=old.shape))
    mixed = np.array([[0, 1], [2, 3]])
    given = PhotoEmbeddings(
        np.concatenate([old, unit(old[:2] + old[10:12])]),
        np.concatenate([new, unit(new[:2] + new[10:12])]),
        np.concatenate([people, mixed]),
    )
    candidate, part = Candidate(Form.RIDGE, 0.1), parts_of(given, 5)
    mapped = held_out(given, candidate, part)
    for person in range(10):
        own = part[np.flatnonzero(given.people[:, 0] == person)[0], 0]
        # Neither their photos nor mixtures of anybody in their part are fitted to.
        others = given.rows(~(part == own).any(axis=1))
        rows = np.flatnonzero((given.people == person).all(axis=1))
        assert np.allclose(mapped[rows], fit(others, candidate).applied(given.old[rows]))
    assert not mapped[-2:].any()
    assert len(cosines(mapped, given)) == len(old)
    # What a person's photos are by the new version does not change where they are mapped to.
    spoilt = given.new.copy()
    spoilt[:5] = unit(np.random.default_rng(6).normal(size=(5, 12)))
    assert np.allclose(held_out(replace(given, new=spoilt), candidate, part)[:5], mapped[:5])


def test_the_chosen_form_is_the_best_for_people_held_out() -> None:
    old, people = photos(people=60, each=6)
    bent = unit(old @ rotation(12).T + 1.5 * np.abs(old @ rotation(12, 2).T))
    tried = choose(PhotoEmbeddings(old, bent, people))
    assert tried[0].form is Form.NETWORK
    straight = choose(PhotoEmbeddings(old, unit(old - 0.1), people))
    assert straight[0].form is not Form.NETWORK
    assert len(straight) == 9
    for candidates in (tried, straight):
        assert [one.cosine for one in candidates] == pytest.approx(
            sorted((one.cosine for one in candidates), reverse=True), abs=1e-4
        )


def test_too_few_people_are_refused() -> None:
    old, people = photos(people=4)
    with pytest.raises(NotEnoughData, match="add people"):
        choose(PhotoEmbeddings(old, old, people))


def test_a_network_is_computed_as_its_numbers_say() -> None:
    rng = np.random.default_rng(8)
    fitted = Fitted(*(rng.normal(size=shape) for shape in ((2, 3), (2,), (4, 3), (4,), (2, 4))))
    row = rng.normal(size=3)
    assert fitted.inner is not None and fitted.inner_bias is not None and fitted.out is not None  # noqa: PT018
    hidden = [max(0.0, float(fitted.inner[unit] @ row + fitted.inner_bias[unit])) for unit in range(4)]
    expected = fitted.weight @ row + fitted.bias + sum(fitted.out[:, unit] * hidden[unit] for unit in range(4))
    assert fitted.applied(row[None])[0] == pytest.approx(expected / np.linalg.norm(expected))
