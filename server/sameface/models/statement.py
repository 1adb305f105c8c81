"""What a card must say of a model before the model is added, sealed or made the default: licence, sources, figures.

``unknown`` is an answer, and so is ``not measured``. An empty text is not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import ModelCard
from sameface_qdrant.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Statement:
    """What the person who adds a model knows about it."""

    licence: str
    """Licence of the weights."""
    training_data: str
    """What the weights were trained on, and under which terms."""
    source: str
    """Where the weights come from: an address, a package with its version, or the command that made them."""
    figures: str
    """What was measured, on what, and by whom."""
    title: str = "presentation attack detection, added by the operator"
    restriction: str = ""
    """What the licence forbids."""
    note: str = ""

    @property
    def card_figures(self) -> dict[str, str]:
        """The figures of the card."""
        return {"stated": self.figures.strip(), **({"note": self.note} if self.note else {})}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a card that must not be empty: how messages call it, its option, and its place in a card."""

    what: str
    option: str
    place: str
    expected: str


_LICENCE = _Part("licence of the weights", "--licence", "licence.weights", "unknown if you do not know it")
_TRAINING_DATA = _Part(
    "training data",
    "--training-data",
    "licence.training_data",
    "what the weights were trained on, with its terms; unknown if nothing is known",
)
_SOURCE = _Part(
    "source",
    "--source",
    "source.package, source.file and source.sha256",
    "an address, a package with its version, or the command that made the weights; unknown if you do not know it",
)
_FIGURES = _Part(
    "figures",
    "--figures",
    "figures or operating_points",
    "what was measured, on what, and by whom; not measured if nothing was",
)


def check_stated(stated: Statement) -> None:
    """Check that everything is stated that a card needs.

    Raises:
        InvalidArgument: a text is empty. The message names each of them, with its option.
    """
    texts = {
        _LICENCE: stated.licence,
        _TRAINING_DATA: stated.training_data,
        _SOURCE: stated.source,
        _FIGURES: stated.figures,
    }
    missing = [part for part, text in texts.items() if not text.strip()]
    if missing:
        told = "; ".join(f"{part.option}: {part.expected}" for part in missing)
        field = missing[0].option.removeprefix("--").replace("-", "_")
        raise InvalidArgument(f"{_named(missing)} {_verb(missing)} not stated; write {told}", metadata={"field": field})


def check_card_states(card: ModelCard, *, figures: bool) -> None:
    """Check that a card has licence, training data and source, and, if asked, figures.

    Raises:
        ModelCheckFailed: something is missing. The message names each part, with its place in the card.
    """
    missing = [part for part in _missing(card) if figures or part is not _FIGURES]
    if missing:
        told = "; ".join(f"{part.place}: {part.expected}" for part in missing)
        raise ModelCheckFailed(
            f"the card of {card.model} version {card.version} does not state its {_named(missing)}; write {told}",
            metadata={"model": card.model, "version": card.version},
        )


def _missing(card: ModelCard) -> Iterator[_Part]:
    source = (card.source.package, card.source.file, card.source.sha256)
    if not card.licence.weights.strip():
        yield _LICENCE
    if not card.licence.training_data.strip():
        yield _TRAINING_DATA
    if not all(text.strip() for text in source):
        yield _SOURCE
    if not card.operating_points and not any(text.strip() for text in card.figures.values()):
        yield _FIGURES


def _named(parts: Iterable[_Part]) -> str:
    *before, last = (part.what for part in parts)
    return f"{', '.join(before)} and {last}" if before else last


def _verb(parts: list[_Part]) -> str:
    return "is" if len(parts) == 1 and parts[0] not in (_TRAINING_DATA, _FIGURES) else "are"
