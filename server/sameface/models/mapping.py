"""Makes a template map between two versions: fits it, and judges it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.evaluation.compatibility import FMRS, Combination, Compatibility, in_order_of, measure_compatibility
from sameface.evaluation.model_figures import FPIR, ModelFigures
from sameface.evaluation.operating_points import measure_operating_points
from sameface.evaluation.records import points_record, rounded_record
from sameface.evaluation.samples import Samples
from sameface.inference.cards import Licence, MeasuredPoint, ModelCard
from sameface.inference.map_cards import CombinationFigures, Fit, MapCard, MapEvaluation, MappedVersion, TriedForm
from sameface.models.mapping_embeddings import Both, card_of_version, embed_pictures
from sameface.models.mapping_faces import Amounts, PeoplesFaces
from sameface.models.mapping_fit import Candidate, Fitted, Form, PhotoEmbeddings, choose, fit, held_out, parts_of
from sameface.models.mapping_rule import ruled
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.gallery import OperatingPoint
from sameface_qdrant.values.template_map import Hidden, TemplateMap

HELD_OUT = "people held out of the fit"


@dataclass(frozen=True, slots=True)
class Judges:
    """Photos that judge a map, embedded by both versions. They must not be photos that it was fitted to."""

    old: Samples
    new: Samples
    measured_on: str


@dataclass(frozen=True, slots=True)
class MadeMap:
    """A map with its card, and the figures that it was judged by. Nothing is written yet."""

    card: MapCard
    map: TemplateMap
    found: Compatibility


def make_map(
    repository: Path,
    cache: Path,
    *,
    model: str,
    old: int,
    new: int,
    faces: PeoplesFaces,
    data: str,
    judges: Judges | None = None,
    amounts: Amounts | None = None,
    forms: tuple[Form, ...] = tuple(Form),
    kept: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> MadeMap:
    """Fit a map from one version of an embedder to another one, and judge it.

    The form and its strength are chosen by people held out of the fit; then it is fitted to all people.

    Args:
        repository: the model repository.
        cache: the folder for downloads.
        model: the embedder of faces.
        old: the version of the templates.
        new: the version of the probes.
        faces: photos to fit it to.
        data: what they are, with their licence, for the card.
        judges: photos that measure its error rates and thresholds; None takes the people held out of the fit.
        amounts: pictures that are made of the photos.
        forms: of the map, to choose from.
        kept: folder where embeddings are kept for another call.
        progress: called with a step, what is done of it and all of it.

    Raises:
        InvalidArgument: ``data`` is blank, both versions are the same, or the judges' samples differ.
        NotEnoughData: there are too few people.
        ModelNotFound, ModelCheckFailed, RuntimeMissing: see `sameface.models.mapping_embeddings.embed_pictures`.
    """
    if not data.strip():
        raise InvalidArgument(
            'data is blank; say what the faces are and under which licence, for example "our staff, 2026, by contract"',
            metadata={"field": "data"},
        )
    if old == new:
        raise InvalidArgument(
            f"version {old} was given twice; expected the version of the templates, then that of the probes",
            metadata={"field": "new"},
        )
    amounts = amounts or Amounts()
    cards = tuple(card_of_version(repository, model, version) for version in (old, new))

    def embedded(card: ModelCard) -> Both:
        step = f"version {card.version}: embedding"
        return embed_pictures(repository, cache, card, faces, amounts, kept, lambda *done: progress(step, *done))

    both = [embedded(card) for card in cards]
    given = _photo_embeddings(both, faces, amounts)
    progress("fitting", 0, 1)
    tried = choose(given, forms, seed=amounts.seed)
    fitted = fit(given, tried[0], amounts.seed)
    if judges is None:
        samples, mapped = _held_out_samples(given, tried[0], faces, amounts)
        judges = Judges(*samples, measured_on=HELD_OUT)
    else:
        judges = Judges(in_order_of(judges.old, judges.new), judges.new, judges.measured_on)
        mapped = fitted.applied(judges.old.vectors.astype(np.float64))
    progress("judging", 0, 1)
    found = measure_compatibility(judges.old, judges.new, mapped.astype(np.float32), fmrs=FMRS)
    points = _points(found, judges.measured_on)
    made = _template_map(fitted, cards[0].contract, cards[1].contract, points)
    described = Fit(
        data=data.strip(),
        people=int(faces.people.max()) + 1,
        photos=len(faces.images),
        copies=amounts.copies,
        mixtures=amounts.mixtures,
        seed=amounts.seed,
        form=tried[0].form,
        strength=tried[0].strength,
        tried=tuple(TriedForm(form=one.form, strength=one.strength, cosine=round(one.cosine, 5)) for one in tried),
    )
    card = MapCard(
        model=model,
        old=MappedVersion(version=old, sha256=cards[0].sha256),
        new=MappedVersion(version=new, sha256=cards[1].sha256),
        title=f"{model} version {old} to {new}",
        sha256=made.sha256,
        licence=_licence(cards[0], cards[1], data.strip()),
        fit=described,
        evaluation=_evaluation(found, judges),
        operating_points=points,
    )
    return MadeMap(ruled(card), made, found)


def _photo_embeddings(both: list[Both], faces: PeoplesFaces, amounts: Amounts) -> PhotoEmbeddings:
    """Return pictures and mirror images as rows of one table."""
    owners = faces.owners(amounts)
    old, new = (np.concatenate([one[:, 0], one[:, 1]]) for one in both)
    return PhotoEmbeddings(old, new, np.concatenate([owners, owners]))


def _held_out_samples(
    given: PhotoEmbeddings, chosen: Candidate, faces: PeoplesFaces, amounts: Amounts
) -> tuple[tuple[Samples, Samples], "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]:
    """Return the photos as they are by both versions, and mapped by fits to other people."""
    count = len(faces.images)
    mapped = held_out(given, chosen, parts_of(given, seed=amounts.seed), amounts.seed)[:count]
    identity = tuple(name.split("/")[0] for name in faces.names)
    old, new = (
        Samples(rows[:count].astype(np.float32), identity, faces.names, preprocessed="aligned faces")
        for rows in (given.old, given.new)
    )
    return (old, new), mapped


def _template_map(fitted: Fitted, old: Contract, new: Contract, points: tuple[MeasuredPoint, ...]) -> TemplateMap:
    def single(
        rows: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return rows.astype(np.float32)

    hidden = None
    if fitted.inner is not None and fitted.inner_bias is not None and fitted.out is not None:
        hidden = Hidden(single(fitted.inner), single(fitted.inner_bias), single(fitted.out))
    return TemplateMap(
        old,
        new,
        single(fitted.weight),
        single(fitted.bias),
        hidden,
        tuple(OperatingPoint(point.fmr, point.threshold) for point in points),
    )


def _points(found: Compatibility, measured_on: str) -> tuple[MeasuredPoint, ...]:
    """Return thresholds of new probes against mapped templates, as far as the samples support them."""
    verified = found.figures[Combination.MAPPED].verification
    measured = measure_operating_points(verified.comparison)
    kept = [one for one in measured if verified.support.holds(one.target_fmr)]
    records = points_record(kept, verified.comparison, verified.support, measured_on, for_card=True)
    return tuple(map(MeasuredPoint.model_validate, records))


def _evaluation(found: Compatibility, judges: Judges) -> MapEvaluation:
    figures = {name.name.lower(): _combination(one) for name, one in found.figures.items()}
    against_old = found.against_old[Combination.MAPPED]
    return MapEvaluation.model_validate(
        {
            "measured_on": judges.measured_on,
            "identities": len({*judges.new.identity, *(one.identity for one in judges.new.not_acquired)}),
            "samples": len(judges.new.sample) + len(judges.new.not_acquired),
            "cosine": rounded_record(found.cosine),
            "fpir": FPIR,
            **figures,
            "against_old": {one.name: str(one.verdict) for one in against_old},
            "unsupported": [one.name for one in against_old if not one.is_supported],
        }
    )


def _combination(found: ModelFigures) -> CombinationFigures:
    return CombinationFigures.model_validate(
        {
            "fnmr": [
                {
                    "fmr": point.target,
                    "fnmr": rounded_record(point.fnmr),
                    "fnmr_by_identity": rounded_record(point.fnmr_by_identity),
                }
                for point in found.verification.points
            ],
            "fnir": rounded_record(found.identification.points[0].fnir),
            "rank_one": rounded_record(found.identification.rank_one),
        }
    )


def _licence(old: ModelCard, new: ModelCard, data: str) -> Licence:
    """Return the licence of a map: its numbers come from the data of the fit, and it is used with both versions."""
    restrictions = dict.fromkeys(card.licence.restriction for card in (old, new) if card.licence.restriction)
    return Licence(
        weights=f"those of the data that it was fitted to, and of both versions. Version {old.version}: "
        f"{old.licence.weights}. Version {new.version}: {new.licence.weights}",
        training_data=data,
        restriction=" ".join(restrictions),
    )
