"""The words of the service, as the clients return them.

Each enum has UNKNOWN: the service did not say, or a newer one said what this client does not know. The values are the
short names of the protos, so ``Outcome.MATCH == "MATCH"``.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """Result of a decision."""

    UNKNOWN = "UNKNOWN"
    MATCH = "MATCH"
    """The score reaches the threshold. With scope GALLERY, and in an identification, the lead also reaches the
    runner-up margin."""
    AMBIGUOUS = "AMBIGUOUS"
    """The score reaches the threshold, but another identity is nearer or too close behind."""
    NO_MATCH = "NO_MATCH"
    """The score is below the threshold. In an empty gallery the outcome is NO_MATCH with ``gallery_size`` 0."""


class Scope(StrEnum):
    """Which identities a verification compares with."""

    UNKNOWN = "UNKNOWN"
    CLAIM = "CLAIM"
    """Only the claimed identity."""
    GALLERY = "GALLERY"
    """All identities of the gallery. The claimed identity must also be the nearest, and lead the best other
    identity by the runner-up margin."""


class ThresholdSource(StrEnum):
    """Where a threshold came from. The first one that is set is used, in this order."""

    UNKNOWN = "UNKNOWN"
    REQUEST = "REQUEST"
    """The request sets it."""
    IDENTITY = "IDENTITY"
    """The claimed identity has its own threshold."""
    GALLERY = "GALLERY"
    """The gallery's policy sets it."""
    MODEL_CARD = "MODEL_CARD"
    """An operating point of the model card, chosen by the policy's target FMR or FPIR."""
    TEMPLATE_MAP = "TEMPLATE_MAP"
    """The same of the template map, for a mapped template."""


class FindingKind(StrEnum):
    """What a guard can find."""

    UNKNOWN = "UNKNOWN"
    COLLISION = "COLLISION"
    """The template is too similar to another identity."""
    DUPLICATE = "DUPLICATE"
    """The same photo or embedding is already enrolled."""
    OUTLIER = "OUTLIER"
    """The template is too different from the identity's other templates."""
    REPLACED = "REPLACED"
    """The identity was full, and its template ``template`` was replaced (with ``validate_only``: would be replaced)."""
    NOT_CHECKED = "NOT_CHECKED"
    """The guard could not check, because no threshold is known."""


class ErasureState(StrEnum):
    """State of an erasure."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    """The bytes may still be in the engine's files."""
    DONE = "DONE"
    """The engine has done everything that it can do."""


class Origin(StrEnum):
    """What a template was made from."""

    UNKNOWN = "UNKNOWN"
    PHOTO = "PHOTO"
    """A photo."""
    EMBEDDING = "EMBEDDING"
    """An embedding that the caller computed."""


class EmbeddingOrigin(StrEnum):
    """How a stored embedding came to be under its contract."""

    UNKNOWN = "UNKNOWN"
    NATIVE = "NATIVE"
    """The model of the contract made it from a photo, or the caller sent it."""
    MAPPED = "MAPPED"
    """A template map made it from the embedding of another model version, see `Migration`."""


class RenewOnMatch(StrEnum):
    """What a match does about a mapped template. It concerns VerifyFace, IdentifyFaces and StreamIdentifyFaces."""

    UNKNOWN = "UNKNOWN"
    OFF = "OFF"
    """Nothing."""
    PROPOSE = "PROPOSE"
    """``Decision.renewal`` says which mapped template the probe may replace. Nothing is written."""
    APPLY = "APPLY"
    """The probe's own embedding replaces the mapped one, if the guards of enrolments allow it."""


class RenewalState(StrEnum):
    """What became of a renewal."""

    UNKNOWN = "UNKNOWN"
    PROPOSED = "PROPOSED"
    """Nothing was written. The probe may replace the template, if the guards allow it."""
    RENEWED = "RENEWED"
    """The embedding of the probe has replaced the mapped one."""
    REFUSED = "REFUSED"
    """The mapped embedding stays."""


