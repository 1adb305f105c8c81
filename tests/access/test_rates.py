"""No caller calls faster than it may, whatever the others do, and nobody is refused who calls more slowly."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.access import rates as rates_module
from sameface.access.caller import Caller
from sameface.access.rates import BURST_S, Bucket, RateOptions, Rates, photos_in
from sameface.access.roles import Role
from sameface.errors import RateLimited
from sameface.v1 import face_pb2, face_service_pb2, gallery_service_pb2
from sameface_qdrant import NewTemplate
from tests.access.conftest import guarded
from tests.access.test_roles import embedding, reason_of, request_for

DOOR, DESK = Caller("key:door", ()), Caller("key:desk", ())
NOTHING = gallery_service_pb2.ListGalleriesRequest()
PHOTO = face_pb2.Sample(photo=b"x")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(rate=st.floats(0.01, 100), pauses=st.lists(st.floats(0, 50), max_size=60))
def test_a_bucket_gives_what_its_rate_brings_and_a_burst(rate: float, pauses: list[float]) -> None:
    now, taken, bucket = 0.0, 0, Bucket(rate, 0.0)
    for pause in pauses:
        now += pause
        if bucket.wait_s(now) <= 0:
            bucket.take(now)
            taken += 1
        assert taken <= max(1.0, rate * BURST_S) + rate * now + 1e-6


@given(rate=st.floats(0.01, 100), count=st.integers(1, 60))
def test_who_waits_as_long_as_told_is_served(rate: float, count: int) -> None:
    now, bucket = 0.0, Bucket(rate, 0.0)
    for _ in range(count):
        wait = bucket.wait_s(now)
        assert wait <= 1 / rate + 1e-6
        now += wait + 1e-9
        assert bucket.wait_s(now) <= 1e-6
        bucket.take(now)


def calls_until_refused(rates: Rates, caller: Caller, rpc: str, message: Any, most: int = 1000) -> int:
    for number in range(most):
        try:
            rates.check(caller, rpc, message)
        except RateLimited:
            return number
    return most


@pytest.mark.parametrize(
    ("option", "rpc", "message", "one"),
    [
        ("requests_per_s", "ListGalleries", NOTHING, 1),
        ("photos_per_s", "VerifyFace", face_service_pb2.VerifyFaceRequest(sample=PHOTO), 1),
        ("photos_per_s", "CompareFaces", face_service_pb2.CompareFacesRequest(first=PHOTO, second=PHOTO), 2),
        ("photos_per_s", "DetectFaces", face_service_pb2.DetectFacesRequest(photo=b"x"), 1),
        ("enrolments_per_s", "EnrollTemplate", face_service_pb2.EnrollTemplateRequest(sample=PHOTO), 1),
    ],
)
def test_each_kind_is_counted_for_each_caller(option: str, rpc: str, message: Any, one: int) -> None:
    clock = Clock()
    rates = Rates(RateOptions(**{option: 2.0}), clock)
    assert calls_until_refused(rates, DOOR, rpc, message) == int(2 * BURST_S) // one
    assert calls_until_refused(rates, DESK, rpc, message, most=3) == 3
    clock.now += one / 2.0
    assert calls_until_refused(rates, DOOR, rpc, message) == 1
    allowed = calls_until_refused(rates, DOOR, "GetServerInfo", NOTHING, most=5)
    assert allowed == (0 if option == "requests_per_s" else 5)


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    rates = Rates(RateOptions(requests_per_s=10.0, photos_per_s=0.1), clock)
    request = face_service_pb2.DetectFacesRequest(photo=b"x")
    assert calls_until_refused(rates, DOOR, "DetectFaces", request) == 1
    for _ in range(500):
        with pytest.raises(RateLimited, match="photos"):
            rates.check(DOOR, "DetectFaces", request)
    assert calls_until_refused(rates, DOOR, "ListGalleries", NOTHING) == 99


def test_claims_that_fail_are_counted_whoever_makes_them_and_those_that_match_are_not() -> None:
    clock = Clock()
    rates = Rates(RateOptions(failed_claims_per_minute=30.0), clock)
    for _ in range(100):
        rates.claim("staff", "ada")()
    at_once = [rates.claim("staff", "ada") for _ in range(5)]
    with pytest.raises(RateLimited, match="claims of this identity"):
        rates.claim("staff", "ada")
    rates.claim("staff", "bob")
    at_once[0]()
    rates.claim("staff", "ada")
    clock.now += 2.0
    rates.claim("staff", "ada")


def test_without_a_limit_nothing_is_refused_or_remembered() -> None:
    rates = Rates(RateOptions())
    assert calls_until_refused(rates, DOOR, "ListGalleries", NOTHING) == 1000
    rates.claim("staff", "ada")
    assert not rates._buckets


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "MOST_BUCKETS", 10)
    rates = Rates(RateOptions(requests_per_s=1.0))
    for number in range(100):
        rates.check(Caller(f"token:{number}", ()), "ListGalleries", NOTHING)
    assert len(rates._buckets) == 10


def test_embeddings_are_no_photos() -> None:
    assert photos_in(face_service_pb2.VerifyFaceRequest(sample=face_pb2.Sample(embedding=face_pb2.Embedding()))) == 0
    assert photos_in(face_service_pb2.StreamIdentifyFacesRequest(sample=PHOTO)) == 1
    assert photos_in(face_service_pb2.EmbedFacesRequest(photo=b"x")) == 1


async def test_a_service_tells_when_to_come_back_and_serves_the_others(tmp_path: Path) -> None:
    async with guarded(tmp_path, rates=RateOptions(requests_per_s=2.0)) as service:
        door, desk = service.key(Role.ADMIN), service.key(Role.ADMIN)
        async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
            request = request_for("GetGallery", "staff")
            reasons = [await reason_of(channel, "GetGallery", request, door) for _ in range(30)]
            assert reasons[:20] == [""] * 20
            assert "RATE_LIMITED" in reasons
            assert await reason_of(channel, "GetGallery", request, desk) == ""
        # The client waits as it is told.
        async with service.client(door) as client:
            assert (await client.get_gallery("staff")).name == "galleries/staff"


async def test_a_face_that_does_not_match_cannot_be_tried_without_end(tmp_path: Path) -> None:
    async with guarded(tmp_path, rates=RateOptions(failed_claims_per_minute=18.0)) as service:
        rng = np.random.default_rng(3)
        ada, other = (rng.normal(size=service.contract.dimension).astype(np.float32) for _ in range(2))
        await service.store.enroll("staff", "ada", [NewTemplate(ada, service.contract)])
        key = service.key(Role.VERIFIER)
        async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:

            async def verify(vector: Any) -> str:
                sample = embedding(service, vector)
                request = face_service_pb2.VerifyFaceRequest(name="galleries/staff/identities/ada", sample=sample)
                return await reason_of(channel, "VerifyFace", request, key)

            assert [await verify(ada) for _ in range(5)] == [""] * 5
            assert [await verify(other) for _ in range(4)] == ["", "", "", "RATE_LIMITED"]
            assert await verify(ada) == "RATE_LIMITED"
