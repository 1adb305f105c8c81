"""Verification and identification of a probe: what they read from a gallery, and in which order.

`sameface_qdrant.Store` and `sameface_qdrant.Attached` both decide through this module. It fetches the numbers, and
`sameface_qdrant.policy` decides. An identity's score is that of its best template (maximum fusion).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

from sameface_qdrant.concurrency import together
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument
from sameface_qdrant.policy import (
    check_override,
    decide_identification,
    decide_verification,
    identification_threshold,
    verification_threshold,
)
from sameface_qdrant.values.decision import Candidate, Decision, Id, Scope
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.paging import LARGEST_PAGE
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class ScoredTemplate(Generic[Id]):
    """A template with its cosine score against the probe."""

    identity: Id
    template: str
    score: float


class GallerySearch(Protocol[Id]):
    """What verification and identification read from a gallery. ``Id`` is the type of its identity ids."""

    @property
    def gallery(self) -> Gallery:
        """The policy and the operating points to decide by."""
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
        self, vector: Vector, limit: int, *, excluding: Sequence[Id] = ()
    ) -> Sequence[ScoredTemplate[Id]]:
        """Return the nearest templates of all identities but those in ``excluding``, best first."""
        ...

    async def nearest_to_claim(
        self, identity: Id, vector: Vector, *, others: bool
    ) -> tuple[Sequence[ScoredTemplate[Id]], Sequence[ScoredTemplate[Id]]]:
        """Return the nearest template of an identity, and the nearest of all others if ``others`` is set.

        Each is a sequence with at most one.
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
    policy = search.gallery.policy
    # The search first: it takes longest, and the others are sent while a server works on it.
    (claims, others), claimed, size = await together(
        search,
        search.nearest_to_claim(identity, vector, others=scope is not Scope.CLAIM),
        search.identity(identity),
        search.size(),
    )
    if not claims:
        raise IdentityNotFound(
            f"the identity {identity!r} of {search.gallery.id!r} has no template in force; enrol one first",
            metadata={"gallery": search.gallery.id, "identity": identity},
        )
    scope = scope or (Scope.GALLERY if size >= 2 else Scope.CLAIM)
    rivals = await _candidates(search, others) if scope is Scope.GALLERY else []
    return decide_verification(
        Candidate(identity, claims[0].score, claims[0].template, claimed.display_name),
        rivals[0] if rivals else None,
        scope=scope,
        threshold=verification_threshold(search.gallery, claimed, threshold),
        margin=policy.runner_up_margin if margin is None else margin,
        policy_revision=policy.revision,
        gallery_size=size,
    )


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
    policy = search.gallery.policy
    # The lead needs the second identity, even if the caller asks for one candidate.
    best, size = await together(search, _nearest_identities(search, vector, max(2, limit)), search.size())
    return decide_identification(
        await _candidates(search, best),
        limit=limit,
        threshold=identification_threshold(search.gallery, size, threshold),
        margin=policy.runner_up_margin if margin is None else margin,
        policy_revision=policy.revision,
        gallery_size=size,
    )


def check_limit(limit: int) -> None:
    """Raise InvalidArgument if a number of results is not 1..1000."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidArgument(f"limit is {limit}; expected 1 to {LARGEST_PAGE}", metadata={"field": "limit"})


async def _nearest_identities(search: GallerySearch[Id], vector: Vector, wanted: int) -> list[ScoredTemplate[Id]]:
    """Return the best template of each of the ``wanted`` nearest identities, exactly.

    A search returns the nearest templates, and no other identity is nearer than these. The next search excludes the
    identities found so far and finds those that follow. So an identity with very many templates hides no other.
    """
    best: dict[Id, ScoredTemplate[Id]] = {}
    # If each identity before the last one has the expected templates, one more is enough to find the last one.
    limit = min(LARGEST_PAGE, (wanted - 1) * search.templates_expected + 1)
    while len(best) < wanted:
        found = await search.nearest(vector, limit, excluding=list(best))
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
    return [Candidate(one.identity, one.score, one.template, name) for one, name in zip(best, names, strict=True)]


def check_overrides(threshold: float | None, field: str, margin: float | None) -> tuple[float | None, float | None]:
    """Return threshold and margin; raise InvalidArgument where one is outside −1..1, or the other outside 0..2."""
    return check_override(threshold, field, -1.0, 1.0), check_override(margin, "runner_up_margin", 0.0, 2.0)
