"""The operations of the service: enrol, verify, identify, search, compare, detect, embed."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from sameface.inference.cards import ModelCard
from sameface.observation.calls import PRESENT
from sameface.observation.renewals import note_renewal
from sameface.observation.stages import stage
from sameface.pipeline.answers import Enrolment, Identification, IdentificationSettings
from sameface.pipeline.comparing import decided_pair
from sameface.pipeline.embedders import Embedders, refuse_face_options
from sameface.pipeline.gathering import Gathering
from sameface.pipeline.migrating import also_embedded, renewed, under_present_contract
from sameface.pipeline.photos import FoundFace, FoundFaces, PhotoPipeline, all_of
from sameface.pipeline.presentation_attacks import AttackDetection, AttackDetector
from sameface.pipeline.provenance import content_of, provenance_of
from sameface.pipeline.samples import EmbeddingSample, PhotoSample, Sample
from sameface.turn import give_turn_back
from sameface.vision import FaceSelection
from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Operation, Probe, Scope
from sameface_qdrant.values.gallery import Gallery, Policy, PresentationAttackAction
from sameface_qdrant.values.ids import NO_LABELS
from sameface_qdrant.values.template import FoundTemplate, NewTemplate, TemplateFilter
from sameface_qdrant.values.template_map import TemplateMap
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class FaceOperations:
    """Combines the photo pipeline, the model cards and the gallery store."""

    photos: PhotoPipeline
    store: Store
    cards: tuple[ModelCard, ...]
    default_embedder: int = 1
    default_selection: FaceSelection = FaceSelection.LARGEST
    max_faces: int = 100
    """Most faces of a photo that are embedded."""
    max_faces_detected: int = 1000
    maps: Mapping[tuple[int, int], TemplateMap] = field(default_factory=dict)
    """The template maps between versions of the embedder of faces, by both versions."""
    gathering: Gathering = field(default_factory=Gathering)
    """The enrolments that are under way."""
    embedders: Embedders = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedders", Embedders(self.cards, self.default_embedder, self.maps))

    def embedder_card(self, version: int | None = None, model: str = "") -> ModelCard:
        """Return the card of an embedder version; None means the default version, "" the embedder of faces.

        Raises:
            ModelNotFound: the embedder or the version is not served.
        """
        return self.embedders.card(model, version)

    async def create_gallery(
        self,
        gallery: str,
        *,
        embedder_version: int | None,
        display_name: str,
        policy: Policy,
        request_id: str,
        protected: bool | None = None,
        embedder_model: str = "",
    ) -> Gallery:
        """Create a gallery with the contract and the operating points of an embedder version."""
        card = self.embedder_card(embedder_version, embedder_model)
        self.check_policy(policy, card.contract)
        return await self.store.galleries.create(
            gallery,
            card.contract,
            display_name=display_name,
            policy=policy,
            operating_points=card.points,
            request_id=request_id,
            protected=protected,
        )

    def check_policy(self, policy: Policy, contract: Contract) -> None:
        """Check what a policy asks about presentation attacks.

        Raises:
            ModelNotFound: it asks for `face_pad`, which is not served.
            FacesNotSupported: it asks for it in a gallery of whole images.
        """
        if self.embedders.of_whole_images(contract):
            asks = policy.presentation_attack is not PresentationAttackAction.OFF
            refuse_face_options(contract.model, presentation_attack=asks)
        self.attack_detection.check(policy.presentation_attack)

    @property
    def attack_detection(self) -> AttackDetection:
        """The model of presentation attack detection, if one is served."""
        return AttackDetection(self.photos.inference, self.cards)

    async def enroll(
        self,
        gallery: str,
        identity: str,
        sample: Sample,
        *,
        allow_missing: bool,
        display_name: str,
        selection: FaceSelection | None,
        expire_time: datetime | None,
        request_id: str,
        validate_only: bool,
        labels: Mapping[str, str] = NO_LABELS,
        consent_reference: str = "",
        purpose: str = "",
        renew: bool = False,
    ) -> Enrolment:
        """Add one template. With ``validate_only``, check everything but store nothing.

        With ``renew``, the photo was enrolled before: if that template is a mapped one, this photo's embedding replaces
        it.
        """
        # Where the disk is the store's, an enrolment waits for others, to be written together with them.
        gathers = not validate_only and self.store.engine.exclusive
        with self.gathering.enrolment() as making:
            found = await self.store.galleries.get(gallery)
            vector, made_under, face = await self._probe(sample, found, selection)
            also = await also_embedded(self.photos, self.embedders, found, sample, face)
            # The disk is waited for without a turn. So others use the models meanwhile, and more writes share a flush.
            give_turn_back()
            new = NewTemplate(
                vector=vector,
                contract=made_under,
                provenance=provenance_of(sample, face),
                content=content_of(sample, selection or self.default_selection),
                expire_time=expire_time,
                also=also,
            )
            async with making.written() if gathers else nullcontext():
                with stage("enroll"):
                    (template,) = await self.store.enroll(
                        gallery,
                        identity,
                        [new],
                        request_id=request_id,
                        create_identity=allow_missing,
                        display_name=display_name,
                        labels=labels,
                        consent_reference=consent_reference,
                        purpose=purpose,
                        validate_only=validate_only,
                        renew=renew,
                    )
        return Enrolment(template, face)

    async def verify(
        self,
        gallery: str,
        identity: str,
        sample: Sample,
        *,
        scope: Scope | None,
        threshold: float | None,
        margin: float | None,
        selection: FaceSelection | None,
    ) -> tuple[Decision, FoundFace | None]:
        """Verify a sample against a claimed identity (1:1)."""

        async def decide(found: Gallery) -> tuple[Decision, FoundFace | None]:
            vector, made_under, face = await self._probe(sample, found, selection)
            probe = Probe(vector, made_under)
            try:
                with stage("decide"):
                    decision = await self.store.verify(
                        found, identity, probe, scope=scope, threshold=threshold, margin=margin
                    )
            except ThresholdNotCalibrated as error:
                raise self.embedders.explained(error, found.contract) from None
            if (call := PRESENT.get()) is not None:
                call.decided(decision, found.contract)
            if decision.renewal is None:
                return decision, face
            return await self._renewed(found, decision, sample, probe, face, Operation.VERIFICATION), face

        return await under_present_contract(self.store, gallery, decide)

    async def identify(self, sample: Sample, settings: IdentificationSettings) -> Identification:
        """Identify the selected face or, with ``all_faces``, every face of a sample (1:N).

        With ``all_faces``, a face that has issues has no decision.
        """
        return await under_present_contract(
            self.store, settings.gallery, lambda gallery: self._identify(gallery, sample, settings)
        )

    async def _identify(self, gallery: Gallery, sample: Sample, settings: IdentificationSettings) -> Identification:
        contract = gallery.contract
        if self.embedders.of_whole_images(contract):
            refuse_face_options(contract.model, all_faces=settings.all_faces)

        async def decide(vector: Vector, made_under: Contract, face: FoundFace | None) -> Decision:
            probe = Probe(vector, made_under)
            try:
                with stage("decide"):
                    decision = await self.store.identify(
                        gallery, probe, threshold=settings.threshold, margin=settings.margin, limit=settings.limit
                    )
            except ThresholdNotCalibrated as error:
                raise self.embedders.explained(error, contract) from None
            if (call := PRESENT.get()) is not None:
                call.decided(decision, contract)
            if decision.renewal is None:
                return decision
            return await self._renewed(gallery, decision, sample, probe, face, Operation.IDENTIFICATION)

        if not (settings.all_faces and isinstance(sample, PhotoSample)):
            vector, made_under, face = await self._probe(sample, gallery, settings.selection)
            return Identification([(await decide(vector, made_under, face), face)])
        attacks = self.attack_detection.detector_for(gallery, sample)
        found = await self.photos.find_faces(sample.content, self.max_faces, attacks)
        passed = [face for face in found.faces if not face.issues]
        vectors = await self.photos.embed([face.crop for face in passed], self.embedders.card_for(contract).version)
        pairs = zip(vectors, passed, strict=True)
        decisions = iter(await all_of(*(decide(vector, contract, face) for vector, face in pairs)))
        return Identification([(None if face.issues else next(decisions), face) for face in found.faces], found.found)

    async def _renewed(
        self,
        gallery: Gallery,
        decision: Decision,
        sample: Sample,
        probe: Probe,
        face: FoundFace | None,
        operation: Operation,
    ) -> Decision:
        def new() -> NewTemplate:
            content = content_of(sample, self.default_selection)
            return NewTemplate(probe.vector, probe.contract, provenance_of(sample, face), content=content)

        decision = await renewed(self.store, gallery, decision, sample, new, operation)
        note_renewal(decision.renewal)
        return decision

    async def search(
        self,
        gallery: str,
        sample: Sample,
        *,
        selection: FaceSelection | None,
        where: TemplateFilter,
        limit: int,
        min_score: float | None,
    ) -> tuple[tuple[FoundTemplate, ...], FoundFace | None]:
        """Find the nearest templates under a filter, without a decision."""

        async def look(found: Gallery) -> tuple[tuple[FoundTemplate, ...], FoundFace | None]:
            vector, made_under, face = await self._probe(sample, found, selection)
            probe = Probe(vector, made_under)
            with stage("decide"):
                return await self.store.search(found, probe, where=where, limit=limit, min_score=min_score), face

        return await under_present_contract(self.store, gallery, look)

    async def compare(
        self,
        first: Sample,
        second: Sample,
        *,
        threshold: float | None,
        target_fmr: float | None,
        selection: FaceSelection | None,
        embedder_version: int | None,
        embedder_model: str = "",
    ) -> tuple[Decision, FoundFace | None, FoundFace | None]:
        """Compare two samples under one contract and store nothing."""
        card = self.embedder_card(embedder_version, embedder_model)
        sides = await all_of(
            self._vector(first, card.contract, selection), self._vector(second, card.contract, selection)
        )
        pair = [Probe(vector, made_under) for vector, made_under, _ in sides]
        decision = decided_pair(pair, card, self.embedders, threshold=threshold, target_fmr=target_fmr)
        return decision, sides[0][2], sides[1][2]

    async def detect(self, photo: bytes) -> FoundFaces:
        """Find every face of a photo, largest first. If a model for it is served, score each as an attack."""
        return await self.photos.find_faces(photo, self.max_faces_detected, self.attack_detection.detector())

    async def embed(
        self, photo: bytes, embedder_version: int | None
    ) -> tuple[FoundFaces, Contract, tuple[Vector, ...]]:
        """Embed the faces of a photo, largest first. The quality gate only adds issues to the faces."""
        card = self.embedder_card(embedder_version)
        found = await self.photos.find_faces(photo, self.max_faces)
        vectors = await self.photos.embed([face.crop for face in found.faces], card.version)
        return found, card.contract, vectors

    async def embed_image(self, photo: bytes, card: ModelCard) -> tuple[Vector, tuple[int, int]]:
        """Embed a whole image, and return the image's width and height too."""
        return await self.photos.embed_image(photo, card)

    async def _probe(
        self, sample: Sample, gallery: Gallery, selection: FaceSelection | None
    ) -> tuple[Vector, Contract, FoundFace | None]:
        """Return the vector of a sample for a gallery, after what its policy asks about presentation attacks."""
        attacks = self.attack_detection.detector_for(gallery, sample)
        return await self._vector(sample, gallery.contract, selection, attacks)

    async def _vector(
        self,
        sample: Sample,
        contract: Contract,
        selection: FaceSelection | None,
        attacks: AttackDetector | None = None,
    ) -> tuple[Vector, Contract, FoundFace | None]:
        if self.embedders.of_whole_images(contract):
            refuse_face_options(contract.model, face_selection=selection)
        if isinstance(sample, EmbeddingSample):
            return sample.vector, sample.contract, None
        card = self.embedders.card_for(contract)
        with stage("acquire"):
            if card.whole_image is not None:
                return (await self.photos.embed_image(sample.content, card))[0], contract, None
            chosen = selection or self.default_selection
            face, vector = await self.photos.embed_face(sample.content, chosen, card.version, attacks)
            return vector, contract, face
