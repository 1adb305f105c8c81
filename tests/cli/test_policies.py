"""Every setting of a policy on the command line, against the real service."""

from sameface.api.policies import DEFAULTS, policy_from, policy_to
from sameface.client import Client
from sameface.launcher import Service
from sameface_qdrant import Policy
from sameface_qdrant.values.gallery import POLICY_SETTINGS
from tests.cli.conftest import Run
from tests.policies import another_value, options_of


def test_every_setting_is_set_shown_and_put_back(sameface: Run, gallery: str, service: Service) -> None:
    # The service has no model for the last one, see the next test.
    others = [setting for setting in POLICY_SETTINGS if setting.name != "presentation_attack"]
    wanted = Policy(**{setting.name: another_value(setting) for setting in others})
    options = {name.replace("_", "-"): value for name, value in options_of(wanted).items()}
    with Client(service.address) as client:
        before = client.get_gallery(gallery).policy
    result = sameface("gallery", "update", gallery, *(f"--{name}={value}" for name, value in options.items()))
    assert result.returncode == 0, result.stderr
    with Client(service.address) as client:
        assert policy_from(client.get_gallery(gallery).policy.proto) == wanted
    shown = sameface("gallery", "show", gallery).stdout
    for name, value in options.items():
        assert f"{name.replace('-', ' ')}" in shown
        assert str(value) in shown
    result = sameface("gallery", "update", gallery, *(f"--reset={name}" for name in options))
    assert result.returncode == 0, result.stderr
    with Client(service.address) as client:
        # Through the proto, whose floats have 32 bits.
        assert policy_from(client.get_gallery(gallery).policy.proto) == policy_from(policy_to(DEFAULTS))
        assert client.get_gallery(gallery).policy.revision == before.revision + 2


def test_attacks_are_not_examined_without_a_model(sameface: Run, gallery: str) -> None:
    for action in ("report", "reject"):
        result = sameface("gallery", "update", gallery, f"--presentation-attack={action}")
        assert result.returncode == 3
        assert "MODEL_NOT_FOUND" in result.stderr
        assert "sameface model add" in result.stderr
    assert sameface("gallery", "update", gallery, "--presentation-attack=off").returncode == 0
