"""The filters that choose points of an attached collection. Pure."""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from sameface_qdrant.attached.target import Id, Target


def within(target: Target) -> list[Any]:
    """Return the conditions of every read: the fields of ``where``, and that the point has the vector."""
    conditions: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in target.where.items()
    ]
    if target.vector_name:
        conditions.append(models.HasVectorCondition(has_vector=target.vector_name))
    return conditions


def without_identity(target: Target, *, whole_numbers: bool = False) -> models.Filter:
    """Return the filter on points that have no value under the identity key, or an empty text."""
    nobody: list[Any] = [_is_empty(target.identity_key)]
    if not whole_numbers:
        nobody.append(models.FieldCondition(key=target.identity_key, match=models.MatchValue(value="")))
    return models.Filter(must=within(target), should=nobody)


def with_identity(
    target: Target,
    *,
    only: Id | None = None,
    excluding: Sequence[Id] = (),
    skipping: Sequence[Id] = (),
    whole_numbers: bool = False,
) -> models.Filter:
    """Return the filter on points that have a value under the identity key.

    Args:
        target: which collection and fields.
        only: the identity that they must have.
        excluding: identities that they must not have.
        skipping: ids of points that are left out.
        whole_numbers: whether the payload index on the key is one of whole numbers, which cannot test texts.
    """
    key = target.identity_key
    must = within(target)
    if only is not None:
        must.append(models.FieldCondition(key=key, match=models.MatchValue(value=only)))
    must_not: list[Any] = [_is_empty(key)]
    # A MatchAny condition takes either texts or numbers. An empty text names nobody.
    texts = [value for value in excluding if isinstance(value, str)] + ([] if whole_numbers else [""])
    numbers = [value for value in excluding if isinstance(value, int)]
    must_not += [
        models.FieldCondition(key=key, match=models.MatchAny(any=values)) for values in (texts, numbers) if values
    ]
    if skipping:
        must_not.append(models.HasIdCondition(has_id=list(skipping)))
    return models.Filter(must=must, must_not=must_not)


def _is_empty(key: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
