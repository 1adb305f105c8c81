"""Galleries and their policies."""

from datetime import datetime

from sameface.client.answer import Answer, reads
from sameface.client.answers.faces import Contract
from sameface.client.enums import GuardAction, PresentationAttackAction, RenewOnMatch, WhenFull
from sameface.resource_names import last_part
from sameface.v1 import gallery_pb2, gallery_service_pb2


@reads(gallery_pb2.TemplateProtection)
class TemplateProtection(Answer):
    """The keys of a protected gallery."""

    key_id: str
    """Id of the master key that the gallery's keys derive from."""
    generation: int
    """1 for a new gallery; each RekeyGallery adds one."""
    rekeying: bool
    """Whether a RekeyGallery is under way, or was interrupted. The keys of the next generation are needed too then."""


@reads(gallery_pb2.Policy)
class Policy(Answer):
    """How a gallery decides. Every change is kept as a new revision."""

    verify_threshold: float | None
    """Lowest score that accepts a claim, -1 to 1. None: the model card's operating point for ``target_fmr``."""
    identify_threshold: float | None
    """Lowest score that identifies, -1 to 1. None: the model card's operating point that reaches ``target_fpir`` at
    the gallery's present size. If none reaches it, the strictest one, and ``Decision.target_attained`` is false."""
    runner_up_margin: float | None
    """Required lead over the best other identity, 0 to 2. None: 0.05."""
    target_fmr: float | None
    """Target false match rate if no threshold is set, in (0, 1). None: 1e-4."""
    target_fpir: float | None
    """Target false positive identification rate if no threshold is set, in (0, 1). None: 1e-2."""
    max_templates: int | None
    """Maximum number of templates of an identity, 1 to 64. None: 16."""
    target_ambiguous: float | None
    """Largest share of mated probes that may reach the threshold and still be AMBIGUOUS, 0 to 1. CalibrateGallery
    chooses ``runner_up_margin`` by it. None: 0.02."""
    revision: int
    """Number of this revision, from 1."""
    create_time: datetime | None
    """When this revision was created."""
    calibrated_size: int | None
    """Number of identities in the gallery when CalibrateGallery set ``identify_threshold``. None if it was set in
    another way. ``Decision.threshold_stale`` is true once the gallery has twice as many."""
    author: str
    """Who made this revision, if known."""
    when_full: WhenFull | None
    """What happens to a new template when the identity has ``max_templates``. None: REJECT."""
    on_collision: GuardAction | None
    """What happens to a new template whose score against another identity reaches ``collision_threshold``: one
    person under two ids, or two people who look alike."""
    collision_threshold: float | None
    """Lowest score against another identity that is a collision, -1 to 1. None: the identification threshold."""
    on_duplicate: GuardAction | None
    """What happens to a photo or embedding that is already enrolled. None: WARN."""
    on_outlier: GuardAction | None
    """What happens to a new template whose best score against the identity's other templates is below
    ``outlier_threshold``. None: WARN."""
    outlier_threshold: float | None
    """Best score against the identity's other templates below which a template is an outlier, -1 to 1. None: the
    verification threshold."""
    presentation_attack: PresentationAttackAction | None
    """What happens to a photo that may be a presentation attack, for example a photo of a printed face. Every value
    but OFF needs the model ``face_pad`` on the server. None: OFF."""
    presentation_attack_threshold: float | None
    """Lowest bona fide score that is accepted, 0 to 1. It belongs to one version of ``face_pad``: choose it again
    when the server gets another one. None: 0.5."""
    mapped_verify_threshold: float | None = None
    """Lowest score with a mapped template that accepts a claim, -1 to 1. None: the template map's operating point for
    ``target_fmr``."""
    mapped_identify_threshold: float | None = None
    """Lowest score with a mapped template that identifies, -1 to 1. None: the template map's operating point that
    reaches ``target_fpir`` at the gallery's present size."""
    renew_on_match: RenewOnMatch | None = None
    """Whether a probe that matches may replace a mapped template. None: OFF."""
    renewal_margin: float | None = None
    """How far the probe's score with a mapped template must exceed the threshold of mapped templates to replace it, 0
    to 2. None: 0.1."""


@reads(gallery_pb2.OperatingPoint)
class OperatingPoint(Answer):
    """A threshold with the false match rate that was measured at it."""

    fmr: float
    """False match rate."""
    threshold: float
    """Lowest score that accepts."""


@reads(gallery_pb2.MappedTemplates)
class MappedTemplates(Answer):
    """What is known about the mapped templates of a gallery."""

    map_sha256: str
    """SHA-256 of the template map that made them."""
    operating_points: tuple[OperatingPoint, ...]
    """Thresholds of mapped templates that the map was measured with. Used where the policy sets none."""


@reads(gallery_pb2.Gallery)
class Gallery(Answer):
    """A named set of identities under one embedding contract and one policy."""

    name: str
    """``galleries/{gallery}``. Ids match ``[a-z0-9]([a-z0-9-_.]{0,62}[a-z0-9])?``."""
    display_name: str
    """Any text for people, at most 256 characters."""
    contract: Contract
    """The embedding contract that the gallery decides under. Set at creation; only ``promote_migration`` and
    ``roll_back_migration`` change it."""
    policy: Policy
    """How the gallery decides."""
    create_time: datetime | None
    """When the gallery was created."""
    update_time: datetime | None
    """When the gallery or its policy was last changed."""
    etag: str
    """Changes with every change of the gallery itself."""
    licence_restriction: str
    """What the licence of the contract's model forbids, in words. Empty if it forbids nothing, or if the server
    does not serve that version."""
    protection: TemplateProtection | None
    """How the templates and names of the gallery are protected in the store. None if they are not."""
    migration: str = ""
    """The migration that the gallery is in, ``galleries/{gallery}/migrations/{migration}``. Empty if it is in none."""
    mapped_templates: MappedTemplates | None = None
    """Present while the gallery may hold mapped templates under its contract."""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return last_part(self.name)


@reads(gallery_service_pb2.RekeyGalleryResponse)
class Rekeyed(Answer):
    """What a re-key has done."""

    gallery: Gallery
    """The gallery under its new keys."""
    moved: int
    """How many records and templates this call wrote again."""
    resumed: bool
    """Whether this call finished an earlier one that was interrupted."""
