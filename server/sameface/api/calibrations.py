"""CalibrateGallery and WhatIfGallery: translate requests, call the store once, translate its results."""

import asyncio
from collections.abc import Callable

import numpy as np
from google.protobuf.message import Message

from sameface.api.calibration_responses import calibration_to, identity_thresholds_to, side_to
from sameface.api.choices import choice_from
from sameface.api.names import parse_name
from sameface.api.requests import contract_from, number_from, scope_from
from sameface.v1 import calibration_pb2, face_pb2, gallery_pb2, gallery_service_pb2
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.what_if import RecordedDecisions, recorded_decisions
from sameface_qdrant.concurrency import in_thread
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Comparisons, labelled_scores
from sameface_qdrant.metrics.curves import curves
from sameface_qdrant.metrics.menagerie import propose_identity_thresholds
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.decision import Operation
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.origin import EmbeddingOrigin

AUTHOR = "CalibrateGallery"
MAX_SCORES, MAX_COHORT, MAX_IDENTITIES = 1_000_000, 10_000, 20_000
_OPERATIONS = {
    calibration_pb2.OPERATION_VERIFICATION: Operation.VERIFICATION,
    calibration_pb2.OPERATION_IDENTIFICATION: Operation.IDENTIFICATION,
}


class Calibrations:
    """Runs one calibration at a time, because each may keep a core busy for seconds.

    The next one starts when the threads of the previous one have ended, even if that one was cancelled.
    """

    def __init__(self, store: Store, gallery_to: Callable[[Gallery], gallery_pb2.Gallery]) -> None:
        self._store = store
        self._gallery_to = gallery_to
        self._one_at_a_time = asyncio.Lock()

    async def calibrate(
        self, request: gallery_service_pb2.CalibrateGalleryRequest
    ) -> gallery_service_pb2.CalibrateGalleryResponse:
        """See the proto."""
        (gallery,) = parse_name(request.name, "name", 1)
        operation = _operation(request.operation)
        origins = face_pb2.EmbeddingOrigin.DESCRIPTOR
        origin = choice_from(request.embedding_origin, origins, EmbeddingOrigin, "embedding_origin")
        threads = self._store.calculating
        comparisons = cohort = None
        async with self._one_at_a_time:
            match request.WhichOneof("evidence"):
                case "scores":
                    comparisons = await in_thread(threads, _scores, request.scores)
                case "cohort":
                    cohort = await in_thread(threads, _cohort, request.cohort)
            found = await self._store.calibrate(
                gallery,
                apply=not request.validate_only,
                accept_supported=request.accept_supported,
                operation=operation,
                comparisons=comparisons,
                cohort=cohort,
                author=AUTHOR,
                etag=request.etag,
                origin=origin,
            )
            drawn = await in_thread(threads, curves, found.comparisons)
            proposed = None
            if request.propose_identity_thresholds:
                verify = found.calibration.verify
                proposed = await in_thread(
                    threads,
                    propose_identity_thresholds,
                    found.comparisons,
                    verify.threshold,
                    max(verify.target, verify.supported),
                )
        return gallery_service_pb2.CalibrateGalleryResponse(
            gallery=self._gallery_to(found.gallery),
            calibration=calibration_to(found, drawn),
            identity_thresholds=None
            if proposed is None
            else identity_thresholds_to(proposed, gallery, found.comparisons.source),
        )

    async def what_if(
        self, request: gallery_service_pb2.WhatIfGalleryRequest
    ) -> gallery_service_pb2.WhatIfGalleryResponse:
        """See the proto."""
        (gallery,) = parse_name(request.name, "name", 1)
        operation = _operation(request.operation)
        if operation is None:
            raise InvalidArgument(
                "operation is unspecified; expected VERIFICATION or IDENTIFICATION", metadata={"field": "operation"}
            )
        scope = scope_from(request.scope)
        async with self._one_at_a_time:
            decisions = None
            if request.HasField("decisions"):
                decisions = await in_thread(self._store.calculating, _decisions, request.decisions)
            found = await self._store.what_if(
                gallery,
                operation,
                threshold=number_from(request, "threshold", -1, 1),
                margin=number_from(request, "runner_up_margin", 0, 2),
                scope=scope,
                decisions=decisions,
            )
        return gallery_service_pb2.WhatIfGalleryResponse(
            before=side_to(found.before),
            after=side_to(found.after),
            transitions=[
                calibration_pb2.OutcomeTransition(before=f"OUTCOME_{one}", after=f"OUTCOME_{other}", count=count)
                for (one, other), count in found.transitions.items()
                if count
            ],
        )


def _operation(value: calibration_pb2.Operation) -> Operation | None:
    if value == calibration_pb2.OPERATION_UNSPECIFIED:
        return None
    if value not in _OPERATIONS:
        raise InvalidArgument(
            f"operation is {value}; expected VERIFICATION or IDENTIFICATION", metadata={"field": "operation"}
        )
    return _OPERATIONS[value]


def _bounded(message: Message, field: str, most: int, name: str) -> None:
    if len(getattr(message, field)) > most:
        raise InvalidArgument(
            f"{name} has {len(getattr(message, field)):,} entries; at most {most:,} are allowed",
            metadata={"field": name},
        )


def _scores(message: calibration_pb2.LabelledScores) -> Comparisons:
    _bounded(message, "scores", MAX_SCORES, "scores.scores")
    _bounded(message, "first", MAX_SCORES, "scores.first")
    _bounded(message, "second", MAX_SCORES, "scores.second")
    if (identities := len({*message.first, *message.second})) > MAX_IDENTITIES:
        raise InvalidArgument(
            f"scores.first and scores.second have {identities:,} identities; at most {MAX_IDENTITIES:,} are allowed",
            metadata={"field": "scores.first"},
        )
    _bounded(message, "leads", MAX_SCORES, "scores.leads")
    first, second = [str(one) for one in message.first], [str(one) for one in message.second]
    return labelled_scores(message.scores, first, second, message.leads or None)


def _cohort(message: calibration_pb2.Cohort) -> Cohort:
    _bounded(message, "members", MAX_COHORT, "cohort.members")
    contract = contract_from(message.contract)
    for member in message.members:
        if len(member.values) != len(message.members[0].values):
            raise InvalidArgument(
                f"cohort.members have {len(message.members[0].values)} and {len(member.values)} values; expected the "
                "same number in each",
                metadata={"field": "cohort.members"},
            )
    vectors = np.array([member.values for member in message.members], dtype=np.float32)
    return Cohort(vectors, tuple(member.identity for member in message.members), contract)


def _decisions(message: calibration_pb2.RecordedDecisions) -> RecordedDecisions:
    _bounded(message, "scores", MAX_SCORES, "decisions.scores")
    return recorded_decisions(
        message.scores,
        message.leads or None,
        mated=message.mated or None,
        first=message.first or None,
        second=message.second or None,
    )
