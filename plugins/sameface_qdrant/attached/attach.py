"""One-shot verification and identification on a Qdrant collection that another program made.

Only `Attached.enroll` and `Attached.delete` write to it. The caller keeps the policy and the operating points.

>>> import asyncio, numpy as np
>>> from qdrant_client import AsyncQdrantClient, models
>>> from sameface_qdrant import Policy, attach
>>> async def example():
...     client = AsyncQdrantClient(":memory:")
...     await client.create_collection("voices", models.VectorParams(size=2, distance=models.Distance.COSINE))
...     people = [models.PointStruct(id=1, vector=[1.0, 0.1], payload={"who": "ada"})]
...     await client.upsert("voices", people)
...     voices = await attach(client, collection="voices", identity_key="who", policy=Policy(verify_threshold=0.8))
...     decision = await voices.verify("ada", np.array([0.9, 0.2]))
...     return decision.outcome.value, round(decision.score, 3)
>>> asyncio.run(example())
('MATCH', 0.993)
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from sameface_qdrant.attached.attached import Attached
from sameface_qdrant.attached.target import NO_FIELDS, Id, checked_target
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.policy import check_operating_points, check_policy
from sameface_qdrant.values.argument_types import checks
from sameface_qdrant.values.gallery import OperatingPoint, Policy
from sameface_qdrant.values.scalars import article

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

    from sameface_qdrant.attached.sync_client import AwaitedClient


@checks
async def attach(
    client_or_url: "AsyncQdrantClient | AwaitedClient | str",
    *,
    collection: str,
    identity_key: str,
    vector_name: str = "",
    where: Mapping[str, str | int | bool] = NO_FIELDS,
    policy: Policy = Policy(),  # noqa: B008  # frozen
    operating_points: Sequence[OperatingPoint] = (),
    writable: bool = False,
    shard_key: Id | None = None,
    api_key: str | None = None,
    options: ServerOptions | None = None,
) -> Attached:
    """Attach to a collection, with a client or with the URL of a server's gRPC port.

    Args:
        client_or_url: an `AsyncQdrantClient`, which stays open, or ``http(s)://host:port``.
        collection: its name or an alias. If it leads to a collection of another size or distance later, every call
            raises ContractMismatch, so that no score is misread.
        identity_key: payload field that names the identity of a point, a text or a whole number. A dot leads into a
            nested field. Points without it are ignored, and so are those with an empty text.
        vector_name: empty means the unnamed vector. Its distance must be Cosine. Dot and Euclid are allowed if all
            vectors have unit norm; the first 256 are checked.
        where: payload fields and the values that they must have, for instance of one tenant: texts, whole numbers or
            truth values.
        policy: thresholds, margin and targets; ``max_templates`` has no effect here.
        operating_points: used if the policy sets no threshold.
        writable: whether `Attached.enroll` and `Attached.delete` may write.
        shard_key: where `Attached.enroll` puts points, in a collection that is sharded by keys of its owner. Reads and
            `Attached.delete` concern every shard.
        api_key: only for a URL. It needs no more than to read this collection.
        options: only for a URL; layout options have no effect.

    Raises:
        InvalidArgument: there is no such collection or vector, none of its points has the identity key, its scores
            cannot be turned into cosines, or the policy is malformed.
        StoreUnavailable: the server does not answer or refuses the key.

    Warns:
        UserWarning: the identity key or a field of ``where`` has no payload index on the server, or no point has a
            field of ``where``.
    """
    # Imported here, so that users of Edge do not load qdrant-client.
    from qdrant_client import AsyncQdrantClient

    from sameface_qdrant.attached.inspection import open_collection
    from sameface_qdrant.attached.misnamed import check_fields
    from sameface_qdrant.attached.sync_client import AwaitedClient
    from sameface_qdrant.engines.server.client import connect

    policy, points = check_policy(policy), check_operating_points(operating_points)
    target = checked_target(collection, vector_name, identity_key, where)
    if isinstance(client_or_url, AsyncQdrantClient | AwaitedClient):
        client, location, closes_client = cast(AsyncQdrantClient, client_or_url), "the client given", False
    elif isinstance(client_or_url, str) and client_or_url.startswith(("http://", "https://")):
        client = connect(client_or_url, api_key, options or ServerOptions())
        location, closes_client = client_or_url, True
    else:
        given = repr(client_or_url[:80]) if isinstance(client_or_url, str) else article(type(client_or_url).__name__)
        advice = "; a QdrantClient goes to sameface_qdrant.blocking.attach" if "QdrantClient" in given else ""
        raise InvalidArgument(
            f"client_or_url is {given}; expected an AsyncQdrantClient or http(s)://host:port{advice}",
            metadata={"field": "client_or_url"},
        )
    try:
        opened = await open_collection(client, location, target, shard_key)
        if writable and opened.sharded_by_key and shard_key is None:
            raise InvalidArgument(
                f"{collection!r} is sharded by keys of its owner, so that a new point needs one; give a shard_key, or "
                "attach without writable",
                metadata={"field": "shard_key"},
            )
        attached = Attached(opened, policy, points, writable=writable, closes_client=closes_client)
        await check_fields(opened, await attached.count())
    except BaseException:
        if closes_client:
            await client.close()
        raise
    return attached
