"""What the settings of traces may be, and what is said of others."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from sameface.settings import Settings
from sameface.tracing.options import TracesOptions


@pytest.mark.parametrize(
    ("endpoint", "protocol", "target", "path"),
    [
        ("http://collector", "grpc", "collector:4317", "/v1/traces"),
        ("https://collector:443", "grpc", "collector:443", "/v1/traces"),
        ("http://collector", "http", "collector:4318", "/v1/traces"),
        ("http://[::1]/", "http", "[::1]:4318", "/v1/traces"),
        ("https://collector/otlp/v1/traces", "http", "collector:4318", "/otlp/v1/traces"),
    ],
)
def test_an_endpoint_names_host_port_and_path(endpoint: str, protocol: Any, target: str, path: str) -> None:
    options = TracesOptions(endpoint, protocol)
    assert (options.target, options.path) == (target, path)
    assert options.encrypted is endpoint.startswith("https")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint": "collector:4317"}, "expected a URL such as http://collector:4317"),
        ({"endpoint": "http://collector:0"}, "not a number from 1 to 65535"),
        ({"endpoint": "http://collector:x"}, "endpoint"),
        ({"endpoint": "http://collector:4317/v1/traces"}, "set protocol=http"),
        ({"endpoint": "http://me:secret@collector"}, "put a key into headers"),
        ({"endpoint": "http://collector?token=secret"}, "a query"),
        ({"endpoint": "http://collector", "ca": "/ca.pem"}, "write https"),
        ({"endpoint": "https://collector", "certificate": "/c.pem"}, "go together"),
        ({"sample_ratio": "1.5"}, "expected 0 .* to 1"),
        ({"sample_ratio": "nan"}, "expected 0 .* to 1"),
        ({"max_queue": "0"}, "expected 1 or more"),
        ({"flush_s": "-1"}, "expected 0 or more"),
        ({"flush_s": "1e12"}, "60 at most"),
        ({"flush_s": "nan"}, "60 at most"),
        ({"headers": '{"content-length": "3"}'}, "sets itself"),
        ({"headers": '{"host": "secret"}'}, "sets itself"),
        ({"headers": '{"user-agent": "secret"}'}, "sets itself"),
        ({"headers": '{"X-Key": "v"}'}, "lower-case"),
        ({"headers": '{"x-key": "secret\\n"}'}, "not printable ASCII"),
        ({"headers": '{"grpc-timeout": "1"}'}, "lower-case"),
        ({"headers": "x-key=secret"}, "valid dictionary"),
        ({"headers": '{"x-key": "secret"'}, "Expecting .* delimiter"),
    ],
)
def test_what_cannot_work_is_refused_without_secrets(
    options: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in options.items():
        monkeypatch.setenv(f"SAMEFACE_TRACES__{name.upper()}", value)
    with pytest.raises(ValidationError, match=said) as refused:
        Settings()
    assert "secret" not in "".join(problem["msg"] for problem in refused.value.errors(include_input=False))


def test_headers_come_from_the_environment_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEFACE_TRACES__ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("SAMEFACE_TRACES__HEADERS", '{"x-key": "hidden value"}')
    monkeypatch.setenv("SAMEFACE_TRACES__ATTRIBUTES", '{"service.namespace": "kyc"}')
    settings = Settings()
    assert settings.traces.headers == {"x-key": SecretStr("hidden value")}
    assert settings.traces.attributes == {"service.namespace": "kyc"}
    assert "hidden value" not in settings.model_dump_json() + repr(settings)
