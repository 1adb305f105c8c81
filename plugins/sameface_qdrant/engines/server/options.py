"""Options of the connection to a Qdrant server, and of the collections that are made on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.display import brief

MOST_RETRIES = 4
"""gRPC makes at most five attempts, even if a service config asks for more (gRFC A6)."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options for a Qdrant server. ``shard_number`` to ``strict_mode`` are layout: they apply to new collections only.

    Raises:
        InvalidArgument: a value is out of range; ``metadata["field"]`` names it.
    """

    __repr__ = brief

    timeout_s: float = 5.0
    """Longest wait for one answer, including retries. It is rounded up to whole seconds for qdrant-client."""
    retries: int = 2
    """How often a call that is safe to repeat is tried again if the connection fails, 0..4."""
    pool_size: int = 3
    """gRPC connections."""
    ca_certificate: Path | None = None
    """PEM file of the authority that signed the server's certificate; None takes the system's."""
    client_certificate: Path | None = None
    """PEM file of the own certificate, for a server that asks for one."""
    client_private_key: Path | None = None
    """PEM file of its key, without a passphrase."""
    server_name: str = ""
    """The name in the server's certificate, if it is not the one in the URL."""
    collection_prefix: str = "sameface-"
    """Start of the names of the collections; another one keeps several stores on one server apart."""

    gallery_max_age_s: float = 5.0
    """How old a gallery's record, with its policy, may be when it is used for a decision, in seconds. Changes through
    the same store are used at once, those of other services within this time. 0 reads the record each time."""
    size_max_age_s: float = 60.0
    """How old a gallery's size may be when it is used for a decision, in seconds; never more than one second for every
    2,000 identities. Fewer than 1,000 are counted each time. 0 counts each time."""

    rewrite_segments: bool = True
    """Have the server write its segments again after a deletion, so that the removed bytes leave them. If not, receipts
    say that only unreadability was checked, and the server decides when it writes them."""

    shard_number: int | None = None
    """None takes the server's default."""
    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    """Replicas that must have applied a write before it is acknowledged. Choose a majority of them, such as 2 of 3.
    Reads ask a majority if there is more than one replica, so they then see every acknowledged write."""
    payload_m: int = 32
    """Links of each template in the graph of its gallery. A gallery gets a graph of its own once its vectors take more
    than some 10 MB; a smaller one is searched whole. Graphs are searched only if ``exact`` is off."""
    ef_construct: int = 200
    """How many candidates the links are chosen from when a graph is built."""
    on_disk: bool = False
    """Keep vectors on disk instead of in memory."""
    quantization: Literal["none", "int8"] = "none"
    """``int8`` searches in vectors of a quarter of the size, and compares the results again with the originals. So
    scores stay exact. It has no effect while ``exact`` is set, because exact search uses the originals."""
    strict_mode: Mapping[str, bool | int | float] = field(default_factory=dict)
    """Limits by the names of Qdrant's ``StrictModeConfig``, for instance ``{"unindexed_filtering_retrieve": False}``.
    Empty leaves strict mode to the server."""

    exact: bool = True
    """Compare with every template of the gallery. False searches the HNSW graph: this is faster in galleries of a
    million, but may miss the nearest identity or the next one, which the lead needs. Claims stay exact."""
    hnsw_ef: int | None = 256
    """Size of the candidate list of the graph search (``ef``); None takes the server's default."""
    oversampling: float = 2.0
    """How many times more candidates the ``int8`` search returns, to be compared with the originals."""

    def __post_init__(self) -> None:
        at_least = {
            "timeout_s": (self.timeout_s, 0.001),
            "pool_size": (self.pool_size, 1),
            "retries": (self.retries, 0),
            "gallery_max_age_s": (self.gallery_max_age_s, 0),
            "size_max_age_s": (self.size_max_age_s, 0),
            "shard_number": (self.shard_number, 1),
            "replication_factor": (self.replication_factor, 1),
            "write_consistency_factor": (self.write_consistency_factor, 1),
            "payload_m": (self.payload_m, 2),
            "ef_construct": (self.ef_construct, 4),
            "hnsw_ef": (self.hnsw_ef, 1),
            "oversampling": (self.oversampling, 1.0),
        }
        for name, (value, least) in at_least.items():
            if value is not None and not least <= value < float("inf"):
                raise InvalidArgument(f"{name} is {value}; expected {least} or more", metadata={"field": name})
        if self.retries > MOST_RETRIES:
            raise InvalidArgument(
                f"retries is {self.retries}; gRPC allows at most {MOST_RETRIES}", metadata={"field": "retries"}
            )
        if (self.client_certificate is None) != (self.client_private_key is None):
            raise InvalidArgument(
                "client_certificate and client_private_key go together; give both, or neither",
                metadata={"field": "client_certificate"},
            )
        if self.quantization not in ("none", "int8"):
            raise InvalidArgument(
                f"quantization is {self.quantization!r}; expected 'none' or 'int8'", metadata={"field": "quantization"}
            )
