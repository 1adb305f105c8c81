"""Layouts of a collection, and ways to search it, that the sweep compares."""

from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from sameface_qdrant import ServerOptions
from sameface_qdrant.engines.base import VECTOR_NAME

DEFAULTS = ServerOptions()


@dataclass(frozen=True, slots=True)
class Search:
    """How the collection is searched: the options of `ServerOptions`."""

    exact: bool = False
    hnsw_ef: int | None = None
    oversampling: float = 2.0

    def __str__(self) -> str:
        return "exact" if self.exact else f"ef {self.hnsw_ef or 'default'}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the collection is indexed and stored, and how it is then searched."""

    name: str
    searches: tuple[Search, ...]
    whole_m: int = 0
    """Links of the graph of the whole collection."""
    payload_m: int = DEFAULTS.payload_m
    """Links of the graph of each gallery."""
    ef_construct: int = DEFAULTS.ef_construct
    int8: bool = False
    on_disk: bool = False

    async def apply(self, client: AsyncQdrantClient, collection: str) -> None:
        """Change a collection to this layout, and return before the server has done so."""
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        await client.update_collection(
            collection,
            vectors_config={VECTOR_NAME: models.VectorParamsDiff(on_disk=self.on_disk)},
            hnsw_config=models.HnswConfigDiff(m=self.whole_m, payload_m=self.payload_m, ef_construct=self.ef_construct),
            quantization_config=models.ScalarQuantization(scalar=scalar) if self.int8 else models.Disabled.DISABLED,
        )


USUAL = (Layout("as the store makes it", (Search(exact=True), Search())),)
"""Without a sweep: the defaults, exact and by graph."""


def _efs(*efs: int | None, oversampling: float = 2.0) -> tuple[Search, ...]:
    return tuple(Search(hnsw_ef=ef, oversampling=oversampling) for ef in efs)


SWEEP = (
    Layout("m 16 for all (Qdrant's default)", (Search(exact=True), *_efs(None, 256)), 16, 16, 100),
    Layout("payload_m 16", _efs(None, 256, 512), payload_m=16, ef_construct=100),
    Layout("payload_m 32", _efs(None, 256, 512), payload_m=32, ef_construct=100),
    Layout("payload_m 16, ef_construct 200", _efs(None, 256, 512), payload_m=16, ef_construct=200),
    Layout("payload_m 32, ef_construct 200", _efs(256, 512, 1024), payload_m=32, ef_construct=200),
    Layout("the store's, int8", (*_efs(256, 512), *_efs(256, 512, oversampling=3.0)), int8=True),
    Layout("the store's, int8, vectors on disk", _efs(256, 512), int8=True, on_disk=True),
    Layout("the store's, vectors on disk", _efs(256, 512), on_disk=True),
)
