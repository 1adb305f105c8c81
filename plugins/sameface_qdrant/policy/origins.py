"""Thresholds by the origin of templates, and when a probe may renew a mapped one. Pure.

Scores with mapped templates have a distribution of their own: at the same threshold their false match rate is another
one. So each origin has its threshold. To find the best template and the lead, a score with a mapped template is moved
by ``shift``, the native threshold minus the mapped one. After that both origins accept from the same value on.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.policy import (
    Threshold,
    comparison_fmr,
    identification_threshold,
    is_stale,
    operating_threshold,
    verification_threshold,
)
from sameface_qdrant.values.decision import ThresholdSource
from sameface_qdrant.values.gallery import Gallery, Policy
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.origin import EmbeddingOrigin, Scored, comparable

ORIGINS = (EmbeddingOrigin.NATIVE, EmbeddingOrigin.MAPPED)


AnyScored = TypeVar("AnyScored", bound=Scored)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of one decision."""

    native: Threshold
    mapped: Threshold | None = None
    """None if the gallery holds no mapped template."""
    shift: float = 0.0
    """What is added to a score with a mapped template before it is compared with one with a native template."""

    def of(self, origin: EmbeddingOrigin) -> Threshold:
        """Return the threshold of scores with templates of an origin.

        Raises:
            ThresholdNotCalibrated: it is that of mapped templates, and the gallery is said to hold none.
        """
        if origin is EmbeddingOrigin.NATIVE:
            return self.native
        if self.mapped is None:
            raise _not_calibrated("its record says that it holds no mapped template, and one was found")
        return self.mapped

    def best_first(self, scored: Iterable[AnyScored]) -> list[AnyScored]:
        """Return them in the order of their comparable scores."""
        if not self.shift:
            return sorted(scored, key=attrgetter("score"), reverse=True)
        return sorted(scored, key=lambda one: comparable(one, self.shift), reverse=True)


def origins_in(gallery: Gallery) -> tuple[EmbeddingOrigin, ...]:
    """Return the origins that the templates of a gallery may have; each is searched on its own."""
    return ORIGINS if gallery.mapped is not None else ORIGINS[:1]


def verification_thresholds(gallery: Gallery, identity: Identity | None, requested: float | None) -> Thresholds:
    """Return the thresholds of a claim, see `sameface_qdrant.policy.verification_threshold`.

    A threshold of the request or of the identity is one of native scores. That of mapped ones differs from it as the
    gallery's own thresholds differ.

    Raises:
        ThresholdNotCalibrated: none is known for an origin that the gallery holds.
    """
    native = verification_threshold(gallery, identity, requested)
    if gallery.mapped is None:
        return Thresholds(native)
    policy, points = gallery.policy, gallery.mapped.operating_points
    return _by_origin(
        native,
        _own(policy.verify_threshold, operating_threshold(gallery.operating_points, policy.target_fmr)),
        _of_map(policy.mapped_verify_threshold, operating_threshold(points, policy.target_fmr)),
    )


def identification_thresholds(gallery: Gallery, gallery_size: int, requested: float | None) -> Thresholds:
    """Return the thresholds of a search, see `sameface_qdrant.policy.identification_threshold`.

    Raises:
        ThresholdNotCalibrated: none is known for an origin that the gallery holds.
    """
    native = identification_threshold(gallery, gallery_size, requested)
    if gallery.mapped is None:
        return Thresholds(native)
    policy, points = gallery.policy, gallery.mapped.operating_points
    fmr = comparison_fmr(policy.target_fpir, gallery_size)
    mapped = _of_map(policy.mapped_identify_threshold, operating_threshold(points, fmr))
    if mapped is not None and mapped.source is ThresholdSource.GALLERY:
        mapped = dataclasses.replace(mapped, stale=is_stale(policy, gallery_size))
    own = _own(policy.identify_threshold, operating_threshold(gallery.operating_points, fmr))
    return _by_origin(native, own, mapped)


def moved(thresholds: Thresholds, value: float) -> Thresholds:
    """Return thresholds with ``value`` as that of native scores, and that of mapped ones as far from it as before."""
    native = dataclasses.replace(thresholds.native, value=value)
    mapped = thresholds.mapped and dataclasses.replace(thresholds.mapped, value=value - thresholds.shift)
    return Thresholds(native, mapped, thresholds.shift)


def renewal_bound(thresholds: Thresholds, policy: Policy) -> float:
    """Return the lowest score with a mapped template that lets the probe replace it.

    Args:
        thresholds: of the gallery, without one of the request. A caller must not lower the bound.
        policy: with the ``renewal_margin``.

    Raises:
        ThresholdNotCalibrated: the gallery holds no mapped templates.
    """
    return thresholds.of(EmbeddingOrigin.MAPPED).value + policy.renewal_margin


def _by_origin(native: Threshold, own: float | None, mapped: Threshold | None) -> Thresholds:
    """Return the thresholds of a decision.

    Args:
        native: of this decision.
        own: that of the gallery for native scores, whatever the request or the identity has.
        mapped: that of the gallery for mapped ones.
    """
    source = native.source
    if source is ThresholdSource.REQUEST and (own is None or mapped is None):
        # The gallery does not know how the origins differ. The caller sees the scores of both, and chose one threshold.
        return Thresholds(native, native)
    if mapped is None:
        raise _not_calibrated("no threshold for them is known: neither its policy nor its map has one")
    if own is None or source not in (ThresholdSource.REQUEST, ThresholdSource.IDENTITY):
        return Thresholds(native, mapped, native.value - mapped.value)
    shift = own - mapped.value
    return Thresholds(native, dataclasses.replace(native, value=native.value - shift), shift)


def _own(of_policy: float | None, of_card: Threshold | None) -> float | None:
    if of_policy is not None or of_card is None:
        return of_policy
    return of_card.value


def _of_map(of_policy: float | None, of_map: Threshold | None) -> Threshold | None:
    if of_policy is not None:
        return Threshold(of_policy, ThresholdSource.GALLERY)
    return of_map and dataclasses.replace(of_map, source=ThresholdSource.TEMPLATE_MAP)


def _not_calibrated(why: str) -> ThresholdNotCalibrated:
    return ThresholdNotCalibrated(
        f"the gallery holds mapped templates, and {why}; set mapped_verify_threshold and mapped_identify_threshold in "
        "the policy, or calibrate the gallery"
    )
