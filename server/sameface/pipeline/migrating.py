"""What a migration of a gallery asks of calls.

They embed under both contracts, decide under the present one alone, and renew mapped templates.
`sameface_qdrant.store.migrations` says how a migration goes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from sameface.errors import PhotoRequired
from sameface.observation.stages import stage
from sameface.pipeline.embedders import Embedders
from sameface.pipeline.photos import FoundFace, PhotoPipeline
from sameface.pipeline.samples import EmbeddingSample, Sample
from sameface_qdrant.errors import ConcurrentUpdate, SamefaceError
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.decision import Decision, Operation, Outcome, Probe, RenewalState
from sameface_qdrant.values.gallery import Gallery, RenewOnMatch
from sameface_qdrant.values.template import NewTemplate

Result = TypeVar("Result")


async def also_embedded(
    photos: PhotoPipeline, embedders: Embedders, gallery: Gallery, sample: Sample, face: FoundFace | None
) -> tuple[Probe, ...]:
    """Return the embedding of a photo under the other contract of a migrating gallery; none for other galleries.

    It costs one more run of an embedder, and nothing else: the face is found and cropped already.

    Raises:
        ModelUnavailable, ModelCheckFailed: the other version does not answer, or not as it should.
    """
    card = embedders.other_card(gallery)
    if card is None or isinstance(sample, EmbeddingSample):
        return ()
    with stage("acquire"):
        if face is None:
            vector = (await photos.embed_image(sample.content, card))[0]
        else:
            (vector,) = await photos.embed([face.crop], card.version)
    return (Probe(vector, card.contract),)


async def under_present_contract(store: Store, gallery: str, work: Callable[[Gallery], Awaitable[Result]]) -> Result:
    """Do what embeds a sample for a gallery and compares it. Repeat it if another contract has become the gallery's.

    Raises:
        ConcurrentUpdate: the contract was changed twice meanwhile.
        SamefaceError: whatever ``work`` raises.
    """
    found = await store.galleries.recent(gallery)
    try:
        return await work(found)
    except ConcurrentUpdate:
        present = await store.galleries.get(gallery)
        if present.contract.key == found.contract.key:
            raise
        return await work(present)


async def renewed(
    store: Store,
    gallery: Gallery,
    decision: Decision,
    sample: Sample,
    new: Callable[[], NewTemplate],
    operation: Operation,
) -> Decision:
    """Return the decision with what became of the mapped template that its probe may replace.

    Only a photo renews a template: nobody has seen whose face an embedding shows. A refusal does not change the
    outcome.
    """
    found, applies = decision.renewal, gallery.policy.renew_on_match is RenewOnMatch.APPLY
    if found is None or decision.outcome is not Outcome.MATCH or not applies:
        return decision
    if isinstance(sample, EmbeddingSample):
        return replace(decision, renewal=replace(found, state=RenewalState.REFUSED, reason=PhotoRequired.reason))
    try:
        with stage("enroll"):
            renewal = await store.renew(gallery.id, found.identity, found.template, new(), operation=operation)
    except SamefaceError as error:
        # The decision holds all the same: a disk that is full must not shut the door.
        renewal = replace(found, state=RenewalState.REFUSED, reason=error.reason)
    return replace(decision, renewal=renewal)
