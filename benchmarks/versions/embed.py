"""Embeds a folder of photos with every version of the embedder. Embeddings are kept, by the digest of the weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface.client import Client
from sameface.evaluation.dataset import read_labelled
from sameface.evaluation.embedding import embed_photos
from sameface.evaluation.samples import Samples, read_embeddings, write_embeddings
from sameface.inference.cards import EMBEDDER, ModelCard, read_all_cards
from sameface.launcher import served


def versions_of(repository: Path) -> dict[int, ModelCard]:
    """Return the card of every version of the embedder of faces, by number: that of `face_embedder` if it has one."""
    cards = [card for card in read_all_cards(repository) if card.embeds_faces]
    found = {card.version: card for card in cards if card.model != EMBEDDER}
    found.update({card.version: card for card in cards if card.model == EMBEDDER})
    return dict(sorted(found.items()))


def embeddings_of(
    photos: Path, cards: Mapping[int, ModelCard], kept: Path, progress: Callable[[str], None]
) -> dict[int, Samples]:
    """Return the embeddings of a folder of photos by every version; what is kept is read.

    The service finds, aligns and crops the faces. Its quality gate refuses nothing.
    """
    kept.mkdir(parents=True, exist_ok=True)
    files = {
        number: kept / f"{photos.resolve().name}-{card.model}-{number}-{card.sha256[:12]}.npz"
        for number, card in cards.items()
    }
    for runtime in ("onnxruntime", "openvino"):
        wanted = [
            number
            for number, card in cards.items()
            if not files[number].is_file() and (card.model == EMBEDDER) == (runtime == "onnxruntime")
        ]
        if wanted:
            _embed(photos, wanted, files, runtime, progress)
    return {number: read_embeddings(file) for number, file in files.items()}


def _embed(
    photos: Path, wanted: list[int], files: Mapping[int, Path], runtime: str, progress: Callable[[str], None]
) -> None:
    labelled = read_labelled(photos).photos
    flags = ["--inference", "onnx", "--embedder-runtime", runtime]
    with (
        TemporaryDirectory(prefix="sf-") as folder,
        served(Path(folder) / "store", Path(folder) / "serve.log", flags) as service,
        Client(service.address) as client,
    ):
        for number in wanted:
            done = 0

            def advance(number: int = number) -> None:
                nonlocal done
                done += 1
                if done % 50 == 0:
                    progress(f"{photos.name}, version {number}: {done} of {len(labelled)} photos")

            found = embed_photos(client, photos, labelled, number, advance)
            write_embeddings(files[number], found.samples)
