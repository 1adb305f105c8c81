"""What guards find about new templates, from what was read about them. Pure."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sameface_qdrant.engines.base import Hit, Point
from sameface_qdrant.errors import (
    DuplicateSample,
    GuardRefusal,
    IdentityCollision,
    SamefaceError,
    TemplateOutlier,
    ThresholdNotCalibrated,
)
from sameface_qdrant.policy.origins import Thresholds, identification_thresholds, verification_thresholds
from sameface_qdrant.store import payloads
from sameface_qdrant.store.template_origin import origin_of
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.gallery import Gallery, GuardAction, Policy
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector

REJECTIONS: dict[FindingKind, tuple[type[GuardRefusal], str]] = {
    FindingKind.COLLISION: (IdentityCollision, "is too similar to another identity of the gallery"),
    FindingKind.DUPLICATE: (DuplicateSample, "was made from a photo or embedding that is enrolled already"),
    FindingKind.OUTLIER: (TemplateOutlier, "is too different from the identity's other templates"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """New templates of one identity."""

    identity: str
    record: Point | None
    """The identity's record; None if it is new."""
    points: Sequence[Point]
    """The templates, with vectors; at least one."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is stored about new templates, by their ids. Guards that the policy does not need have none."""

    size: int = 0
    """Identities of the gallery."""
    others: Mapping[str, Sequence[Hit]] = field(default_factory=dict)
    """The nearest template of another identity, of each origin."""
    own: Mapping[str, Sequence[Hit]] = field(default_factory=dict)
    """The nearest templates of the same identity, without the new ones."""
    same: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """By digest: templates of the same content, without the new ones."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one subject."""

    findings: tuple[Finding, ...] = ()
    refusal: SamefaceError | None = None
    because_of: frozenset[str] = frozenset()
    """The identity of the same batch for which it is refused, if any. If that one is not enrolled after all, the
    refusal does not hold."""


def action_of(policy: Policy, kind: FindingKind) -> GuardAction:
    """Return what a policy does about a kind of finding."""
    return {
        FindingKind.COLLISION: policy.on_collision,
        FindingKind.DUPLICATE: policy.on_duplicate,
        FindingKind.OUTLIER: policy.on_outlier,
    }.get(kind, GuardAction.WARN)


def rejects(policy: Policy) -> bool:
    """Return whether any guard of a policy rejects."""
    return any(action_of(policy, kind) is GuardAction.REJECT for kind in REJECTIONS)


def compares_identities(policy: Policy) -> bool:
    """Return whether a guard of a policy compares new templates with those of other identities."""
    compare = (FindingKind.COLLISION, FindingKind.DUPLICATE)
    return any(action_of(policy, kind) is not GuardAction.ALLOW for kind in compare)


def rejection(findings: Sequence[Finding], policy: Policy, gallery: str, identity: str) -> GuardRefusal | None:
    """Return the error of the first finding that the policy rejects; None if it rejects none.

    Message and metadata do not contain the other identity and its score, because not every caller may know them.
    ``GuardRefusal.finding`` contains both.
    """
    for finding in findings:
        if action_of(policy, finding.kind) is GuardAction.REJECT and finding.kind in REJECTIONS:
            refusal, what = REJECTIONS[finding.kind]
            return refusal(
                f"a template for {identity!r} {what}; check who it shows, or set on_{finding.kind.lower()} to WARN in "
                f"the policy of {gallery!r}",
                metadata={"gallery": gallery, "identity": identity},
                finding=finding,
            )
    return None


def verdicts(
    gallery: Gallery, subjects: Sequence[Subject], evidence: Evidence, follow: Container[str] = ()
) -> list[Verdict]:
    """Return the verdict on each subject of a batch, as if they were enrolled one after another.

    One thing differs: a template that an earlier subject replaces is still in the evidence for the later ones.

    Args:
        gallery: with the policy that decides.
        subjects: one for each identity.
        evidence: what is stored about their templates.
        follow: identities that are enrolled next, unless they are refused here. The subjects after them are also
            compared with them. Empty if all subjects are stored, because the evidence contains them then.
    """
    batch = _Batch(gallery, evidence, subjects)
    results = []
    for subject in subjects:
        try:
            findings = list(dict.fromkeys(batch.findings(subject)))
            refusal: SamefaceError | None = rejection(findings, gallery.policy, gallery.id, subject.identity)
        except ThresholdNotCalibrated as unknown:
            findings, refusal = [], unknown
        cause = refusal.finding if isinstance(refusal, GuardRefusal) else None
        because_of = {cause.identity} if cause is not None and cause.template in batch.accepted else set[str]()
        results.append(Verdict(tuple(findings), refusal, frozenset(because_of)))
        if refusal is None and subject.identity in follow:
            batch.accept(subject)
    return results


@dataclass(frozen=True, slots=True)
class _Near:
    """A template near a new one. The new one is native."""

    score: float
    identity: str
    template: str
    embedding_origin: EmbeddingOrigin = EmbeddingOrigin.NATIVE

    @classmethod
    def of(cls, hit: Hit) -> "_Near":
        return cls(hit.score, hit.payload["identity"], hit.id, origin_of(hit.payload)[0])


