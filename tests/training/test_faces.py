"""From raw photos to a served version: preparation equals the service, and exports keep the tensor contract."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sameface.inference.cards import EMBEDDER, golden_input, read_card, read_cards
from sameface.inference.check import check_digests, check_models
from sameface.inference.onnx import OnnxInference, open_session
from sameface.models.build import build_models
from sameface.models.contract import check_tensor_contract
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import cache_folder, model_repository_source
from sameface.vision import Pixels
from sameface_qdrant.errors import InvalidArgument
from sameface_train.backbones import BACKBONES, features, freeze
from sameface_train.checkpoint import Trained
from sameface_train.errors import LeakedData, WrongExport
from sameface_train.export import equality, export, write_onnx
from sameface_train.leakage import find_leakage, refuse_leakage
from sameface_train.monitor import live_view
from sameface_train.prepare import SLACK, prepare, read_sources
from sameface_train.publish import publish
from sameface_train.recipes import recipe
from sameface_train.samples import read_folder
from sameface_train.sface import sface
from sameface_train.trainer import Options, Run

REPOSITORY = model_repository_source()


def as_trained(
    name: str, network: torch.nn.Sequential, side: tuple[int, int] = (112, 112), dimension: int = 128
) -> Trained:
    return Trained(recipe(name, dimension=dimension), network.eval(), {}, (), side, 1, 0)


@pytest.fixture(scope="module")
def prepared(portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw, target = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("prepared")
    for photo in portraits.glob("*.jpg"):
        name = photo.stem.rsplit("_20", 1)[0]
        (raw / name).mkdir(exist_ok=True)
        shutil.copy(photo, raw / name)
    (raw / "nobody").mkdir()
    cv2.imwrite(str(raw / "nobody" / "grey.png"), np.full((200, 200, 3), 120, np.uint8))
    (raw / "nobody" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = prepare(raw, target, OnnxInference(REPOSITORY))
    assert done.refused == {"FACE_NOT_FOUND": ["nobody/grey.png"], "IMAGE_UNDECODABLE": ["nobody/broken.jpg"]}
    assert (done.written, done.identities) == (6, 4)
    assert done.alone == ("barack_obama", "rishi_sunak")
    return target


def test_a_folder_of_crops_keeps_what_photos_of_several_turns_are_recognised_by(
    portraits: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted(portraits.glob("*.jpg"))
    target = tmp_path / "prepared"
    for photo, name in ((first, "one"), (second, "two")):
        folder = tmp_path / name / name
        folder.mkdir(parents=True)
        shutil.copy(photo, folder / "photo.jpg")
    (tmp_path / "one" / "one" / "folder.jpg").mkdir()
    (tmp_path / "one" / "one" / "notes.txt").write_text("no photo")
    done = prepare(tmp_path / "one", target, OnnxInference(REPOSITORY))
    assert done.refused == {"PASSED_OVER": ["one/folder.jpg", "one/notes.txt"]}
    prepare(tmp_path / "two", target, OnnxInference(REPOSITORY))
    known = {path.relative_to(target).as_posix(): one.sha256 for path, one in read_sources(target).items()}
    assert known.keys() == {"one/photo.jpg.png/source", "two/photo.jpg.png/source"}
    before = (target / "one" / "photo.jpg.png").read_bytes()
    shutil.copy(second, tmp_path / "one" / "one" / "photo.jpg")
    prepare(tmp_path / "one", target, OnnxInference(REPOSITORY))
    assert (target / "one" / "photo.jpg.png").read_bytes() == (target / "two" / "photo.jpg.png").read_bytes() != before
    assert len({one.sha256 for one in read_sources(target).values()}) == 1


def test_the_middle_of_a_prepared_image_is_the_crop_that_is_served(prepared: Path, portraits: Path) -> None:
    photos = {path.name: path.read_bytes() for path in portraits.glob("*.jpg")}

    async def crops() -> dict[str, Pixels]:
        pipeline = PhotoPipeline(OnnxInference(REPOSITORY))
        return {name: (await pipeline.find_faces(photo, 1)).faces[0].crop for name, photo in photos.items()}

    served = asyncio.run(crops())
    images = {
        path.name.removesuffix(".png"): np.asarray(cv2.imread(str(path)))[:, :, ::-1]
        for path in prepared.glob("*/*.png")
    }
    assert images.keys() == served.keys()
    for name, image in images.items():
        assert image.shape == (112 + 2 * SLACK, 112 + 2 * SLACK, 3)
        difference = np.abs(image[SLACK:-SLACK, SLACK:-SLACK].astype(int) - served[name].astype(int))
        # Landmarks go through the photo's own pixels once, which moves a few values by rounding.
        assert difference.max() <= 2
        assert difference.mean() < 0.05


def test_a_crop_s_photo_is_found_among_those_that_will_judge(prepared: Path, portraits: Path, tmp_path: Path) -> None:
    for place, photo in enumerate(sorted(portraits.glob("*.jpg"))[:3]):
        folder = tmp_path / f"someone-{place}"
        folder.mkdir()
        if place:
            shutil.copy(photo, folder / "photo.jpg")
        else:
            image = np.asarray(cv2.imread(str(photo)))
            cv2.imwrite(
                str(folder / "small.jpg"), cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
            )
    found = find_leakage(prepared, tmp_path)
    assert (len(found.identical_files), len(found.near_duplicates), found.shared_identities) == (2, 1, ())
    with pytest.raises(LeakedData, match="2 identical files, 1 near duplicates"):
        refuse_leakage(prepared, tmp_path, allow=False, note=lambda text: None)


def test_the_network_equals_the_served_version(prepared: Path) -> None:
    network = sface().eval()
    images = read_folder(prepared, side=128).images[:, :, SLACK:-SLACK, SLACK:-SLACK]
    (expected,) = open_session(REPOSITORY / EMBEDDER / "1" / "model.onnx", threads=1).run(
        None, {"images": np.ascontiguousarray(images)}
    )
    with torch.no_grad():
        actual = torch.nn.functional.normalize(network(torch.from_numpy(images.copy()).float())).numpy()
    np.testing.assert_allclose(actual, expected, atol=5e-6)


def test_frozen_layers_stay_and_the_others_learn() -> None:
    network = BACKBONES["conv4"].build(1, (28, 28), 16)
    freeze(network, 2)
    features(network, torch.rand(4, 1, 28, 28)).sum().backward()
    convolutions = [layer for layer in network if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.weight.grad is None for layer in convolutions] == [True, True, False, False]
    assert network[-1].weight.grad is not None


def test_faces_are_fine_tuned_exported_and_pass_the_checks_of_what_is_served(prepared: Path, tmp_path: Path) -> None:
    samples = read_folder(prepared, side=128)
    tiny = recipe("fine-tune", steps=2, identities=2, each=2, warm_up=1, frozen=24, learning_rate=1e-3)
    run = Run(tiny, samples, tmp_path / "run", Options(), lambda text: None)
    with live_view("", 1, quiet=True) as view:
        run.train(view)
    trained = Trained(tiny, run.learner.averaged(), {}, run.samples.identities, (112, 112), 2, 0)
    content, cosine = export(trained)
    assert cosine > 0.99999
    words = {
        "title": "tiny",
        "licence": "none",
        "training_data": "portraits",
        "restriction": "a try",
        "source": "a run",
    }
    # The newest version has a centre, a mirror average and the trunk of another one. This one has none.
    newest = read_cards(REPOSITORY)[-1]
    assert newest.centre is not None
    assert newest.trunk_of == 1
    # An empty folder gets the cards of the package, so that it can be built.
    folder = publish(content, tmp_path / "repository", 1001, **words)
    (folder / "model.onnx").unlink()
    build_models(tmp_path / "repository", source=REPOSITORY, cache=cache_folder(), progress=lambda step: None)
    cards = [read_card(folder / "card.json")]
    check_digests(tmp_path / "repository", cards)
    cosines = asyncio.run(check_models(OnnxInference(tmp_path / "repository"), cards))
    assert cosines[EMBEDDER, 1001] > 0.999999
    assert cards[0].licence.restriction == "a try"
    assert (cards[0].trunk_of, cards[0].mirror_averaged, cards[0].centre) == (None, False, None)
    assert (cards[0].operating_points, cards[0].evaluation, cards[0].groups, cards[0].figures) == ((), None, (), {})
    first, second = (
        open_session(tmp_path / "repository" / EMBEDDER / version / "model.onnx", threads=1).run(
            None, {"images": golden_input((1, 3, 112, 112))}
        )[0]
        for version in ("1", "1001")
    )
    assert float((first * second).sum()) < 0.9999
    publish(content, tmp_path / "repository", 1001, **words)
    measured = json.loads((tmp_path / "repository" / EMBEDDER / "1" / "card.json").read_text())["operating_points"]
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "operating_points": measured}))
    with pytest.raises(InvalidArgument, match="galleries may be bound to it"):
        publish(content, tmp_path / "repository", 1001, **words)


def test_any_sequence_of_known_layers_is_written_and_equal() -> None:
    for name, backbone in BACKBONES.items():
        if name != "sface":
            torch.manual_seed(1)
            trained = as_trained("triplet", backbone.build(backbone.channels, backbone.side, 16), backbone.side, 16)
            assert equality(trained, write_onnx(trained)) > 0.99999
    rgb = as_trained("triplet", BACKBONES["conv4"].build(3, (112, 112), 128))
    check_tensor_contract(write_onnx(rgb))
    assert export(rgb)[1] > 0.9999


def test_what_cannot_be_served_is_not_exported() -> None:
    network = BACKBONES["conv4"].build(3, (112, 112), 128)
    with pytest.raises(WrongExport, match="contrastive compares by distance"):
        write_onnx(as_trained("contrastive", network))
    with pytest.raises(WrongExport, match="is a Tanh, which export does not write"):
        write_onnx(as_trained("triplet", torch.nn.Sequential(*network, torch.nn.Tanh())))
    with pytest.raises(WrongExport, match="at most 20,000,000 are committed"):
        export(
            as_trained(
                "triplet", torch.nn.Sequential(*network[:-1], torch.nn.Linear(3136, 5000), torch.nn.Linear(5000, 128))
            )
        )
    small = replace(as_trained("triplet", BACKBONES["conv4"].build(1, (28, 28), 128)), side=(28, 28))
    with pytest.raises(WrongExport, match=r"images UINT8 \[N,1,28,28\].*--model NAME"):
        export(small)
