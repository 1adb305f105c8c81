"""Migrations of galleries to another version of the embedder."""

from datetime import datetime

from sameface.client.answer import Answer, reads
from sameface.client.answers.faces import Contract
from sameface.client.enums import MigrationState, Operation
from sameface.resource_names import last_part
from sameface.v1 import migration_pb2


@reads(migration_pb2.Migration)
class Migration(Answer):
    """The change of a gallery to another version of its embedder. Its templates are mapped: no photo is needed."""

    name: str
    """``galleries/{gallery}/migrations/{migration}``"""
    state: MigrationState
    """How far it is."""
    old_contract: Contract
    """The contract that the gallery had when the migration began."""
    new_contract: Contract
    """The contract that the gallery gets."""
    map_sha256: str
    """SHA-256 of the template map."""
    template_count: int
    """Number of templates of the gallery."""
    mapped_count: int
    """Number of templates under the new contract that the map made."""
    native_count: int
    """Number of templates under the new contract whose photo the new model saw, or whose embedding a caller sent."""
    templates_per_second: float
    """At most so many templates are mapped per second."""
    failure: str
    """Why the work is paused, and what to do. Empty if it goes on, or if ``pause_migration`` paused it."""
    author: str
    """Who created it, if known."""
    create_time: datetime | None
    """When it was created."""
    update_time: datetime | None
    """When its state last changed."""
    end_time: datetime | None
    """When it was finished, rolled back or cancelled. None before."""
    estimated_end_time: datetime | None
    """When all templates will be mapped, at the present rate. None unless templates are being mapped."""
    etag: str
    """Changes with every change of the state."""
    licence_restriction: str
    """What the licence of the new version of the embedder, and so of the map, forbids. Empty if nothing, or if that
    version is not served."""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return last_part(self.name)


@reads(migration_pb2.PlannedThresholds)
class PlannedThresholds(Answer):
    """The thresholds of one operation, as cosine scores.

    One that is None is not known: the policy of ``promote_migration`` must give it.
    """

    operation: Operation
    """What they are for."""
    present: float | None
    """Under the present contract."""
    native: float | None
    """Under the new one, against native templates."""
    mapped: float | None
    """Under the new one, against mapped templates."""


@reads(migration_pb2.MigrationPlan)
class MigrationPlan(Answer):
    """What a migration would do. Nothing was changed."""

    old_contract: Contract
    """The gallery's present contract."""
    new_contract: Contract
    """The contract that the gallery would get."""
    map_sha256: str
    """SHA-256 of the template map."""
    template_count: int
    """Number of templates to map, expired ones too."""
    native_count: int
    """How many of them are native under the present contract."""
    mapped_count: int
    """How many of them an earlier map made. They would be mapped a second time."""
    expired_count: int
    """How many of them have expired."""
    seconds: float
    """How long the mapping takes at ``templates_per_second``, in seconds."""
    bytes: int
    """About how many bytes the store needs more until ``finish_migration``."""
    identity_thresholds: int
    """Number of identities with a ``verify_threshold``, which belongs to the present contract. ``promote_migration``
    must clear them."""
    compared_decisions: int
    """Number of decisions that were made under both contracts, each with a stored template in the place of the probe.
    At most a sample of the gallery is compared."""
    changed_decisions: int
    """How many of them would have another outcome."""
    problems: tuple[str, ...]
    """What would stop ``promote_migration``, in sentences that say what to do."""
    thresholds: tuple[PlannedThresholds, ...]
    """The thresholds of claims and of searches, before and after."""
    licence_restriction: str
    """What the licence of the new version of the embedder, and so of the map, forbids. Empty if nothing."""
