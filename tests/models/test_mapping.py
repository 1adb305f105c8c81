"""Maps of the model repository: the shipped ones, one that is fitted to real faces, and those that are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sameface.errors import ModelCheckFailed
from sameface.evaluation.compatibility import JUDGED, Combination
from sameface.evaluation.model_comparison import Verdict
from sameface.inference.cards import EMBEDDER, ModelCard, read_all_cards, read_cards
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.map_cards import CARD, FOLDER, MAP, MapEvaluation, maps_of, read_map
from sameface.inference.onnx import open_session
from sameface.models.mapping import HELD_OUT, MadeMap, make_map, write_map
from sameface.models.mapping_faces import Amounts, PeoplesFaces, read_people
from sameface.models.mapping_fit import Form
from sameface.models.mapping_rule import wins
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant.errors import InvalidArgument, MapMismatch, NotEnoughData

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)
SHIPPED = sorted(folder.name for folder in (REPOSITORY / EMBEDDER / FOLDER).iterdir())


def shifted(image: np.ndarray, columns: int) -> np.ndarray:
    return np.ascontiguousarray(np.roll(image, columns, axis=2))


@pytest.fixture(scope="module")
def faces() -> PeoplesFaces:
    """Five people with two photos each; the sixth golden face is left for a test."""
    golden = read_golden_faces(REPOSITORY / EMBEDDER / "golden_set.npz").images[:5]
    images = [shifted(image, columns) for image in golden for columns in (0, 2)]
    names = [f"p{person}/{columns}.png" for person in range(5) for columns in (0, 2)]
    return PeoplesFaces(tuple(images), tuple(names))


@pytest.fixture(scope="module")
def made(faces: PeoplesFaces) -> MadeMap:
    return make_map(
        REPOSITORY, cache_folder(), model=EMBEDDER, old=1, new=4, faces=faces, data="golden faces",
        amounts=Amounts(copies=0, mixtures=0), forms=(Form.RIDGE,),
    )  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of cards alone, without maps."""
    copied = tmp_path / "models"
    shutil.copytree(REPOSITORY, copied, ignore=shutil.ignore_patterns("*.onnx", FOLDER))
    return copied


def test_every_shipped_map_is_served_and_decides_no_worse_than_the_old_version() -> None:
    served = maps_of(REPOSITORY, CARDS)
    assert (1, 3) in served
    for name in SHIPPED:
        card, found = read_map(REPOSITORY / EMBEDDER / FOLDER / name)
        versions = (card.old.version, card.new.version)
        assert served.get(versions) == (found if card.is_default else None)
        verdicts = {card.evaluation.against_old[endpoint] for endpoint in JUDGED}
        assert (str(Verdict.WORSE) not in verdicts) == card.is_default
        assert [point.threshold for point in found.operating_points] == [
            point.threshold for point in card.operating_points
        ]
        research_only = any(one.licence.restriction for one in CARDS if one.version in versions and one.embeds_faces)
        assert bool(card.licence.restriction) == research_only


def evaluation_of(name: str) -> MapEvaluation:
    return read_map(REPOSITORY / EMBEDDER / FOLDER / name)[0].evaluation


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_map_wins(name: str) -> None:
    assert wins(evaluation_of(name)), f"{name} does not win over its old version; remove the folder"


def test_a_map_wins_if_most_figures_are_lower_and_none_is_shown_to_be_worse() -> None:
    found = evaluation_of("1-3")
    old = found.old

    def judged(*factors: float, worse: str = "") -> bool:
        """Multiply the FNMR at 1e-4, that at 1e-5, and the FNIR of the old version."""
        rates = [old.fnmr[1].fnmr_by_identity, old.fnmr[2].fnmr_by_identity, old.fnir]
        at_4, at_5, fnir = (
            rate.model_copy(update={"value": rate.value * factor}) for rate, factor in zip(rates, factors, strict=True)
        )
        points = [
            point.model_copy(update={"fnmr_by_identity": rate})
            for point, rate in zip(old.fnmr[1:], (at_4, at_5), strict=True)
        ]
        mapped = old.model_copy(update={"fnmr": (old.fnmr[0], *points), "fnir": fnir})
        against = {**found.against_old, **({worse: str(Verdict.WORSE)} if worse else {})}
        return wins(found.model_copy(update={"mapped": mapped, "against_old": against}))

    assert [judged(*one) for one in ((0.9, 0.9, 0.9), (0.9, 2.0, 0.9), (2.0, 0.9, 0.9), (0.9, 0.9, 2.0))] == [True] * 4
    assert [judged(*one) for one in ((1, 1, 1), (0.9, 1, 1), (0.9, 2, 2), (2, 0.9, 1), (1, 2, 0.9))] == [False] * 5
    assert not any(judged(0.9, 0.9, 0.9, worse=endpoint) for endpoint in JUDGED)
    assert judged(0.9, 0.9, 0.9, worse="rank 1")


