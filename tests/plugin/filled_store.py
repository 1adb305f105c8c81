"""Fills a store with everything that it can hold, and shows all of it through the public methods alone."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Page, Policy, Provenance, Store
from tests.plugin.conftest import CONTRACT, random_vector

OTHER = Contract("signatures", version=3, sha256="b" * 64, dimension=5, preprocessing="crop")
LATER = datetime.now(UTC) + timedelta(days=400)


async def fill(store: Store, rng: np.random.Generator, identities: int = 7) -> None:
    """Make two galleries under two contracts, with several revisions, labels, expiries, a move and an erasure."""
    points = (OperatingPoint(0.001, 0.4), OperatingPoint(0.0001, 0.5))
    await store.galleries.create(
        "staff",
        CONTRACT,
        display_name="Stàff “1”",
        policy=Policy(verify_threshold=0.3),
        operating_points=points,
        request_id="make-staff",
    )
    for threshold in (0.35, 0.4, 0.45):
        await store.galleries.update("staff", policy={"verify_threshold": threshold}, author="ada")
    await store.galleries.update("staff", policy={"presentation_attack": "report"}, author="bob")
    for number in range(identities):
        new = [
            NewTemplate(
                random_vector(rng),
                CONTRACT,
                Provenance("photo", {"Sharpness": float(rng.uniform(0, 100))}, f"note {part}"),
                content=rng.bytes(64),
                expire_time=LATER if part == 1 else None,
            )
            for part in range(int(rng.integers(1, 4)))
        ]
        labels = {"team": f"t{number % 2}"}
        await store.enroll(
            "staff", f"p{number}", new, request_id=f"r{number}", display_name=f"P {number}", labels=labels
        )
    await store.identities.update("staff", "p0", {"verify_threshold": 0.7, "expire_time": LATER - timedelta(days=1)})
    await store.identities.create("staff", "nobody", display_name="no templates", consent_reference="c-1", purpose="x")
    await store.identities.move("staff", "p1", "moved")
    await store.identities.delete("staff", "p2", force=True)
    await store.galleries.create("signed", OTHER)
    await store.enroll("signed", "p0", [NewTemplate(random_vector(rng, OTHER.dimension), OTHER)])
    await store.galleries.create("empty", CONTRACT)


async def everything(listing: Any, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
    """Yield the items of every page."""
    token = ""
    while True:
        page: Page[Any] = await listing(*arguments, page_size=3, page_token=token, **options)
        for item in page.items:
            yield item
        if not (token := page.next_token):
            return


async def view(store: Store, *, receipts: bool = True) -> dict[str, Any]:
    """Return everything that a store holds; vectors under ``vectors``, by gallery and template."""
    seen: dict[str, Any] = {"vectors": {}}
    async for gallery in everything(store.galleries.list):
        seen[f"galleries/{gallery.id}"] = gallery, gallery.uid
        seen[f"galleries/{gallery.id}/revisions"] = await store.galleries.revisions(gallery.id)
        async for identity in everything(store.identities.list, gallery.id):
            seen[f"{gallery.id}/{identity.id}"] = identity
            async for listed in everything(store.templates.list, gallery.id, identity.id):
                template = await store.templates.get(gallery.id, identity.id, listed.id, with_vector=True)
                seen["vectors"][gallery.id, listed.id] = template.vector
                seen[f"{gallery.id}/{identity.id}/{listed.id}"] = listed
    if receipts:
        async for receipt in everything(store.erasures.list):
            names = receipt.resource, receipt.gallery, receipt.identity, receipt.template, receipt.erase_time
            seen[f"receipts/{receipt.id}"] = names
    return seen


def assert_same(found: dict[str, Any], expected: dict[str, Any], *, exact: bool) -> None:
    """Assert that two stores hold the same; their vectors bit by bit, or up to the rounding of a normalisation.

    Qdrant Edge returns some numbers of a payload with another last bit. Times are compared by milliseconds.
    """
    vectors, wanted = found.pop("vectors"), expected.pop("vectors")
    assert found.keys() == expected.keys()
    for key, one in found.items():
        assert _plain(one) == _plain(expected[key]), key
    assert vectors.keys() == wanted.keys()
    for key, vector in vectors.items():
        if exact:
            assert vector.tobytes() == wanted[key].tobytes()
        else:
            np.testing.assert_allclose(vector, wanted[key], rtol=0, atol=2e-7)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # An identity's etag depends on the last bit of a time.
        names = [field.name for field in dataclasses.fields(value) if field.name != "etag"]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
