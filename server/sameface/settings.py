"""The one place for settings. Flags win over environment (``SAMEFACE_…``), environment over file, file over default.

Nested values use two underscores in the environment (``SAMEFACE_QUALITY__MIN_SHARPNESS=20``) and tables in the
TOML file (``[quality]``). ``SAMEFACE_CONFIG`` names that file. ``SAMEFACE_DEFAULTS`` names another one below it, for
whoever packages the service (an image has other folders than a checkout) and must not get in an operator's way.
"""

import math
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from sameface.vision import FaceSelection, ImageLimits, QualityLimits


def cache_folder() -> Path:
    """Return the folder of everything that can be made again: ``$SAMEFACE_CACHE_DIR`` or the XDG cache."""
    if chosen := os.environ.get("SAMEFACE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sameface"


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "model_repository").is_dir() else None


def model_repository_source() -> Path:
    """Return the folder of committed configs and cards: in the checkout, or inside the installed package."""
    root = _checkout()
    return root / "model_repository" if root else Path(__file__).resolve().parent / "model_repository"


def _default_model_repository() -> Path:
    # An installed package may be read-only, so its weights are built in the cache folder.
    return model_repository_source() if _checkout() else cache_folder() / "model_repository"


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "sameface"


def available_cpus(groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many CPUs this process may use: its affinity, and the quotas of its control groups (cgroup v2).

    A container on a node of 64 CPUs still counts 64 of them; what it may use is in ``cpu.max`` of its group, or of one
    above it.
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
        except (OSError, ValueError):  # no such file at the root, "max" where there is no quota
            continue
    return max(1, cpus)


class Settings(BaseSettings):
    """Everything that `sameface serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="SAMEFACE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    listen: str = Field("127.0.0.1:50051", description="address and port of the gRPC service; port 0 picks a free one")
    data_dir: Path = Field(default_factory=_default_data_dir, description="folder of the embedded Qdrant Edge store")
    cache_dir: Path = Field(default_factory=cache_folder, description="folder of the Triton runtime and downloads")
    model_repository: Path = Field(
        default_factory=_default_model_repository, description="Triton model repository to serve and read cards from"
    )
    inference: Literal["triton", "onnx"] = Field(
        "triton", description="triton: a tritonserver (local unless --triton-url); onnx: in process"
    )
    triton_url: str = Field(
        "", description="gRPC host:port, or unix:path, of a Triton that runs already; empty starts one"
    )
    triton_timeout_s: float = Field(10.0, gt=0, description="deadline of one inference call")
    triton_recovery_s: float = Field(
        5.0, ge=0, description="how long a call waits for a recovering Triton before it answers UNAVAILABLE"
    )
    startup_s: float = Field(
        60.0, ge=0, description="how long start-up waits for a Triton or Qdrant elsewhere that does not answer yet"
    )
    qdrant_url: str = Field("", description="http(s)://host:port of a Qdrant server; empty embeds Qdrant Edge")
    qdrant_api_key: SecretStr = Field(SecretStr(""), description="API key of the Qdrant server")
    embedder_version: int | None = Field(
        None,
        ge=1,
        description="version of face_embedder that new galleries are bound to; null takes the model repository's "
        "default (`sameface model promote`)",
    )
    face_selection: FaceSelection = Field(
        FaceSelection.LARGEST, description="which of several faces is meant where the request does not say"
    )
    detector_side: int = Field(640, ge=64, le=2048, description="longest side of the detector's input in pixels")
    detector_threshold: float = Field(0.7, gt=0, lt=1, description="lowest detection score that counts as a face")
    max_faces: int = Field(32, ge=1, le=256, description="most faces of one photo that are embedded")
    reveal_collisions: bool = Field(
        False, description="tell who enrols which other identity a photo is like, and how much"
    )
    max_message_bytes: int = Field(
        36 << 20, ge=1 << 20, description="largest gRPC message (CompareFaces takes two photos)"
    )
    max_requests: int = Field(64, ge=1, description="requests in flight; more are answered RESOURCE_EXHAUSTED")
    max_request_bytes: int = Field(
        256 << 20, ge=1 << 20, description="bytes of all requests in flight together; more are answered likewise"
    )
    max_streams: int = Field(16, ge=1, description="open streams; more are answered likewise")
    stream_idle_s: float = Field(300.0, gt=0, description="how long a stream may send nothing before it is ended")
    vision_threads: int = Field(
        default_factory=lambda: min(4, available_cpus()),
        ge=1,
        description="photos decoded at the same time; bounds memory, some 400 MiB each for the largest",
    )
    sweep_s: float = Field(3600.0, gt=0, description="how often what has expired is erased")
    drain_s: float = Field(10.0, ge=0, description="how long requests in flight may finish after SIGTERM")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    image: ImageLimits = Field(default_factory=ImageLimits, description="limits checked before a photo is decoded")
    quality: QualityLimits = Field(default_factory=QualityLimits, description="limits of the quality gate")

    @field_validator("listen")
    @classmethod
    def _listen_is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{value!r} is not host:port, for instance 0.0.0.0:50051")
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _qdrant_url_has_scheme(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not a URL, for instance http://localhost:6334")
        return value

    @model_validator(mode="after")
    def _one_way_to_run_models(self) -> "Settings":
        if self.inference == "onnx" and self.triton_url:
            raise ValueError(
                f"inference is onnx, which runs in process, and triton_url is {self.triton_url!r}; choose one"
            )
        return self

    @property
    def store_url(self) -> str:
        """The URL that the plugin opens: the Qdrant server's, or Edge under the data folder."""
        return self.qdrant_url or f"edge://{self.data_dir.absolute() / 'store'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; the file is named by ``--config`` or ``SAMEFACE_CONFIG``."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        for variable in ("SAMEFACE_CONFIG", "SAMEFACE_DEFAULTS"):
            if path := os.environ.get(variable):
                if not Path(path).is_file():
                    raise FileNotFoundError(f"{variable} names {path}, which is not a file")
                sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources
