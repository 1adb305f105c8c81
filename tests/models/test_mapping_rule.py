"""The rule by which a map is a default: every combination of what its judges show, and maps that few people judge."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sameface.evaluation.compatibility import JUDGED
from sameface.evaluation.model_comparison import Verdict
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.map_cards import FOLDER, MapCard, map_folder, maps_of, read_map
from sameface.models.mapping import MadeMap
from sameface.models.mapping_faces import PeoplesFaces
from sameface.models.mapping_files import write_map
from sameface.models.mapping_rule import doubts, figures_lower, ruled, wins
from sameface.settings import model_repository_source
from tests.cli.conftest import Run

REPOSITORY = model_repository_source()
SHIPPED = sorted(folder.name for folder in (REPOSITORY / EMBEDDER / FOLDER).iterdir())


def shipped(name: str) -> MapCard:
    return read_map(REPOSITORY / EMBEDDER / FOLDER / name)[0]


def with_figures(
    card: MapCard, factors: tuple[float, ...], worse: tuple[str, ...] = (), unsupported: tuple[str, ...] = ()
) -> MapCard:
    """Multiply the FNMR at 1e-4, that at 1e-5 and the FNIR of the old version, and name what else the judges show."""
    found, old = card.evaluation, card.evaluation.old
    rates = [old.fnmr[1].fnmr_by_identity, old.fnmr[2].fnmr_by_identity, old.fnir]
    at_4, at_5, fnir = (
        rate.model_copy(update={"value": rate.value * factor}) for rate, factor in zip(rates, factors, strict=True)
    )
    points = [
        point.model_copy(update={"fnmr_by_identity": rate})
        for point, rate in zip(old.fnmr[1:], (at_4, at_5), strict=True)
    ]
    mapped = old.model_copy(update={"fnmr": (old.fnmr[0], *points), "fnir": fnir})
    against = dict.fromkeys(found.against_old, str(Verdict.NO_DIFFERENCE)) | dict.fromkeys(worse, str(Verdict.WORSE))
    changed = {"mapped": mapped, "against_old": against, "unsupported": unsupported}
    return card.model_copy(update={"evaluation": found.model_copy(update=changed)})


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_map_wins(name: str) -> None:
    card = shipped(name)
    assert wins(card.evaluation), f"{name} does not win over its old version; remove the folder"
    assert not doubts(card.evaluation)
    assert {1e-4, 1e-5} <= {point.fmr for point in card.operating_points if point.supported}


def test_a_map_wins_if_most_figures_are_lower_and_none_is_shown_to_be_worse() -> None:
    card = shipped("1-3")

    def judged(*factors: float, worse: str = "") -> bool:
        return wins(with_figures(card, factors, (worse,) if worse else ()).evaluation)

    assert [judged(*one) for one in ((0.9, 0.9, 0.9), (0.9, 2.0, 0.9), (2.0, 0.9, 0.9), (0.9, 0.9, 2.0))] == [True] * 4
    assert [judged(*one) for one in ((1, 1, 1), (0.9, 1, 1), (0.9, 2, 2), (2, 0.9, 1), (1, 2, 0.9))] == [False] * 5
    assert not any(judged(0.9, 0.9, 0.9, worse=endpoint) for endpoint in JUDGED)
    assert judged(0.9, 0.9, 0.9, worse="rank 1")


def test_no_map_that_is_worse_or_not_supported_is_a_default_unless_that_is_accepted() -> None:
    card = shipped("1-3")
    subsets = [
        tuple(name for name, taken in zip(JUDGED, some, strict=True) if taken) for some in product((0, 1), repeat=3)
    ]
    defaults = 0
    for factors, worse, unsupported in product(product((0.9, 1.0, 2.0), repeat=3), subsets, subsets):
        one = with_figures(card, factors, worse, unsupported)
        told = doubts(one.evaluation)
        found = ruled(one)
        assert found.is_default == (wins(one.evaluation) and not unsupported) == (not told)
        assert found.doubts == told
        assert all(any(name in text for text in told) for name in (*worse, *unsupported))
        assert 2 * figures_lower(one.evaluation) > len(JUDGED) or any("2 are needed" in text for text in told)
        accepted = ruled(one, accept_worse=True)
        assert (accepted.is_default, accepted.doubts) == (True, told)
        defaults += found.is_default
    assert defaults == 1 + 3 * 2  # all three figures are lower, or two of them


def test_figures_that_the_rule_does_not_name_need_no_support() -> None:
    assert ruled(with_figures(shipped("1-3"), (0.9, 0.9, 0.9), ("rank 1",), ("FNMR at FMR 1e-3",))).is_default


def test_a_map_that_few_people_judge_is_no_default(made: MadeMap, unmapped: Path) -> None:
    # By so few people it has no error, like the old version: nothing is shown to be worse.
    assert not made.found.worse
    assert {*made.card.evaluation.unsupported} >= {*JUDGED}
    assert "10 photos of 5 people are too few" in made.card.doubts[-1]
    assert not made.card.operating_points
    _, card = write_map(unmapped, made)
    assert not card.is_default
    assert maps_of(unmapped, read_cards(unmapped)) == {}


def test_the_command_says_why_migrations_do_not_take_a_map(
    sameface: Run, faces: PeoplesFaces, kept: Path, unmapped: Path, tmp_path: Path
) -> None:
    for image, name in zip(faces.images, faces.names, strict=True):
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(tmp_path / "people" / name)
    for version in ("1", "4"):
        source = REPOSITORY / EMBEDDER / version
        for path in source.glob("*.onnx"):
            (unmapped / EMBEDDER / version / path.name).symlink_to(path)

    def fitted(*more: str) -> tuple[int, str, bool]:
        arguments = (str(tmp_path / "people"), "--data", "golden faces", "--copies", "0", "--mixtures", "0")
        more = ("--form", "ridge", "--kept", str(kept), *more)
        ended = sameface("model", "map", "1", "4", *arguments, *more, SAMEFACE_MODEL_REPOSITORY=str(unmapped))
        return ended.returncode, ended.stderr, read_map(map_folder(unmapped, EMBEDDER, 1, 4))[0].is_default

    code, told, is_default = fitted()
    assert len([*kept.iterdir()]) == 1, "the faces were embedded again"
    assert (code, is_default) == (3, False), told
    assert "are too few to support FNMR at FMR 1e-4, FNMR at FMR 1e-5, FNIR at FPIR 1e-2" in told
    assert "migrations do not take the map" in told
    code, told, is_default = fitted("--accept-worse", "--replace")
    assert (code, is_default) == (0, True), told
    assert "are too few to support" in told