class MigrationState(StrEnum):
    """How far a migration is. The gallery decides under its old contract before PROMOTED."""

    UNKNOWN = "UNKNOWN"
    MAPPING = "MAPPING"
    """Templates are being mapped in the background."""
    PAUSED = "PAUSED"
    """The mapping stands still; ``Migration.failure`` says why. ``resume_migration`` lets it go on."""
    MAPPED = "MAPPED"
    """Every template has a form under the new contract. What is enrolled or erased meanwhile follows.
    ``promote_migration`` is possible."""
    PROMOTED = "PROMOTED"
    """The gallery decides under the new contract. The old templates are kept until ``finish_migration``, so
    ``roll_back_migration`` is possible."""
    FINISHED = "FINISHED"
    """The old templates are erased."""
    ROLLED_BACK = "ROLLED_BACK"
    """The gallery decides under the old contract again. The new templates are erased."""
    CANCELLED = "CANCELLED"
    """It was given up before a promotion. The new templates are erased."""

    @property
    def ended(self) -> bool:
        """Whether nothing can be done with the migration any more."""
        return self in (MigrationState.FINISHED, MigrationState.ROLLED_BACK, MigrationState.CANCELLED)


class GuardAction(StrEnum):
    """What happens to a new template when a guard has a finding."""

    UNKNOWN = "UNKNOWN"
    ALLOW = "ALLOW"
    """The guard does not check."""
    WARN = "WARN"
    """The template is enrolled, and the response reports the finding."""
    REJECT = "REJECT"
    """The template is rejected."""


class WhenFull(StrEnum):
    """What happens to a new template when the identity is full."""

    UNKNOWN = "UNKNOWN"
    REJECT = "REJECT"
    """The new template is rejected."""
    REPLACE_OLDEST = "REPLACE_OLDEST"
    """It replaces the oldest template."""
    REPLACE_LOWEST_QUALITY = "REPLACE_LOWEST_QUALITY"
    """It replaces the template with the lowest quality component. A template without quality is replaced first."""
    REPLACE_MOST_REDUNDANT = "REPLACE_MOST_REDUNDANT"
    """It replaces the template that is nearest to another one."""


class PresentationAttackAction(StrEnum):
    """What happens to a photo that may be a presentation attack (ISO/IEC 30107-1). It concerns EnrollTemplate,
    VerifyFace, IdentifyFaces, StreamIdentifyFaces and SearchTemplates."""

    UNKNOWN = "UNKNOWN"
    OFF = "OFF"
    """No face is examined."""
    REPORT = "REPORT"
    """Each face is examined, and the response holds its score. Nothing is refused."""
    REJECT = "REJECT"
    """A face whose score is below ``presentation_attack_threshold`` is refused (PRESENTATION_ATTACK_SUSPECTED). So
    is every embedding (PHOTO_REQUIRED), because it has no photo to examine."""


class Operation(StrEnum):
    """The operation that a threshold is for."""

    UNKNOWN = "UNKNOWN"
    VERIFICATION = "VERIFICATION"
    """Verification, 1:1."""
    IDENTIFICATION = "IDENTIFICATION"
    """Identification, 1:N."""


class Method(StrEnum):
    """How a threshold was measured."""

    UNKNOWN = "UNKNOWN"
    COMPARISONS = "COMPARISONS"
    """Verification: from non-mated comparisons."""
    SEARCHES = "SEARCHES"
    """Identification: from the best scores of searches for people who are not enrolled."""
    GALLERY_SIZE = "GALLERY_SIZE"
    """Identification: from non-mated comparisons and the gallery's size N, by FPIR = 1 - (1 - FMR)^N."""


class Source(StrEnum):
    """What was compared."""

    UNKNOWN = "UNKNOWN"
    SCORES = "SCORES"
    """Scores from the request."""
    GALLERY = "GALLERY"
    """The gallery's templates with each other."""
    COHORT = "COHORT"
    """The cohort from the request with the gallery."""
