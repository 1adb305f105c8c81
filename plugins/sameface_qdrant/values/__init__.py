"""The values that everything else speaks in: immutable, free of I/O, free of any engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""One embedding, shape [dimension], float32. Unit L2 norm once it is inside a Template or Probe."""

Item = TypeVar("Item")

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Outcome(StrEnum):
    """What a decision says."""

    MATCH = "MATCH"
    AMBIGUOUS = "AMBIGUOUS"
    NO_MATCH = "NO_MATCH"


class Scope(StrEnum):
    """What a verification looks at: the claimed identity alone, or its lead over the whole gallery as well."""

    CLAIM = "CLAIM"
    GALLERY = "GALLERY"


class ThresholdSource(StrEnum):
    """Where the threshold of a decision came from; the first that exists wins, in this order."""

    REQUEST = "REQUEST"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"
    MODEL_CARD = "MODEL_CARD"


class GuardAction(StrEnum):
    """What happens to a template that a guard finds something about."""

    ALLOW = "ALLOW"
    """It is not looked at."""
    WARN = "WARN"
    """It enters, and the finding is told."""
    REJECT = "REJECT"


class WhenFull(StrEnum):
    """What happens to a template of an identity that holds as many as its policy allows."""

    REJECT = "REJECT"
    REPLACE_OLDEST = "REPLACE_OLDEST"
    REPLACE_LOWEST_QUALITY = "REPLACE_LOWEST_QUALITY"
    REPLACE_MOST_REDUNDANT = "REPLACE_MOST_REDUNDANT"


class FindingKind(StrEnum):
    """What a guard found about a template."""

    COLLISION = "COLLISION"
    """Another identity is at least as like it as the threshold: one person under two ids, or two people alike."""
    DUPLICATE = "DUPLICATE"
    """The same photo or embedding is enrolled already, under this identity or another one."""
    OUTLIER = "OUTLIER"
    """The identity's other templates are less like it than the threshold: another person's photo, or a bad one."""
    REPLACED = "REPLACED"
    """The identity was full; this template of it gave way."""
    NOT_CHECKED = "NOT_CHECKED"
    """No threshold is known to check against."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a guard found. Not stored. Of another identity's: not for everybody to see."""

    kind: FindingKind
    identity: str
    template: str
    """Empty for an outlier: it is about all of them."""
    score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What makes two embeddings comparable. A gallery is bound to exactly one contract."""

    model: str
    version: int
    sha256: str
    """Digest of the weights file, 64 lower-case hex digits."""
    dimension: int
    preprocessing: str
    """Name of the way from pixels to the model's input, for instance ``arcface-112-v1``."""
    equivalent_to: frozenset[str] = frozenset()
    """Digests of other weights whose embeddings were measured to be interchangeable."""

    def accepts(self, other: "Contract") -> bool:
        """Whether an embedding made under ``other`` may enter a gallery under this contract."""
        return (self.dimension, self.preprocessing) == (other.dimension, other.preprocessing) and (
            other.sha256 == self.sha256 or other.sha256 in self.equivalent_to or self.sha256 in other.equivalent_to
        )

    @property
    def key(self) -> str:
        """Short stable name, used for collections: ``<model>-v<version>-<12 hex digits of the digest>``."""
        return f"{self.model}-v{self.version}-{self.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold measured beforehand: impostor comparisons scored at or above it at the rate ``fmr``."""

    fmr: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How a gallery decides. Every change is kept as a new revision with its author and time."""

    verify_threshold: float | None = None
    """Lowest cosine score that accepts a claim; None takes the model card's point for ``target_fmr``."""
    identify_threshold: float | None = None
    """Lowest cosine score that identifies; None takes the card's point for ``target_fpir`` at the gallery's size."""
    runner_up_margin: float = 0.05
    """Required lead of the best identity over the next one, in cosine score."""
    target_fmr: float = 1e-4
    target_fpir: float = 1e-2
    max_templates: int = 16
    """Cap of templates per identity (1..64); it keeps de-duplicated top-k search exact."""
    when_full: WhenFull = WhenFull.REJECT
    on_collision: GuardAction = GuardAction.WARN
    collision_threshold: float | None = None
    """Lowest score against another identity that counts; None takes the identification threshold."""
    on_duplicate: GuardAction = GuardAction.WARN
    on_outlier: GuardAction = GuardAction.WARN
    outlier_threshold: float | None = None
    """Lowest best score against the identity's other templates that is near enough; None takes the verification
    threshold."""
    calibrated_size: int | None = None
    """Identities in the gallery when ``identify_threshold`` was calibrated; None where it was set otherwise."""
    revision: int = 1
    author: str = ""
    create_time: datetime | None = None


