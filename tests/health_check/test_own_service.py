"""The light health check reads where the service listens as the settings do."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sameface.cli.health import where_it_listens
from sameface.health_check.own_service import NotPlain, OwnService, own_service
from sameface.settings import Settings
from sameface_qdrant.errors import InvalidArgument

PLAIN = ("0.0.0.0:6000", "[::]:6001", "[::1]:7", "10.0.0.7:6002")
LISTENS = (*2 * PLAIN, "127.0.0.1:0", "faces:6003", "", "6000", "1:2:3")
PATHS = ("/tls/a.pem", "b.pem", "c.pem", "")
FILES = st.fixed_dictionaries(
    {},
    optional={
        "listen": st.sampled_from(LISTENS),
        "tls": st.dictionaries(st.sampled_from(["certificate", "private_key", "client_ca"]), st.sampled_from(PATHS)),
    },
)
VARIABLES = st.dictionaries(
    st.sampled_from(["LISTEN", "listen", "TLS", "TLS__CERTIFICATE", "TLS__PRIVATE_KEY", "tls__client_ca"]),
    st.sampled_from([*PLAIN, *PATHS, '{"certificate": "c.pem", "private_key": "d.pem"}']),
    max_size=4,
)


def toml(table: dict[str, object]) -> str:
    return "".join(
        f"{name} = {json.dumps(value)}\n" if isinstance(value, str) else f"[{name}]\n{toml(value)}"  # type: ignore[arg-type]
        for name, value in sorted(table.items())
    )


def in_full(environment: dict[str, str]) -> OwnService | None:
    """What the settings say; None where the command cannot start with them, or knows no port."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("SAMEFACE_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            read = Settings()
            host, _, port = where_it_listens(read.listen).rpartition(":")
        except (ValidationError, ValueError, InvalidArgument):
            return None
    tls = (read.tls.certificate, read.tls.private_key, read.tls.client_ca)
    return OwnService(host.strip("[]"), int(port), *(str(path) if path else "" for path in tls))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variables=VARIABLES, file=st.none() | FILES, defaults=st.none() | FILES)
def test_it_says_what_the_settings_say_or_nothing(
    tmp_path: Path, variables: dict[str, str], file: dict[str, object] | None, defaults: dict[str, object] | None
) -> None:
    environment = {f"SAMEFACE_{name}" if name.isupper() else f"sameface_{name}": it for name, it in variables.items()}
    for name, table in (("CONFIG", file), ("DEFAULTS", defaults)):
        if table is not None:
            path = tmp_path / name
            path.write_text(toml(table))
            environment[f"SAMEFACE_{name}"] = str(path)
    try:
        light = own_service(environment)
    except NotPlain:
        return
    assert light == in_full(environment)


def test_what_operators_write_is_plain(tmp_path: Path) -> None:
    file = tmp_path / "sameface.toml"
    file.write_text('listen = "0.0.0.0:6000"\n[tls]\ncertificate = "/a"\nprivate_key = "/b"\nclient_ca = "/c"\n')
    environment = {"SAMEFACE_DEFAULTS": str(Path("docker/defaults.toml").absolute())}
    assert own_service(environment) == OwnService("127.0.0.1", 50051)
    environment |= {"SAMEFACE_CONFIG": str(file), "SAMEFACE_LISTEN": "[::]:7000"}
    assert own_service(environment) == OwnService("::1", 7000, "/a", "/b", "/c")
    assert own_service({}) == in_full({})


@pytest.mark.parametrize("text", ["listen = 5\n", "tls = 5\n", "listen = [\n", "[tls]\ncertificate = 5\n"])
def test_a_file_that_says_something_else_is_left_to_the_command(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sameface.toml"
    file.write_text(text)
    for path in (file, tmp_path / "missing"):
        with pytest.raises(NotPlain):
            own_service({"SAMEFACE_CONFIG": str(path)})
