"""Migrations of galleries from one embedding contract to another, without photos."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Operation
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.gallery import OperatingPoint

DEFAULT_RATE = 25.0
"""Templates a second that a migration maps beside live traffic."""
LOWEST_RATE, HIGHEST_RATE = 0.01, 1e6
"""The highest one is above what any store writes: in fact without a bound."""


class MigrationState(StrEnum):
    """How far a migration is. The gallery decides under its old contract until PROMOTED, and under the new one then."""

    MAPPING = "MAPPING"
    """Templates are being mapped in the background."""
    PAUSED = "PAUSED"
    """The background work stands still; ``failure`` says why, unless somebody asked for it."""
    MAPPED = "MAPPED"
    """Every template has one under the new contract. What is changed meanwhile is brought over at the promotion."""
    PROMOTED = "PROMOTED"
    """The gallery decides under the new contract. The old templates are kept, so it can be rolled back."""
    FINISHED = "FINISHED"
    """The old templates are erased. It cannot be rolled back."""
    ROLLED_BACK = "ROLLED_BACK"
    """The gallery decides under the old contract again, and the new templates are erased."""
    CANCELLED = "CANCELLED"
    """It was given up before a promotion, and the new templates are erased."""

    @property
    def ended(self) -> bool:
        """Whether nothing can be done with the migration any more. The gallery may be migrated again."""
        return self in (MigrationState.FINISHED, MigrationState.ROLLED_BACK, MigrationState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Migration:
    """The change of a gallery's embedding contract."""

    __repr__ = brief

    id: str
    gallery: str
    old: Contract
    new: Contract
    map_sha256: str
    """Digest of the template map."""
    state: MigrationState
    total: int
    """Templates that the gallery had when they were counted last."""
    mapped: int
    """Templates under the new contract that a map made."""
    native: int
    """Templates under the new contract whose photo the new model saw."""
    rate: float
    """Templates a second that are mapped at most."""
    failure: str = ""
    """Why the work stands still, and what to do; empty if it goes on or somebody paused it."""
    author: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None
    """When it was finished, rolled back or cancelled."""
    estimated_end: datetime | None = None
    """When all templates will be mapped at the present rate; None while nothing is being mapped."""
    etag: str = ""
    mapped_operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds for probes of the new model against mapped templates."""


@dataclass(frozen=True, slots=True)
class UnaskedChange:
    """A change of a migration's state that no call has made: the work in the background did, or could not go on."""

    gallery: str
    migration: str
    state: MigrationState
    """The new state."""
    reason: str = ""
    """Of the error that has stopped the work; empty otherwise."""


@dataclass(frozen=True, slots=True)
class PlannedThresholds:
    """The thresholds of one kind of decision, as cosine scores. None: not known, so the promotion must give it."""

    operation: Operation
    present: float | None
    """Under the old contract."""
    native: float | None
    """Under the new one, of probes against native templates."""
    mapped: float | None
    """Under the new one, of probes against mapped templates."""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What a migration would do. Nothing was changed."""

    __repr__ = brief

    gallery: str
    old: Contract
    new: Contract
    map_sha256: str
    templates: int
    """Templates of the gallery, expired ones too."""
    native: int
    """How many of them the old model made from a photo or an embedding."""
    mapped: int
    """How many of them an earlier map made. They would be mapped a second time."""
    expired: int
    """How many of them have expired. They are mapped too, as their expiry may be changed."""
    seconds: float
    """How long the mapping takes at the rate."""
    bytes_needed: int
    """About how many bytes the templates under the new contract take, while those of the old contract are kept."""
    identity_thresholds: int
    """Identities with a threshold of their own. It was set under the old contract: a promotion must drop it."""
    compared: int
    """Decisions that were repeated under both contracts, each with a stored template in the place of a probe."""
    changed: int
    """How many of them would have another outcome."""
    thresholds: tuple[PlannedThresholds, ...] = ()
    """Of claims and of searches, by the gallery's policy and the operating points."""
    problems: tuple[str, ...] = ()
    """What would stop the promotion, one sentence each, with what to do."""
