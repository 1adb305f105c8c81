"""What a service is made of."""

from datetime import datetime

from sameface.client.answer import Answer, reads
from sameface.client.answers.faces import Contract
from sameface.v1 import system_service_pb2


@reads(system_service_pb2.GetServerInfoResponse.Model)
class Model(Answer):
    """One served model version."""

    name: str
    """Name of the model, for example ``face_embedder``."""
    version: int
    """Version of the model."""
    title: str
    """Title of the model version, for people."""
    licence: str
    """Licence of the weights."""
    contract: Contract | None
    """The embedding contract of this version. Galleries are bound to it. None if it makes no embeddings."""
    default_embedder: bool
    """Whether new galleries of this embedder are bound to this version by default."""
    licence_restriction: str
    """What the licence forbids, in words for people who create a gallery. Empty if it forbids nothing."""
    runtime: str
    """What runs the model, in process or on Triton: ``onnxruntime`` or ``openvino``."""
    takes_whole_images: bool
    """Whether this is an embedder of whole images: no face is looked for. ``contract.preprocessing`` names the
    steps."""


@reads(system_service_pb2.GetServerInfoResponse.Part)
class ServicePart(Answer):
    """A part of the service that its health depends on."""

    name: str
    """``models``, ``store``, ``writes``, ``access``, ``issuers``, ``audit`` or ``http``."""
    serving: bool
    """Whether it answers."""
    since_time: datetime | None
    """Since when it does, or does not."""
    reason: str
    """The reason of the error that calls get which need this part. NO_ANSWER if the part hangs: calls that need it wait
    until their own time limits. INTERNAL for an error that was not foreseen. Empty while it serves."""


@reads(system_service_pb2.GetServerInfoResponse.TemplateMap)
class ServedMap(Answer):
    """A template map between two versions of ``face_embedder``."""

    old_version: int
    """Version of a gallery's templates."""
    new_version: int
    """Version that they are mapped to."""
    sha256: str
    """Digest of the map, 64 hex digits."""


@reads(system_service_pb2.GetServerInfoResponse)
class ServerInfo(Answer):
    """What a service is made of."""

    version: str
    """Version of sameface."""
    inference_runtime: str
    """What runs the models: ``triton`` or ``onnxruntime``."""
    inference_version: str
    """The version that this runtime reports."""
    inference_metrics_url: str
    """Where to read Triton's metrics on the server's machine: ``unix:`` and the path of a socket that speaks HTTP.
    Empty without a local Triton."""
    store_engine: str
    """The engine that stores templates: ``edge``, ``server`` or ``memory``."""
    store_version: str
    """Version of this engine."""
    models: tuple[Model, ...]
    """Every served model version."""
    default_embedder_origin: str
    """Where the default embedder version is set: ``settings``, ``model repository``, or ``package`` if neither sets
    it."""
    parts: tuple[ServicePart, ...]
    """Whether each part of the service answers at the moment."""
    template_maps: tuple[ServedMap, ...] = ()
    """Every template map that migrations take: the versions between which galleries of faces can migrate."""