class PolicyChanges(TypedDict, total=False):
    """What is to change of a policy; what is missing stays. A threshold of None takes the model card's again."""

    verify_threshold: float | None
    identify_threshold: float | None
    runner_up_margin: float
    target_fmr: float
    target_fpir: float
    max_templates: int
    when_full: WhenFull
    on_collision: GuardAction
    collision_threshold: float | None
    on_duplicate: GuardAction
    on_outlier: GuardAction
    outlier_threshold: float | None
    calibrated_size: int | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A named set of identities under one embedding contract and one policy."""

    id: str
    contract: Contract
    policy: Policy
    display_name: str = ""
    operating_points: tuple[OperatingPoint, ...] = ()
    """The model card's points for this contract; they answer where the policy sets no threshold."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """One enrolled subject. ``id`` is chosen by the caller; ``display_name`` may be any Unicode text."""

    gallery: str
    id: str
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    verify_threshold: float | None = None
    """Overrides the gallery's verification threshold for claims of this identity."""
    consent_reference: str = ""
    """Where the subject's consent is recorded: an id or URL of the caller's own."""
    purpose: str = ""
    """What the subject is enrolled for."""
    expire_time: datetime | None = None
    """From then on every comparison ignores its templates, whenever they expire themselves."""
    template_count: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""


class IdentityChanges(TypedDict, total=False):
    """What is to change of an identity; what is missing stays. None clears a threshold or expiry."""

    display_name: str
    labels: Mapping[str, str]
    verify_threshold: float | None
    consent_reference: str
    purpose: str
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a template came from. Holds no pixels and no plain digest of a photo."""

    source: str = "embedding"
    """``photo`` or ``embedding``."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Quality components of the photo, OFIQ-style names, 0..100, higher is better."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """An embedding about to be enrolled. ``vector`` need not be normalised; it is checked and normalised here."""

    vector: Vector
    contract: Contract
    provenance: Provenance = Provenance()
    content: bytes = b""
    """What the caller sent (photo bytes); only a keyed digest of it is kept, to recognise a retry.
    Empty takes the vector itself."""
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """One stored reference embedding."""

    id: str
    """UUID5 of gallery, identity and idempotency key."""
    gallery: str
    identity: str
    contract_key: str
    provenance: Provenance = Provenance()
    vector: Vector | None = None
    """Unit norm, shape [dimension]; only where it was asked for."""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    """From then on every comparison ignores it: its own expiry or its identity's, whichever comes first."""
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    """What guards found when it was enrolled; only in the answer to that."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The embedding being compared. ``vector`` need not be normalised."""

    vector: Vector
    contract: Contract


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identity with its fused score (maximum over its templates)."""

    identity: str
    score: float
    template: str
    """Id of the template that gave the score."""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    """Which templates a search looks at; all conditions must hold."""

    identities: tuple[str, ...] = ()
    """Of one of these; empty means any."""
    exclude_identities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """Of identities with all of these labels."""
    source: str = ""
    """``photo`` or ``embedding``; empty means either."""


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A template with its cosine score."""

    template: Template
    score: float
    display_name: str = ""
    """Its identity's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome with every number it rests on. Scores are cosines, −1..1."""

    outcome: Outcome
    score: float | None
    """Score of the claim (verification) or of the best identity (identification); None in an empty gallery."""
    threshold: float
    threshold_source: ThresholdSource
    target_attained: bool | None
    """False where no operating point of the model card is strict enough for the policy's target (FMR, or FPIR at this
    gallery size): the strictest one decided, and errors will be more frequent than aimed for. None where the threshold
    was set and not looked up."""
    margin: float
    """Runner-up margin required."""
    lead: float | None
    """How far the deciding identity is ahead of the best other one; None where there is no other.
    Negative when another identity is nearer than the claim."""
    policy_revision: int
    gallery_size: int
    """Identities in the gallery when the decision was made."""
    scope: Scope
    threshold_stale: bool = False
    """Whether the gallery has doubled since the threshold was calibrated (identification): calibrate it again."""
    candidates: tuple[Candidate, ...] = ()
    """Best first. For a verification: the claim and, with scope GALLERY, the best other identity."""

    @property
    def squared_distance(self) -> float | None:
        """FaceNet's squared L2 distance between unit vectors, d² = 2 − 2·score (Schroff et al. 2015, section 3)."""
        return None if self.score is None else 2.0 - 2.0 * self.score


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of results, in a stable order; ``next_token`` is empty only at the end."""

    items: tuple[Item, ...]
    next_token: str = ""


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What holds the templates, as it reports itself."""

    kind: str
    """``edge``, ``server`` or ``memory``."""
    version: str
    location: str
    exact: bool = True
    """False where a search may miss a neighbour (an approximate index); scores are exact either way."""