class _Batch:
    def __init__(self, gallery: Gallery, evidence: Evidence, subjects: Sequence[Subject]) -> None:
        self._gallery = gallery
        self._policy = gallery.policy
        self._evidence = evidence
        self._points = [(subject, point) for subject in subjects for point in subject.points]
        self._row = {point.id: row for row, (_, point) in enumerate(self._points)}
        self._scores = None
        if len(subjects) > 1 and self._policy.on_collision is not GuardAction.ALLOW:
            vectors = np.stack([_vector(point) for _, point in self._points])
            self._scores = vectors @ vectors.T
            self._highest = _highest_before(self._scores, [len(subject.points) for subject in subjects])
        self._collision_thresholds: Thresholds | None = None
        self._outlier_thresholds: Thresholds | None = None
        self._before = np.zeros(len(self._points), dtype=bool)
        self._digests: dict[str, list[Point]] = {}
        self.accepted: set[str] = set()
        """Ids of the templates that are taken as enrolled."""

    def accept(self, subject: Subject) -> None:
        """Compare the following subjects with this one too."""
        for point in subject.points:
            self.accepted.add(point.id)
            self._before[self._row[point.id]] = True
            self._digests.setdefault(point.payload["digest"], []).append(point)

    def findings(self, subject: Subject) -> list[Finding]:
        """Return everything that the guards of the policy find.

        Raises:
            ThresholdNotCalibrated: a guard rejects, and no threshold is known.
        """
        policy, findings = self._policy, list[Finding]()
        if policy.on_collision is not GuardAction.ALLOW:
            findings += self._collisions(subject)
        if policy.on_duplicate is not GuardAction.ALLOW:
            findings += self._duplicates(subject)
        if policy.on_outlier is not GuardAction.ALLOW:
            findings += self._outliers(subject)
        return findings

    def _collisions(self, subject: Subject) -> list[Finding]:
        try:
            thresholds = self._thresholds_of_collisions()
        except ThresholdNotCalibrated:
            return _unchecked(FindingKind.COLLISION, self._policy)
        findings = []
        for point in subject.points:
            near = [_Near.of(hit) for hit in self._evidence.others.get(point.id, ())]
            near += self._nearest_before(point, thresholds.native.value)
            if near:
                best = thresholds.best_first(near)[0]
                threshold = thresholds.of(best.embedding_origin).value
                if best.score >= threshold:
                    findings.append(Finding(FindingKind.COLLISION, best.identity, best.template, best.score, threshold))
        return findings

    def _thresholds_of_collisions(self) -> Thresholds:
        if self._collision_thresholds is None:
            # Without a collision threshold the one for identification applies, which depends on the gallery's size.
            self._collision_thresholds = identification_thresholds(
                self._gallery, self._evidence.size, self._policy.collision_threshold
            )
        return self._collision_thresholds

    def _nearest_before(self, point: Point, threshold: float) -> list["_Near"]:
        """Return the nearest template that was accepted before, if it may be a collision."""
        if self._scores is None or not self.accepted or self._highest[self._row[point.id]] < threshold:
            return []
        scores = np.where(self._before, self._scores[self._row[point.id]], -np.inf)
        row = int(scores.argmax())
        subject, nearest = self._points[row]
        return [_Near(float(scores[row]), subject.identity, nearest.id)]

    def _duplicates(self, subject: Subject) -> list[Finding]:
        digests = dict.fromkeys(point.payload["digest"] for point in subject.points)
        found = [
            Finding(FindingKind.DUPLICATE, point.payload["identity"], point.id)
            for digest in digests
            for point in (*self._evidence.same.get(digest, ()), *self._digests.get(digest, ()))
        ]
        has_repeats = len(digests) < len(subject.points)
        return found + ([Finding(FindingKind.DUPLICATE, subject.identity, "")] if has_repeats else [])

    def _outliers(self, subject: Subject) -> list[Finding]:
        try:
            thresholds = self._thresholds_of_outliers(subject.record)
        except ThresholdNotCalibrated:
            return _unchecked(FindingKind.OUTLIER, self._policy)
        if subject.record is None and len(subject.points) == 1:
            return []  # there is nothing to compare it with
        vectors = np.stack([_vector(point) for point in subject.points])
        among_new = vectors @ vectors.T
        np.fill_diagonal(among_new, -np.inf)
        findings = []
        for number, point in enumerate(subject.points):
            near = [_Near.of(hit) for hit in self._evidence.own.get(point.id, ())]
            best = thresholds.best_first([*near, _Near(float(among_new[number].max()), subject.identity, "")])[0]
            threshold = thresholds.of(best.embedding_origin).value
            if -np.inf < best.score < threshold:
                findings.append(Finding(FindingKind.OUTLIER, subject.identity, "", best.score, threshold))
        return findings

    def _thresholds_of_outliers(self, record: Point | None) -> Thresholds:
        own = self._policy.outlier_threshold
        if record is not None and own is None:
            owner = payloads.identity_of(record.payload, self._gallery.id, 0)
            return verification_thresholds(self._gallery, owner, None)
        if self._outlier_thresholds is None:
            self._outlier_thresholds = verification_thresholds(self._gallery, None, own)
        return self._outlier_thresholds


def _highest_before(scores: Vector, templates: Sequence[int]) -> Vector:
    """Return the highest score of each template of a batch with those of earlier subjects; −inf for the first.

    Args:
        scores: of all templates with each other, shape [n, n].
        templates: how many each subject has.
    """
    first = np.repeat(np.cumsum([0, *templates[:-1]]), templates)
    earlier = np.arange(len(scores)) < first[:, None]
    highest: Vector = np.where(earlier, scores, np.float32(-np.inf)).max(axis=1)
    return highest


def _unchecked(kind: FindingKind, policy: Policy) -> list[Finding]:
    """Return the finding that no threshold is known; raise if the policy rejects this kind of finding."""
    if action_of(policy, kind) is GuardAction.REJECT:
        raise ThresholdNotCalibrated(
            f"the policy's on_{kind.value.lower()} is REJECT and no threshold is known; set a threshold in the policy, "
            "or WARN"
        )
    return [Finding(FindingKind.NOT_CHECKED, "", "")]


def _vector(point: Point) -> Vector:
    assert point.vector is not None
    return point.vector
