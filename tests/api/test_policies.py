"""Every field of a policy works in the proto, the client and the command line, which derive from its declaration."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from typer.testing import CliRunner

from sameface.api.policies import DEFAULTS, new_policy_from, policy_changes, policy_from, policy_to
from sameface.api.requests import gallery_fields
from sameface.cli.policies import policy_options
from sameface.client.calls import Calls
from sameface.client.fields import writable
from sameface.client.rpc import Call
from sameface.v1 import gallery_pb2
from sameface_qdrant import Policy
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.policy import changed_policy
from sameface_qdrant.values.gallery import POLICY_SETTINGS, GuardAction, OperatingPoint, PolicyOptions
from tests.policies import another_value, options_of, policies

NAMES = [setting.name for setting in POLICY_SETTINGS]


class Requests(Calls):
    """The methods of the clients. Each returns the request that the server gets."""

    def _send(self, build: Callable[[], Call[Any]]) -> Any:
        request = build().request
        return type(request).FromString(request.SerializeToString())


REQUESTS: Any = Requests()


def settings_alone(policy: Policy) -> Policy:
    return Policy(**{name: getattr(policy, name) for name in NAMES})


def test_the_proto_has_the_fields_of_a_policy_and_the_same_ones_may_be_set() -> None:
    fields = {field.name for field in dataclasses.fields(Policy)}
    assert {field.name for field in gallery_pb2.Policy.DESCRIPTOR.fields} == fields
    assert sorted(writable(gallery_pb2.Policy)) == sorted(NAMES)


@given(policy=policies())
def test_a_policy_is_the_same_after_its_proto(policy: Policy) -> None:
    message = policy_to(policy)
    assert policy_from(message) == settings_alone(policy)
    for field in dataclasses.fields(Policy):
        value, sent = getattr(policy, field.name), getattr(message, field.name)
        if value is None:
            assert not message.HasField(field.name)
        elif field.name not in NAMES:
            assert (sent.ToDatetime(UTC) if isinstance(value, datetime) else sent) == value


@given(policy=policies())
def test_a_policy_that_the_client_sends_arrives(policy: Policy) -> None:
    options = options_of(policy)
    made = REQUESTS.create_gallery("people", **options)
    assert policy_from(made.gallery.policy) == settings_alone(policy)
    update = REQUESTS.update_gallery("people", **options)
    fields = gallery_fields(update.gallery, update.update_mask.paths)
    assert fields == set(NAMES)
    different = Policy(**{setting.name: another_value(setting) for setting in POLICY_SETTINGS})
    assert changed_policy(different, policy_changes(update.gallery.policy, fields)) == settings_alone(policy)


@pytest.mark.parametrize("setting", POLICY_SETTINGS, ids=NAMES)
def test_an_update_changes_the_named_setting_alone(setting: Any) -> None:
    changed = changed_policy(Policy(), {setting.name: another_value(setting)})  # type: ignore[misc]
    update = REQUESTS.update_gallery("people", **{setting.name: options_of(changed)[setting.name]})
    fields = gallery_fields(update.gallery, update.update_mask.paths)
    assert fields == {setting.name}
    assert changed_policy(Policy(), policy_changes(update.gallery.policy, fields)) == changed != Policy()
    back = REQUESTS.update_gallery("people", **{setting.name: None})
    assert changed_policy(changed, policy_changes(back.gallery.policy, [setting.name])) == dataclasses.replace(
        Policy(), **{setting.name: getattr(DEFAULTS, setting.name)}
    )


@pytest.fixture(scope="module")
def parsed() -> Callable[..., PolicyOptions]:
    """Return a function that reads a command line as `sameface gallery update` does."""
    app = typer.Typer()
    found: list[PolicyOptions] = []

    @app.command()
    @policy_options(reset=True)
    def command(*, policy: PolicyOptions) -> None:
        found.append(policy)

    def parse(*arguments: str) -> PolicyOptions:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return found.pop()

    return parse


@settings(max_examples=25, deadline=None)
@given(policy=policies())
def test_a_policy_on_the_command_line_reaches_the_client(parsed: Callable[..., PolicyOptions], policy: Policy) -> None:
    arguments = []
    for name, value in options_of(policy).items():
        option = name.replace("_", "-")
        arguments.append(f"--reset={option}" if value is None else f"--{option}={value}")
    assert parsed(*arguments) == options_of(policy)
    assert parsed() == {}


def test_a_value_of_a_later_version_is_refused() -> None:
    number: Any = 99
    later = gallery_pb2.Policy(when_full=number)
    with pytest.raises(InvalidArgument, match="expected one of WhenFull: REJECT, REPLACE_OLDEST") as refused:
        policy_from(later)
    assert refused.value.metadata == {"field": "when_full"}
    unspecified: Any = gallery_pb2.Policy(when_full=gallery_pb2.WHEN_FULL_UNSPECIFIED)
    assert policy_from(unspecified) == DEFAULTS


def test_the_defaults_of_the_service_are_those_of_the_plugin_but_for_collisions() -> None:
    assert dataclasses.replace(Policy(), on_collision=GuardAction.REJECT) == DEFAULTS
    assert policy_from(gallery_pb2.Policy()) == DEFAULTS


def test_a_new_gallery_warns_of_collisions_where_no_threshold_is_known() -> None:
    def action(points: tuple[OperatingPoint, ...] = (), **policy: Any) -> GuardAction:
        return new_policy_from(gallery_pb2.Policy(**policy), points).on_collision

    assert action() is GuardAction.WARN
    # A claim's threshold is not what a collision is compared with.
    assert action(verify_threshold=0.5) is GuardAction.WARN
    assert action((OperatingPoint(1e-4, 0.4),)) is GuardAction.REJECT
    assert action(identify_threshold=0.5) is action(collision_threshold=0.5) is GuardAction.REJECT
    # What is asked for is done.
    assert action(on_collision=gallery_pb2.GUARD_ACTION_REJECT) is GuardAction.REJECT
    assert action((OperatingPoint(1e-4, 0.4),), on_collision=gallery_pb2.GUARD_ACTION_ALLOW) is GuardAction.ALLOW


def test_an_update_is_refused_for_a_setting_out_of_range_that_it_does_not_name() -> None:
    with pytest.raises(InvalidArgument) as refused:
        policy_changes(gallery_pb2.Policy(verify_threshold=2, runner_up_margin=0.1), ["runner_up_margin"])
    assert refused.value.metadata == {"field": "verify_threshold"}