class ErasedResource(StrEnum):
    """What a deletion was asked to erase."""

    TEMPLATE = "TEMPLATE"
    IDENTITY = "IDENTITY"
    GALLERY = "GALLERY"


class ErasureState(StrEnum):
    """How far an erasure is; points are unreadable in either state."""

    PENDING = "PENDING"
    """The bytes are, or may be, still in the store's files."""
    DONE = "DONE"
    """All that the engine can do is done; the receipt's evidence says what that was."""


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """What scans of the store's files found of one representation of the removed points."""

    representation: str
    sought: int
    """Byte strings looked for, one for each point of the sample that has this representation."""
    found_before: int
    """Of these, how many the scan found before the removal: the positive control. The rest no byte scan can prove."""
    found_after: int | None
    """Of these, how many the same scan found once the files were rewritten; None while they are not."""
    held_elsewhere: int = 0
    """Of those found after, how many belong to points that are stored now: the same embedding enrolled elsewhere."""


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, what was checked, and what it does not speak for. Holds no biometric data."""

    id: str
    state: ErasureState
    resource: ErasedResource
    gallery: str
    identity: str
    """Empty where a gallery was erased."""
    template: str
    """Id, where one template was erased."""
    templates: int
    """Templates erased."""
    records: int
    """Other records erased: of identities, and of the gallery with its policies."""
    erase_time: datetime
    done_time: datetime | None
    """When the state became DONE."""
    engine: str
    """Kind and version of the engine."""
    unreadable: bool
    """Checked after the removal: the points cannot be retrieved, found by a search or counted."""
    compacted: bool
    """Whether the files were rewritten without the points, and the old files deleted."""
    sampled: int
    """Points that the evidence looks at: all of them up to a limit, else that many."""
    evidence: tuple[ByteEvidence, ...] = ()
    not_covered: tuple[str, ...] = ()
    failure: str = ""
    """Why the files could not be rewritten yet; it is tried again."""

    @property
    def not_provable(self) -> tuple[str, ...]:
        """Representations that the control did not find for every point: compressed, or in another form on disk."""
        return tuple(one.representation for one in self.evidence if one.found_before < one.sought)
