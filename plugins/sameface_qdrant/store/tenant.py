"""A gallery as its points know it."""

from dataclasses import dataclass

from sameface_qdrant.values.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Tenant:
    """A gallery with the key of its points. Every gallery gets a new key."""

    uid: str
    gallery: Gallery

    @property
    def collection(self) -> str:
        """Name of the collection that holds its identities and templates: one for each contract."""
        return self.gallery.contract.key
