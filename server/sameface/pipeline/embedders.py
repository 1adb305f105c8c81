"""The embedders that a service serves, of faces and of whole images, and which one a gallery's contract names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sameface.errors import FacesNotSupported, ModelNotFound
from sameface.inference.cards import EMBEDDER, FACE_EMBEDDERS, ModelCard
from sameface.inference.embedders import default_version, served_version
from sameface_qdrant.errors import ContractMismatch, MapMismatch, ThresholdNotCalibrated
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.template_map import TemplateMap
from sameface_qdrant.values.vectors import check_same_contract


@dataclass(frozen=True, slots=True)
class Embedders:
    """The cards of what is served, and the version of `face_embedder` for new galleries."""

    cards: Sequence[ModelCard]
    default: int
    maps: Mapping[tuple[int, int], TemplateMap] = field(default_factory=dict)
    """The template map from one version of an embedder of faces to another one, by both versions."""
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

    def mapping(self, contract: Contract, version: int | None = None) -> tuple[ModelCard, TemplateMap]:
        """Return the card of another version of a contract's embedder, and the template map to it.

        Raises:
            ModelNotFound: that version is not served.
            MapMismatch: the model repository has no map for the two versions, or one for other weights.
        """
        card = self.card(contract.model, version)
        if card.version == contract.version:
            raise MapMismatch(
                f"the gallery has version {contract.version} of {contract.model} already; choose another version",
                metadata={"given": card.version, "expected": "another version"},
            )
        found = self.maps.get((contract.version, card.version)) if card.model in FACE_EMBEDDERS else None
        if found is None:
            there = ", ".join(f"{old} to {new}" for old, new in sorted(self.maps)) or "none"
            raise MapMismatch(
                f"there is no template map from version {contract.version} to {card.version} of {card.model}; of "
                f"the versions that are served there are maps from {there}. {self._advice(contract, card)}",
                metadata={"given": f"{contract.version} to {card.version}", "expected": there},
            )
        found.check_between(contract, card.contract)
        return card, found

    def _advice(self, contract: Contract, card: ModelCard) -> str:
        """Return what to do where no map from a contract's version to another one is served."""
        served = {(one.model, one.version) for one in self.cards}
        if (contract.model, contract.version) not in served:
            return (
                f"Version {contract.version} is not served, and a map is read with both of its versions: serve it too "
                "(SAMEFACE_EMBEDDER_VERSIONS), and restart"
            )
        return (
            f"Make one with sameface model map {contract.version} {card.version} FOLDER; if there is one that is no "
            "default, its card says why"
        )

    def other_card(self, gallery: Gallery) -> ModelCard | None:
        """Return the card of the contract that a migrating gallery does not decide under at present.

        None if it is in no migration, or if that version is not served: its templates are mapped then.
        """
        link = gallery.migration
        if link is None:
            return None
        try:
            return self.card_for(link.old if link.promoted else link.new)
        except (ModelNotFound, ContractMismatch):
            return None

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
