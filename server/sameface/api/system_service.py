"""SystemService: describes this server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import timestamp_pb2

from sameface import __version__
from sameface.access.caller import present_caller
from sameface.access.roles import Role
from sameface.api import responses
from sameface.errors import PermissionDenied
from sameface.health.parts import PartHealth
from sameface.inference.cards import OPENVINO_EMBEDDER, ModelCard
from sameface.inference.defaults import ChosenVersion
from sameface.inference.embedders import EmbedderRuntime, is_default
from sameface.v1 import system_service_pb2, system_service_pb2_grpc
from sameface_qdrant.engines.base import EngineDescription
from sameface_qdrant.values.template_map import TemplateMap


@dataclass(frozen=True, slots=True)
class ServedParts:
    """The parts behind the service, as they report themselves at start-up."""

    runtime: str
    """``triton`` or ``onnxruntime``."""
    runtime_version: str
    metrics_url: str
    """Where to read the metrics of a local Triton; empty without one."""
    engine: EngineDescription
    cards: tuple[ModelCard, ...]
    default_embedder: ChosenVersion
    embedders: Mapping[int, str] = field(default_factory=dict)
    """Version of the embedder → the model that runs it; `face_embedder` runs all others."""
    maps: Mapping[tuple[int, int], TemplateMap] = field(default_factory=dict)
    """The template maps between versions of the embedder of faces, by both versions."""

    def model_runtime(self, card: ModelCard) -> EmbedderRuntime:
        """Return what runs a model version."""
        in_openvino = card.embeds_faces and self.embedders.get(card.version) == OPENVINO_EMBEDDER
        return "openvino" if in_openvino else "onnxruntime"


class SystemServicer(system_service_pb2_grpc.SystemServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Implements SystemService; see protos/sameface/v1/system_service.proto."""

    def __init__(
        self,
        parts: ServedParts,
        open_to_callers: bool = True,
        parts_health: Callable[[], Mapping[str, PartHealth]] = dict,
    ) -> None:
        """``open_to_callers``: whether every caller may call; otherwise admins of all galleries alone."""
        self._parts, self._parts_health = parts, parts_health
        self._open_to_callers = open_to_callers

    async def GetServerInfo(
        self, request: system_service_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> system_service_pb2.GetServerInfoResponse:
        """Return the versions of the parts, and the served models."""
        if not self._open_to_callers and Role.ADMIN not in present_caller().roles_in(""):
            raise PermissionDenied("this caller may not call GetServerInfo here", metadata={"rpc": "GetServerInfo"})
        parts = self._parts
        return system_service_pb2.GetServerInfoResponse(
            version=__version__,
            inference_runtime=parts.runtime,
            inference_version=parts.runtime_version,
            inference_metrics_url=parts.metrics_url,
            store_engine=parts.engine.kind,
            store_version=parts.engine.version,
            default_embedder_origin=parts.default_embedder.origin,
            models=[
                system_service_pb2.GetServerInfoResponse.Model(
                    name=card.model,
                    version=card.version,
                    title=card.title,
                    licence=card.licence.weights,
                    contract=responses.contract_to(card.contract) if card.is_embedder else None,
                    default_embedder=is_default(card, parts.cards, parts.default_embedder.version),
                    licence_restriction=card.licence.restriction,
                    runtime=parts.model_runtime(card),
                    takes_whole_images=card.whole_image is not None,
                )
                for card in parts.cards
            ],
            template_maps=[
                system_service_pb2.GetServerInfoResponse.TemplateMap(
                    old_version=old, new_version=new, sha256=found.sha256
                )
                for (old, new), found in sorted(parts.maps.items())
            ],
            parts=[
                system_service_pb2.GetServerInfoResponse.Part(
                    name=name,
                    serving=one.serving,
                    since_time=timestamp_pb2.Timestamp(nanos=int(one.since % 1 * 1e9), seconds=int(one.since)),
                    reason=one.reason,
                )
                for name, one in self._parts_health().items()
            ],
        )
