"""Every setting of the service. Sources, highest priority first: flags, environment (``SAMEFACE_…``), file, defaults.

Nested values use two underscores in the environment (``SAMEFACE_QUALITY__MIN_SHARPNESS=20``) and tables in the
TOML file (``[quality]``). ``SAMEFACE_CONFIG`` names that file. ``SAMEFACE_DEFAULTS`` names a second file with lower
priority. Packagers use it to change defaults, for example the folders in an image, without overriding the operator.
"""

import json
import math
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from sameface.access.access import AccessOptions
from sameface.access.rates import RateOptions
from sameface.access.tls import TlsOptions
from sameface.addresses import HOST, SCHEMES, TRITON, check_target
from sameface.audit.log import AuditOptions
from sameface.folders import cache_folder as cache_folder
from sameface.folders import default_data_dir, default_model_repository
from sameface.folders import model_repository_source as model_repository_source
from sameface.http.options import HttpOptions
from sameface.inference.embedders import EmbedderRuntime
from sameface.inference.triton_tls import TritonTls
from sameface.metrics.options import MetricsOptions
from sameface.protection import ProtectionOptions
from sameface.tracing.options import TracesOptions
from sameface.vision import FaceSelection, ImageLimits, QualityLimits
from sameface_qdrant import EdgeOptions, Quota, ServerOptions
from sameface_qdrant.engines.server.addresses import addresses
from sameface_qdrant.errors import InvalidArgument

_IPV6_PORT = re.compile(r"\[[0-9A-Fa-f:.]+(%\w+)?\]:\d+")


