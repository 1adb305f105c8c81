"""Verification and identification of a probe: what they read from a gallery, and in which order.

`sameface_qdrant.Store` and `sameface_qdrant.Attached` both decide through this module. It fetches the numbers, and
`sameface_qdrant.policy` decides. An identity's score is that of its best template (maximum fusion).

Templates of different origins are searched one after another, and compared as `sameface_qdrant.policy.origins` says.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

from sameface_qdrant.concurrency import together
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument, ThresholdNotCalibrated
from sameface_qdrant.policy import (
    check_override,
    decide_identification,
    decide_verification,
)
from sameface_qdrant.policy.origins import (
    Thresholds,
    identification_thresholds,
    origins_in,
    renewal_bound,
    verification_thresholds,
)
from sameface_qdrant.values.decision import Candidate, Decision, Id, Renewal, Scope
from sameface_qdrant.values.gallery import Gallery, RenewOnMatch
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.paging import LARGEST_PAGE
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class ScoredTemplate(Generic[Id]):
    """A template with its cosine score against the probe."""

    identity: Id
    template: str
    score: float
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE


class GallerySearch(Protocol[Id]):
    """What verification and identification read from a gallery. ``Id`` is the type of its identity ids."""

    @property
    def gallery(self) -> Gallery:
        """The policy and the operating points to decide by. It says which origins its templates may have."""
        ...

    @property
    def exclusive(self) -> bool:
        """See `sameface_qdrant.concurrency.Reader`."""
        ...

    @property
    def templates_expected(self) -> int:
        """How many templates per identity the first search of an identification expects, at least 1.

        If no identity has more, one search is enough. A smaller number makes it cheaper.
        """
        ...

    async def size(self) -> int:
        """Return how many identities there are."""
        ...

    async def identity(self, identity: Id) -> Identity:
        """Return a claimed identity, or raise IdentityNotFound."""
        ...

    async def nearest(
        self, vector: Vector, limit: int, *, excluding: Sequence[Id] = (), origin: EmbeddingOrigin
    ) -> Sequence[ScoredTemplate[Id]]:
        """Return the nearest templates of an origin, of all identities but those in ``excluding``, best first."""
        ...

    async def nearest_to_claim(
        self, identity: Id, vector: Vector, *, others: bool
    ) -> tuple[Sequence[ScoredTemplate[Id]], Sequence[ScoredTemplate[Id]]]:
        """Return the nearest template of an identity, and the nearest of all others if ``others`` is set.

        Each is a sequence with at most one of each origin.
        """
        ...

    async def display_names(self, identities: Sequence[Id]) -> Sequence[str]:
        """Return the display name of each identity; empty if it has none."""
        ...


async def verify(
    search: GallerySearch[Id],
    identity: Id,
    vector: Vector,
    *,
    scope: Scope | None = None,
    threshold: float | None = None,
    margin: float | None = None,
) -> Decision[Id]:
    """1:1. Compare a unit vector with a claimed identity; with scope GALLERY also with all others.

    It reads twice: first everything for the decision at once, then the display name of the best other identity.

    Raises:
        IdentityNotFound: the identity does not exist, or has no template to compare with.
        ThresholdNotCalibrated: no threshold is known.
        InvalidArgument: ``threshold`` is outside −1..1, or ``margin`` outside 0..2.
    """
    threshold, margin = check_overrides(threshold, "verify_threshold", margin)
    gallery = search.gallery
    policy = gallery.policy
    # The search first: it takes longest, and the others are sent while a server works on it.
    (claims, others), claimed, size = await together(
        search,
        search.nearest_to_claim(identity, vector, others=scope is not Scope.CLAIM),
        search.identity(identity),
        search.size(),
    )
    if not claims:
        raise IdentityNotFound(
            f"the identity {identity!r} of {gallery.id!r} has no template in force; enrol one first",
            metadata={"gallery": gallery.id, "identity": identity},
        )
    scope = scope or (Scope.GALLERY if size >= 2 else Scope.CLAIM)
    thresholds = verification_thresholds(gallery, claimed, threshold)
    # Only where two origins are searched, there may be more than one.
    best = claims[0] if len(claims) == 1 else thresholds.best_first(claims)[0]
    rivals = await _candidates(search, thresholds.best_first(others)[:1]) if scope is Scope.GALLERY else []
    decision = decide_verification(
        Candidate(identity, best.score, best.template, claimed.display_name, best.embedding_origin),
        rivals[0] if rivals else None,
        scope=scope,
        threshold=thresholds.of(best.embedding_origin),
        margin=policy.runner_up_margin if margin is None else margin,
        policy_revision=policy.revision,
        gallery_size=size,
        shift=thresholds.shift,
    )
    if gallery.mapped is None:
        return decision
    return _proposing(gallery, decision, claims, lambda: verification_thresholds(gallery, claimed, None))


async def identify(
    search: GallerySearch[Id],
    vector: Vector,
    *,
    threshold: float | None = None,
    margin: float | None = None,
    limit: int = 5,
) -> Decision[Id]:
    """1:N. Find the identities most similar to a unit vector, at most ``limit``; decide whether the best one matches.

    Raises:
        ThresholdNotCalibrated: no threshold is known.
        InvalidArgument: ``limit`` is outside 1..1000, ``threshold`` outside −1..1, or ``margin`` outside 0..2.
    """
    threshold, margin = check_overrides(threshold, "identify_threshold", margin)
    check_limit(limit)
    gallery = search.gallery
    policy = gallery.policy
    # The lead needs the second identity, even if the caller asks for one candidate.
    wanted = max(2, limit)
    by_origin, size = await together(search, _nearest_by_origin(search, vector, wanted), search.size())
    thresholds = identification_thresholds(gallery, size, threshold)
    best: dict[Id, ScoredTemplate[Id]] = {}
    for template in thresholds.best_first(found for templates in by_origin for found in templates):
        best.setdefault(template.identity, template)
    candidates = await _candidates(search, list(best.values())[:wanted])
    decision = decide_identification(
        candidates,
        limit=limit,
        threshold=thresholds.of(candidates[0].embedding_origin) if candidates else thresholds.native,
        margin=policy.runner_up_margin if margin is None else margin,
        policy_revision=policy.revision,
        gallery_size=size,
        shift=thresholds.shift,
    )
    if gallery.mapped is None:
        return decision
    own = [
        found
        for templates in by_origin
        for found in templates
        if candidates and found.identity == candidates[0].identity
    ]
    return _proposing(gallery, decision, own, lambda: identification_thresholds(gallery, size, None))


def _proposing(
    gallery: Gallery,
    decision: Decision[Id],
    own: Sequence[ScoredTemplate[Id]],
    thresholds: Callable[[], Thresholds],
) -> Decision[Id]:
    """Return a decision with the mapped template that the probe may replace, if its policy renews and there is one.

    Args:
        gallery: with the policy.
        decision: a MATCH; others renew nothing.
        own: the best template of the matched identity, of each origin.
        thresholds: returns those of the gallery, whatever the request says.
    """
    if gallery.policy.renew_on_match is RenewOnMatch.OFF or not decision.matched:
        return decision
    mapped = [one for one in own if one.embedding_origin is EmbeddingOrigin.MAPPED]
    if not mapped:
        return decision
    try:
        required = renewal_bound(thresholds(), gallery.policy)
    except ThresholdNotCalibrated:
        # The request brought the threshold. Nobody has said from which score on a probe is trusted.
        return decision
    if not mapped[0].score >= required:
        return decision
    renewal = Renewal(str(mapped[0].identity), mapped[0].template, mapped[0].score, required)
    return dataclasses.replace(decision, renewal=renewal)


def check_limit(limit: int) -> None:
    """Raise InvalidArgument if a number of results is not 1..1000."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidArgument(f"limit is {limit}; expected 1 to {LARGEST_PAGE}", metadata={"field": "limit"})