def test_versions_for_another_runtime_have_the_same_maps() -> None:
    openvino = [card for card in read_all_cards(REPOSITORY) if card.model != EMBEDDER and card.embeds_faces]
    assert (1, 3) in maps_of(REPOSITORY, openvino)


def test_a_fitted_map_gives_what_the_new_version_gives(made: MadeMap) -> None:
    others = read_golden_faces(REPOSITORY / EMBEDDER / "golden_set.npz").images[5:]
    old, new = (
        open_session(REPOSITORY / EMBEDDER / str(version) / "model.onnx", 1).run(["embedding"], {"images": others})[0]
        for version in (1, 4)
    )
    assert np.einsum("ij,ij->i", made.map.applied(old), new).min() > 0.98
    assert np.einsum("ij,ij->i", old, new).max() < 0.98
    assert made.card.evaluation.measured_on == HELD_OUT
    assert made.card.evaluation.cosine.value > 0.98
    assert (made.card.fit.people, made.card.fit.photos) == (5, 10)


def test_a_written_map_is_read_and_served(made: MadeMap, repository: Path) -> None:
    folder = write_map(repository, made, accept_worse=True)
    card, found = read_map(folder)
    assert (card, found) == (made.card, made.map)
    assert set(maps_of(repository, CARDS)) == ({(1, 4)} if card.is_default else set())
    # Versions that are not served need no map.
    assert not maps_of(repository, [one for one in CARDS if one.version != 4])


def test_a_map_of_other_weights_is_refused(made: MadeMap, repository: Path) -> None:
    folder = write_map(
        repository, replace(made, card=made.card.model_copy(update={"is_default": True})), accept_worse=True
    )

    def resealed(card: ModelCard) -> ModelCard:
        return card.model_copy(update={"sha256": "0" * 64}) if (card.model, card.version) == (EMBEDDER, 4) else card

    with pytest.raises(MapMismatch, match=r"fitted to face_embedder-v4.*sameface model map.*remove the folder"):
        maps_of(repository, [resealed(card) for card in CARDS])
    described = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(described | {"sha256": "1" * 64}))
    with pytest.raises(MapMismatch, match="its card expects"):
        maps_of(repository, CARDS)
    (folder / MAP).write_bytes(b"nothing")
    with pytest.raises(ModelCheckFailed, match="remove the folder"):
        maps_of(repository, CARDS)
    (folder / CARD).write_text(json.dumps(described))
    (folder / MAP).write_bytes(made.map.to_bytes())
    folder.rename(folder.with_name("1-3"))
    with pytest.raises(ModelCheckFailed, match="rename it"):
        maps_of(repository, CARDS)


def test_a_map_that_decides_worse_is_no_default(made: MadeMap, repository: Path) -> None:
    endpoint = next(one for one in made.found.against_old[Combination.MAPPED] if one.name in JUDGED)
    worse = replace(
        made,
        found=replace(made.found, against_old={Combination.MAPPED: (replace(endpoint, verdict=Verdict.WORSE),)}),
        card=made.card.model_copy(update={"is_default": False}),
    )
    with pytest.raises(ModelCheckFailed, match=r"decide worse than version 1 alone.*--accept-worse"):
        write_map(repository, worse)
    assert not (repository / EMBEDDER / FOLDER).exists()
    write_map(repository, worse, accept_worse=True)
    assert not maps_of(repository, CARDS)


def test_what_cannot_be_fitted_is_refused(faces: PeoplesFaces, tmp_path: Path) -> None:
    for wrong, told in (({"new": 1}, "given twice"), ({"data": " "}, "data is blank")):
        options = {"old": 1, "new": 4, "data": "faces", **wrong}
        with pytest.raises(InvalidArgument, match=told):
            make_map(REPOSITORY, tmp_path, model=EMBEDDER, faces=faces, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="sameface-train prepare"):
        read_people(tmp_path)
    (tmp_path / "ada").mkdir()
    shutil.copy(next(Path("docs/images").glob("*.jpg")), tmp_path / "ada" / "one.jpg")
    with pytest.raises(NotEnoughData, match="one person"):
        read_people(tmp_path)


def test_pictures_and_their_people_belong_together(faces: PeoplesFaces) -> None:
    amounts = Amounts(copies=2, mixtures=5)
    pictures, owners = list(faces.pictures(amounts)), faces.owners(amounts)
    assert len(pictures) == len(owners) == 10 + 20 + 5
    assert {picture.shape for picture in pictures} == {(3, 112, 112)}
    assert (owners[:30, 0] == owners[:30, 1]).all()
    assert (owners[30:, 0] != owners[30:, 1]).all()
    assert [picture.tobytes() for picture in faces.pictures(amounts)] == [picture.tobytes() for picture in pictures]
    assert faces.digest(amounts) != faces.digest(replace(amounts, seed=1))