def available_cpus(groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many CPUs this process may use, by its affinity and the quotas of its control groups (cgroup v2).

    A container on a node with 64 CPUs sees all 64. Its quota is in ``cpu.max`` of its group or of a group above it.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return cpus
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    for group in (groups / own, *(groups / above for above in Path(own).parents)):
        try:
            quota, period = (group / "cpu.max").read_text().split()
            cpus = min(cpus, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # the root group has no such file; "max" means no quota
            continue
    return max(1, cpus)


class Settings(BaseSettings):
    """The settings of `sameface serve`."""

    model_config = SettingsConfigDict(
        env_prefix="SAMEFACE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    listen: str = Field(
        "127.0.0.1:50051", description="address and port of the gRPC service; port 0 chooses a free port"
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="folder of the embedded Qdrant Edge store")
    cache_dir: Path = Field(default_factory=cache_folder, description="folder of the Triton runtime and downloads")
    model_repository: Path = Field(
        default_factory=default_model_repository, description="Triton model repository with the models and their cards"
    )
    inference: Literal["triton", "onnx"] = Field(
        "triton",
        description="what runs the models; triton: a Triton server, started by the service unless --triton-url names "
        "one; onnx: the ONNX files in the service's process",
    )
    embedder_runtime: EmbedderRuntime = Field(
        "onnxruntime",
        description="what runs the embedder; openvino: OpenVINO runs every version in face_embedder_openvino, with "
        "equal answers for the versions that face_embedder has too",
    )
    triton_url: str = Field(
        "", description="gRPC host:port, or unix:path, of a running Triton; if empty, the service starts one"
    )
    triton_tls: TritonTls = Field(default_factory=TritonTls, description="encryption of the connection to triton_url")
    triton_timeout_s: float = Field(10.0, gt=0, description="timeout of one inference call in seconds")
    triton_recovery_s: float = Field(
        5.0, ge=0, description="seconds that a call waits for Triton to recover before it returns UNAVAILABLE"
    )
    startup_s: float = Field(
        60.0, ge=0, description="seconds that the start waits for a remote Triton or Qdrant that does not answer yet"
    )
    qdrant_url: str = Field(
        "",
        description="http(s)://host:port of a Qdrant server, or of the nodes of a cluster with commas between them; if "
        "empty, Qdrant Edge is embedded",
    )
    qdrant_api_key: SecretStr = Field(SecretStr(""), description="API key of the Qdrant server")
    qdrant: ServerOptions = Field(
        default_factory=ServerOptions,
        description="connection to the Qdrant server, and the layout of collections that are made on it",
    )
    edge: EdgeOptions = Field(
        default_factory=EdgeOptions,
        description="how the embedded store searches large galleries, without a Qdrant server",
    )
    embedder_version: int | None = Field(
        None,
        ge=1,
        description="version of the embedder that new galleries are bound to; null means the model repository's "
        "default (set by `sameface model promote`)",
    )
    embedder_versions: tuple[int, ...] = Field(
        (),
        description="versions of the embedder of faces that are served, for instance [3]; all if empty. Each takes "
        "some 160 MiB of memory, and half a second of processor time at the start. Galleries of other versions take no "
        "photos then",
    )
    face_selection: FaceSelection = Field(
        FaceSelection.LARGEST, description="which of several faces to use if the request does not say"
    )
    detector_side: int = Field(640, ge=64, le=2048, description="longest side of the detector's input in pixels")
    detector_threshold: float = Field(0.7, gt=0, lt=1, description="lowest detection score that counts as a face")
    max_faces: int = Field(
        100, ge=1, le=1000, description="most faces embedded per photo; each takes some 20 ms of a CPU"
    )
    max_faces_detected: int = Field(1000, ge=1, le=1000, description="most faces that DetectFaces returns per photo")
    tls: TlsOptions = Field(default_factory=TlsOptions, description="encryption of the gRPC port")
    http: HttpOptions = Field(
        default_factory=HttpOptions, description="HTTP beside gRPC: REST/JSON and gRPC-Web; off without http.listen"
    )
    metrics: MetricsOptions = Field(
        default_factory=MetricsOptions, description="metrics for Prometheus; off without metrics.listen"
    )
    allow_plaintext: bool = Field(
        False, description="listen without TLS on an address that other machines can reach, for instance behind a proxy"
    )
    access: AccessOptions = Field(default_factory=AccessOptions, description="who may call")
    rates: RateOptions = Field(default_factory=RateOptions, description="how often callers may call")
    quotas: tuple[Quota, ...] = Field(
        (), description="how much tenants may hold; a tenant is one gallery, or all whose ids have one start"
    )
    audit: AuditOptions = Field(default_factory=AuditOptions, description="the audit log")
    protection: ProtectionOptions = Field(default_factory=ProtectionOptions, description="keys of protected galleries")
    reflection: bool = Field(True, description="let everybody read the API's descriptors (gRPC server reflection)")
    server_info: bool = Field(
        True, description="let every caller read versions and models (GetServerInfo); otherwise admins of all galleries"
    )
    max_message_bytes: int = Field(
        36 << 20, ge=1 << 20, description="largest gRPC message (CompareFaces takes two photos)"
    )
    max_requests: int = Field(
        64, ge=1, description="most requests in work or waiting; further ones get RESOURCE_EXHAUSTED"
    )
    max_working: int | None = Field(
        None,
        ge=1,
        description="most requests with photos worked on at a time (four times as many without); further ones wait for "
        "their turn; null: twice the CPUs, or 16 if that is more and triton_url is set",
    )
    max_wait_s: float = Field(
        0.5,
        ge=0,
        description="longest wait for a turn in seconds, and in any case six times as long as the work itself takes; "
        "a call that would wait longer gets RESOURCE_EXHAUSTED; one that waits already may wait up to four times as "
        "long if the machine becomes slower",
    )
    max_request_bytes: int = Field(
        256 << 20, ge=1 << 20, description="most bytes of all requests in flight; further ones get RESOURCE_EXHAUSTED"
    )
    max_streams: int = Field(16, ge=1, description="most open streams; further ones get RESOURCE_EXHAUSTED")
    max_streams_per_caller: int = Field(
        4, ge=1, description="most open streams of one caller, or of one connection where callers have no names"
    )
    max_calls_per_connection: int = Field(
        128, ge=1, description="most open calls of one connection; the client keeps further ones back"
    )
    max_arriving_bytes: int = Field(
        1 << 30,
        ge=1 << 20,
        description="most bytes of requests that are arriving, each counted as max_message_bytes; further ones wait",
    )
    arrive_s: float = Field(60.0, gt=0, description="seconds that a request may take to arrive")
    max_unread_bytes: int = Field(
        64 << 20, ge=1 << 20, description="most bytes of answers that callers have not read; beyond it their calls end"
    )
    unread_s: float = Field(30.0, gt=0, description="seconds that a caller may take to read an answer")
    stream_idle_s: float = Field(300.0, gt=0, description="seconds without a message after which a stream is ended")
    vision_threads: int = Field(
        default_factory=lambda: min(4, available_cpus()),
        ge=1,
        description="photos decoded at the same time; each takes up to about 400 MiB of memory",
    )
    sweep_s: float = Field(
        3600.0, gt=0, description="seconds between two sweeps, which erase expired identities and templates"
    )
    drain_s: float = Field(10.0, ge=0, description="seconds that requests in flight may take to finish after SIGTERM")
    core_dumps: bool = Field(
        False, description="let a crash write a core dump, which may hold photos, embeddings and names"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = Field(
        "text", description="how a line of the log is written; json: one object on each line"
    )
    traces: TracesOptions = Field(
        default_factory=TracesOptions, description="traces for an OpenTelemetry collector; off without traces.endpoint"
    )
    image: ImageLimits = Field(default_factory=ImageLimits, description="limits of photos")
    quality: QualityLimits = Field(default_factory=QualityLimits, description="limits of the quality gate")

    @field_validator("qdrant", "access", "http", "metrics", "traces", mode="before")
    @classmethod
    def _lists_and_tables_are_json_in_the_environment(cls, value: Any) -> Any:
        """Decode them: pydantic-settings does so only where a whole section is one variable."""
        if not isinstance(value, dict):
            return value
        # An address such as [::1]:8080 begins like a list.
        return {
            name: json.loads(one)
            if isinstance(one, str) and one.lstrip().startswith(("{", "[")) and not _IPV6_PORT.fullmatch(one)
            else one
            for name, one in value.items()
        }

    @field_validator("listen")
    @classmethod
    def _listen_is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        # gRPC takes "unix:1" for a socket, whose callers would pass for the HTTP front end.
        named = HOST.fullmatch(host) is not None and host.lower() not in SCHEMES
        if not (named or re.fullmatch(r"\[[0-9A-Fa-f:.]+(%\w+)?\]", host)) or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{value!r} is not host:port, for instance 0.0.0.0:50051 or [::]:50051")
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _qdrant_url_names_nodes(cls, value: str) -> str:
        try:
            if value:
                addresses(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("triton_url")
    @classmethod
    def _triton_url_is_an_address(cls, value: str) -> str:
        return check_target(value, TRITON) if value else value

    @model_validator(mode="after")
    def _one_way_to_run_models(self) -> "Settings":
        if self.triton_tls.enabled and not self.triton_url:
            raise ValueError(
                "triton_tls is enabled, but triton_url is not set: the Triton that the service starts needs none"
            )
        if self.inference == "onnx" and self.triton_url:
            raise ValueError(
                f"inference is onnx, which needs no Triton, but triton_url is {self.triton_url!r}; set only one of them"
            )
        return self

    @property
    def store_url(self) -> str:
        """The URL that the plugin opens: that of the Qdrant server, or of Qdrant Edge in the data folder."""
        return self.qdrant_url or f"edge://{self.data_dir.absolute() / 'store'}"

    @property
    def keys_file(self) -> Path:
        """The file of API keys."""
        return self.access.keys or self.data_dir.absolute() / "access" / "keys.json"

    @property
    def audit_folder(self) -> Path:
        """The folder of the audit log."""
        return self.audit.folder or self.data_dir.absolute() / "audit"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of priority. ``--config`` or ``SAMEFACE_CONFIG`` names the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        for variable in ("SAMEFACE_CONFIG", "SAMEFACE_DEFAULTS"):
            if path := os.environ.get(variable):
                if not Path(path).is_file():
                    raise FileNotFoundError(f"{variable} is {path}, which is not a file; name an existing TOML file")
                sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources
