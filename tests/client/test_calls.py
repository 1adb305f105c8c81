"""Every method of the clients: what it sends, and the value that it returns."""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest

from sameface.client import Cohort, CohortMember, Contract, Embedding, GuardAction, RecordedDecisions, Scope
from sameface.client.calls import Calls
from sameface.client.options import PolicyOptions
from sameface.client.rpc import Call, Pages
from sameface.v1 import calibration_pb2, decision_pb2, gallery_pb2
from sameface_qdrant.values import gallery
from tests.client.photos import PHOTO

CONTRACT = Contract(model="face_embedder", version=1, sha256="", dimension=2, preprocessing="")
SAMPLE = Embedding(values=(0.6, 0.8), contract=CONTRACT)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "enroll": ("g", "i", SAMPLE),
    "verify": ("g", "i", SAMPLE),
    "identify": ("g", SAMPLE),
    "search": ("g", SAMPLE),
    "compare": (SAMPLE, SAMPLE),
    "detect": (PHOTO,),
    "embed": (PHOTO,),
    "create_identity": ("g", "i"),
    "get_identity": ("g", "i"),
    "update_identity": ("g", "i"),
    "move_identity": ("g", "i", "j"),
    "delete_identity": ("g", "i"),
    "templates": ("g", "i"),
    "get_template": ("g", "i", "t"),
    "delete_template": ("g", "i", "t"),
    "what_if_gallery": ("g", "verification"),
    "erasure_receipt": ("r",),
    "galleries": (),
    "erasure_receipts": (),
    "server_info": (),
}
OPTIONS: dict[str, dict[str, Any]] = {"update_template": {"expire_time": None}}


class Built(Calls):
    """The methods of the clients. Each returns the call that would be sent."""

    def _send(self, build: Callable[[], Call[Any]]) -> Any:
        return build()

    def _list(self, build: Callable[[], Pages[Any]]) -> Any:
        return build()


BUILT: Any = Built()


@pytest.mark.parametrize(
    "name", sorted({name for name in dir(Calls) if not name.startswith("_")} - {"max_photo_bytes"})
)
def test_a_method_returns_the_value_of_what_its_rpc_answers(name: str) -> None:
    taken = inspect.signature(getattr(Calls, name)).parameters
    usual = ("g", "i", "t") if "template" in name else ("g", "m") if "migration" in taken else ("g",)
    arguments = ARGUMENTS.get(name, usual)
    built: Any = getattr(BUILT, name)(*arguments, **OPTIONS.get(name, {}))
    (declared,) = typing.get_args(inspect.signature(getattr(Calls, name)).return_annotation)
    call = built.page("") if isinstance(built, Pages) else built
    answered, part = call.method.output_type, built.items if isinstance(built, Pages) else built.part
    answered = answered.fields_by_name[part].message_type if part else answered
    assert built.kind is declared
    assert declared._message.DESCRIPTOR is answered
    if "exist_ok" in inspect.signature(getattr(Calls, name)).parameters:
        assert getattr(BUILT, name)(*arguments, exist_ok=True).instead.kind is declared


def test_the_words_and_options_of_a_policy_are_taken_as_they_were_returned() -> None:
    assert list(PolicyOptions.__annotations__) == [setting.name for setting in gallery.POLICY_SETTINGS]
    reject: Any = gallery_pb2.GUARD_ACTION_REJECT
    for word in (GuardAction.REJECT, gallery.GuardAction.REJECT, "reject"):
        assert BUILT.create_gallery("g", on_collision=word).request.gallery.policy.on_collision == reject
    verify: Any = BUILT.verify("g", "i", SAMPLE, scope=Scope.CLAIM)
    assert verify.request.scope == decision_pb2.SCOPE_CLAIM
    with pytest.raises(ValueError, match="UNKNOWN"):
        BUILT.verify("g", "i", SAMPLE, scope=Scope.UNKNOWN)


def test_what_a_calibration_is_given_may_be_made_of_what_was_returned() -> None:
    member = CohortMember(identity="someone", values=(0.25, 0.5))
    cohort = Cohort(contract=SAMPLE.contract, members=(member,))
    request: Any = BUILT.calibrate_gallery("g", cohort=cohort).request
    assert request.cohort == calibration_pb2.Cohort(
        contract=CONTRACT.proto,
        members=[calibration_pb2.Cohort.Member(identity="someone", values=[0.25, 0.5])],
    )
    recorded = RecordedDecisions(scores=(0.5,))
    asked: Any = BUILT.what_if_gallery("g", "verification", decisions=recorded).request
    assert asked.decisions == calibration_pb2.RecordedDecisions(scores=[0.5])
