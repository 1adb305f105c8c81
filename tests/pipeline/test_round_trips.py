"""What the rpcs ask of a store that several services share: they add no round trip to the store's own."""

import numpy as np

from sameface.inference.cards import read_cards
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.answers import IdentificationSettings
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import EmbeddingSample
from sameface.settings import model_repository_source
from sameface_qdrant import Outcome, Policy, Store
from tests.plugin.counting import CountingEngine


async def test_verify_and_identify_take_two_round_trips_and_enrol_at_most_seven() -> None:
    rng = np.random.default_rng(20261129)
    repository = model_repository_source()
    engine = CountingEngine()
    operations = FaceOperations(
        PhotoPipeline(OnnxInference(repository)), await Store.over(engine), read_cards(repository)
    )
    await operations.create_gallery("people", embedder_version=None, display_name="", policy=Policy(), request_id="")
    contract = operations.embedder_card().contract
    samples = [EmbeddingSample(rng.normal(size=contract.dimension).astype(np.float32), contract) for _ in range(2)]
    for identity, sample in zip(("ada", "bob"), samples, strict=True):
        _, rounds = await engine.rounds_of(
            operations.enroll(
                "people",
                identity,
                sample,
                allow_missing=True,
                display_name="",
                selection=None,
                expire_time=None,
                request_id="",
                validate_only=False,
            )
        )
        assert len(rounds) <= 7
    (decision, _), rounds = await engine.rounds_of(
        operations.verify("people", "ada", samples[0], scope=None, threshold=None, margin=None, selection=None)
    )
    assert decision.outcome is Outcome.MATCH
    assert len(rounds) == 2
    _, rounds = await engine.rounds_of(operations.identify(samples[0], IdentificationSettings("people")))
    assert len(rounds) == 2
    await engine.aclose()
