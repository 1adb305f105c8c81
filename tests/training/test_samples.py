"""Data: what is read, what is left out and listed, and what a batch consists of."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface.vision import ImageLimits, decode_image, fit_whole_image
from sameface_train.augmentation import DRAWINGS, FACES, NONE, augment, centre
from sameface_train.batches import Sampling, batches, draw, members
from sameface_train.errors import UnusableData
from sameface_train.samples import held_out, mirrored, read_folder, read_omniglot, rotated
from tests.training.glyphs import glyphs, write_glyphs


def test_a_folder_is_read_and_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    samples = glyphs(3, 3, seed=1)
    write_glyphs(samples, tmp_path)
    (tmp_path / "glyph000" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "glyph000" / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "glyph001" / "large.png"), np.zeros((40, 28), np.uint8))
    (tmp_path / "single").mkdir()
    cv2.imwrite(str(tmp_path / "single" / "one.png"), np.zeros((28, 28), np.uint8))
    (tmp_path / "single" / "notes.txt").write_text("no picture")
    (tmp_path / "single" / "gone.png").symlink_to("nowhere")
    # A picture by its content.
    (tmp_path / "glyph002" / sorted((tmp_path / "glyph002").iterdir())[-1].name).rename(tmp_path / "glyph002" / "zzz")
    seen: list[tuple[int, int]] = []
    read = read_folder(tmp_path, side=28, grey=True, progress=lambda done, total: seen.append((done, total)))
    assert read.skipped == {
        "UNREADABLE": ["glyph000/broken.png", "glyph000/empty.png"],
        "WRONG_SIZE": ["glyph001/large.png"],
        "ONE_IMAGE": ["single"],
        "PASSED_OVER": ["single/notes.txt", "single/gone.png"],
    }
    assert read.identities == (*samples.identities, "single")
    np.testing.assert_array_equal(read.images[:9], samples.images)
    assert seen[-1] == (13, 13)


def test_a_folder_without_two_images_of_anybody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "one.png"), np.zeros((28, 28), np.uint8))
    with pytest.raises(
        UnusableData, match="holds 1 images, 1 of them readable and 28x28 pixels, and no identity with two"
    ):
        read_folder(tmp_path, side=28, grey=True)
    with pytest.raises(UnusableData, match=r"1 of 28x28\), and no identity .* by `sameface-train prepare`"):
        read_folder(tmp_path, side=32, grey=True)


def test_colours_are_read_as_red_green_blue(tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / "a" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8, 3), (10, 20, 200), np.uint8))  # blue, green, red
    assert read_folder(tmp_path, side=8).images[0, :, 0, 0].tolist() == [200, 20, 10]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "1"])
@pytest.mark.parametrize("grey", [False, True])
def test_an_image_is_read_as_the_service_reads_it(tmp_path: Path, mode: str, grey: bool) -> None:
    # Strokes on nothing: under the transparency is black, too.
    strokes = Image.new("RGBA", (8, 6))
    strokes.paste((0, 0, 0, 255), (2, 1, 5, 4))
    laid = Image.new("L", (8, 6), 255)
    laid.paste(0, (2, 1, 5, 4))
    if mode == "P":
        image = laid.point(lambda value: value // 255).convert("P")
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.info["transparency"] = 1
    else:
        image = strokes.convert(mode) if mode in ("RGBA", "LA") else laid.convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(laid).astype(np.uint16) * 257)
    for number in range(2):
        path = tmp_path / "a" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    read = read_folder(tmp_path, side=(6, 8), grey=grey).images[0]
    assert np.array_equal(read, np.broadcast_to(np.asarray(laid), read.shape))
    served = fit_whole_image(decode_image(path.read_bytes(), ImageLimits(), for_faces=False).pixels, shape=read.shape)
    assert np.array_equal(read, served)


def test_omniglot_is_read_by_split_with_white_strokes(tmp_path: Path) -> None:
    drawings = glyphs(4, 2, seed=1).images[:, 0]
    np.savez(
        tmp_path / "o.npz",
        image=255 - drawings,
        alphabet=np.repeat(["A", "B"], 4),
        character=np.tile(np.repeat(["c1", "c2"], 2), 2),
        drawer=np.tile([1, 2], 4),
        split=np.repeat(["background", "evaluation"], 4),
    )
    read = read_omniglot(tmp_path / "o.npz", "evaluation")
    assert read.identities == ("B/c1", "B/c2")
    assert read.groups == ("B", "B")
    np.testing.assert_array_equal(read.images[:, 0], drawings[4:])
    with pytest.raises(UnusableData, match="expected background or evaluation"):
        read_omniglot(tmp_path / "o.npz", "test")


def test_a_quarter_turn_is_another_identity() -> None:
    samples = glyphs(3, 2, seed=1)
    turned = rotated(samples)
    assert len(turned) == 24
    assert len(turned.identities) == 12
    np.testing.assert_array_equal(turned.images[6:12, 0], np.rot90(samples.images[:, 0], 1, axes=(1, 2)))
    assert turned.identities[turned.labels[7]] == "glyph000@90"


def test_a_mirror_image_is_another_identity_and_held_out_with_its_own() -> None:
    samples = rotated(glyphs(10, 2, seed=1))
    both = mirrored(samples)
    assert len(both) == 160
    assert len(both.identities) == len(set(both.identities)) == 80
    np.testing.assert_array_equal(both.images[:80], samples.images)
    np.testing.assert_array_equal(both.images[80:, 0], [np.fliplr(image) for image in samples.images[:, 0]])
    assert both.identities[both.labels[80]] == "glyph000@0@mirrored"
    flags = held_out(both.bases, 0.3, seed=2)
    assert flags.sum() == 24
    assert not set(both.of(~flags).bases) & set(both.of(flags).bases)


@given(st.integers(2, 60), st.floats(0.0, 0.9), st.integers(0, 5))
def test_held_out_identities_are_a_seeded_share(count: int, share: float, seed: int) -> None:
    names = [str(number) for number in range(count)]
    flags = held_out(names, share, seed)
    assert flags.sum() == round(share * count)
    np.testing.assert_array_equal(flags, held_out(names, share, seed))


@settings(deadline=None)
@given(st.integers(2, 10), st.integers(1, 6), st.integers(0, 100))
def test_a_batch_holds_as_many_of_each_identity_beside_each_other(identities: int, each: int, step: int) -> None:
    samples = glyphs(10, 3, seed=1)
    places = draw(members(samples), Sampling(identities, each), 0, step)
    by_identity = samples.labels[places].reshape(identities, each)
    assert (by_identity == by_identity[:, :1]).all()
    assert len(set(by_identity[:, 0])) == identities
    for own in places.reshape(identities, each):
        assert len(set(own)) == min(each, 3) or each > 3
    np.testing.assert_array_equal(places, draw(members(samples), Sampling(identities, each), 0, step))


def test_a_drawing_is_held_out_in_every_turn() -> None:
    samples = rotated(glyphs(10, 3, seed=1))
    flags = held_out(samples.bases, 0.3, seed=2)
    assert flags.sum() == 12
    kept, held = samples.of(~flags), samples.of(flags)
    assert not set(kept.bases) & set(held.bases)
    assert len(set(held.bases)) == 3


def test_what_is_no_archive_of_drawings_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"PK nothing of the kind")
    np.savez(tmp_path / "other.npz", image=np.zeros((2, 28, 28)))
    for name, message in (
        ("nowhere.npz", "does not exist; expected Omniglot's packed file"),
        ("damaged.npz", "cannot be read"),
        ("other.npz", "lacks the arrays alphabet, character, drawer, split"),
    ):
        with pytest.raises(UnusableData, match=message):
            read_omniglot(tmp_path / name, "background")


def test_identities_come_equally_from_groups_as_far_as_they_have_them() -> None:
    samples = replace(glyphs(8, 3, seed=1), groups=("ann", "ann", "ann", "bob", "bob", "bob", "bob", "cy"))
    owned = members(samples, by_group=True)
    assert [len(identities) for identities in owned] == [3, 4, 1]
    seen: set[int] = set()
    for step in range(40):
        places = draw(owned, Sampling(4, 2, groups=2), 0, step)
        assert len(set(samples.labels[places])) == 4
        counts = Counter(samples.groups[label] for label in samples.labels[places][::2])
        assert sorted(counts.values()) == ([1, 1, 2] if "cy" in counts else [2, 2])
        seen |= set(samples.labels[places].tolist())
    assert seen == set(range(8))
    with pytest.raises(UnusableData, match=r"8 identities .*, at most 4 of each group, and there are 7"):
        draw(owned[:2], Sampling(8, 2, groups=2), 0, 0)
    with pytest.raises(UnusableData, match="by groups, and the data has none"):
        members(replace(samples, groups=()), by_group=True)


def test_an_identity_with_one_image_is_never_drawn() -> None:
    samples = glyphs(4, 3, seed=1)
    single = samples.only(np.array([True] * 9 + [True, False, False]))
    for step in range(20):
        assert 3 not in single.labels[draw(members(single), Sampling(3, 2), 0, step)]


def test_batches_are_the_same_from_any_first_step() -> None:
    samples, sampling = glyphs(6, 4, seed=1), Sampling(3, 2)
    whole = list(batches(samples, sampling, DRAWINGS, seed=4, side=(28, 28), first=0, last=4))
    rest = list(batches(samples, sampling, DRAWINGS, seed=4, side=(28, 28), first=2, last=4))
    assert len(whole) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        assert one.images.equal(other.images)
        assert one.places.equal(other.places)
    assert not whole[0].images.equal(whole[1].images)


def test_augmentation_keeps_size_and_range_and_nothing_means_nothing() -> None:
    import torch

    torch.manual_seed(0)
    images = torch.rand(16, 3, 128, 128) * 255
    for augmentation in (FACES, DRAWINGS):
        changed = augment(images, augmentation, (112, 112))
        assert changed.shape == (16, 3, 112, 112)
        assert float(changed.min()) >= 0.0
        assert float(changed.max()) <= 255.0
        assert not torch.allclose(changed, centre(images, (112, 112)), atol=1.0)
    assert torch.allclose(augment(images, NONE, (112, 112)), images[:, :, 8:120, 8:120], atol=1e-3)
