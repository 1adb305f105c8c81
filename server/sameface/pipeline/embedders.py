"""The embedders that a service serves, of faces and of whole images, and which one a gallery's contract names."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sameface.errors import FacesNotSupported
from sameface.inference.cards import EMBEDDER, FACE_EMBEDDERS, ModelCard
from sameface.inference.embedders import default_version, served_version
from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.vectors import check_same_contract


@dataclass(frozen=True, slots=True)
class Embedders:
    """The cards of what is served, and the version of `face_embedder` for new galleries."""

    cards: Sequence[ModelCard]
    default: int
    whole: frozenset[str] = field(init=False)
    """Names of the embedders of whole images."""

    def __post_init__(self) -> None:
        whole = frozenset(card.model for card in self.cards if card.whole_image is not None)
        object.__setattr__(self, "whole", whole)

    def card(self, model: str = "", version: int | None = None) -> ModelCard:
        """Return the card of an embedder. Its default version is the service's for faces, else `default_version`.

        Raises:
            ModelNotFound: the embedder or the version is not served.
        """
        model = model or EMBEDDER
        if version is None:
            version = self.default if model in FACE_EMBEDDERS else default_version(self.cards, model)
        return served_version(self.cards, version, model)

    def card_for(self, contract: Contract) -> ModelCard:
        """Return the card of the embedder that makes embeddings under this contract.

        Raises:
            ModelNotFound, ContractMismatch: the version is not served, or has another contract.
        """
        card = self.card(contract.model, contract.version)
        check_same_contract(card.contract, contract)
        return card

    def of_whole_images(self, contract: Contract) -> bool:
        """Whether a contract is that of an embedder of whole images that is served, in this version or another one."""
        return contract.model in self.whole

    def explained(self, error: ThresholdNotCalibrated, contract: Contract) -> ThresholdNotCalibrated:
        """Return the error with advice how an embedder of whole images gets thresholds for its card."""
        if not self.of_whole_images(contract):
            return error
        return ThresholdNotCalibrated(
            f"{error.message}. New galleries of {contract.model} version {contract.version} have thresholds after: "
            f"sameface evaluate operating-points FOLDER --embedder-model {contract.model} --embedder-version "
            f"{contract.version} --write, and a restart",
            metadata=error.metadata,
        )

    def licence_restriction(self, contract: Contract) -> str:
        """Return what the licence of a contract's model forbids; empty if nothing, or if the version is not served."""
        matching = (card for card in self.cards if (card.model, card.version) == (contract.model, contract.version))
        return next((card.licence.restriction for card in matching), "")


def refuse_face_options(model: str, **options: object) -> None:
    """Refuse options about faces where the embedder takes whole images.

    Raises:
        FacesNotSupported: an option is neither None nor False; the message names the first such one.
    """
    given = next((name for name, value in options.items() if value is not None and value is not False), None)
    if given is not None:
        raise FacesNotSupported(
            f"{given} is set, and {model} takes whole images: no face is looked for; leave {given} out, or use a "
            f"gallery of {EMBEDDER} for photos of faces",
            metadata={"field": given, "model": model},
        )