async def _nearest_by_origin(search: GallerySearch[Id], vector: Vector, wanted: int) -> list[list[ScoredTemplate[Id]]]:
    """Return what `_nearest_identities` returns for each origin.

    The best identities of both origins together are among them: an identity that is ahead of another by a template of
    one origin is ahead of it in the list of that origin.
    """
    native, *mapped = origins_in(search.gallery)
    if not mapped:
        return [await _nearest_identities(search, vector, wanted, native)]
    return list(
        await together(search, *(_nearest_identities(search, vector, wanted, one) for one in (native, *mapped)))
    )


async def _nearest_identities(
    search: GallerySearch[Id], vector: Vector, wanted: int, origin: EmbeddingOrigin
) -> list[ScoredTemplate[Id]]:
    """Return the best template of each of the ``wanted`` nearest identities by templates of an origin, exactly.

    A search returns the nearest templates, and no other identity is nearer than these. The next search excludes the
    identities found so far and finds those that follow. So an identity with very many templates hides no other.
    """
    best: dict[Id, ScoredTemplate[Id]] = {}
    # If each identity before the last one has the expected templates, one more is enough to find the last one.
    limit = min(LARGEST_PAGE, (wanted - 1) * search.templates_expected + 1)
    while len(best) < wanted:
        found = await search.nearest(vector, limit, excluding=list(best), origin=origin)
        for template in found:
            best.setdefault(template.identity, template)
        if len(found) < limit:
            break
    # A template that was written between two searches may be nearer than those found before.
    return sorted(best.values(), key=lambda template: -template.score)[:wanted]


async def _candidates(search: GallerySearch[Id], best: Sequence[ScoredTemplate[Id]]) -> list[Candidate[Id]]:
    if not best:
        return []
    names = await search.display_names([one.identity for one in best])
    return [
        Candidate(one.identity, one.score, one.template, name, one.embedding_origin)
        for one, name in zip(best, names, strict=True)
    ]


def check_overrides(threshold: float | None, field: str, margin: float | None) -> tuple[float | None, float | None]:
    """Return threshold and margin; raise InvalidArgument where one is outside −1..1, or the other outside 0..2."""
    return check_override(threshold, field, -1.0, 1.0), check_override(margin, "runner_up_margin", 0.0, 2.0)
