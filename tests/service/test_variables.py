"""Variables that begin with SAMEFACE_ and that nobody reads are named, never with their values."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from sameface.cli.serve import load_settings
from sameface.settings import Settings
from sameface.variables import OTHERS, PREFIX, Unknown, known_variables, unknown_variables
from sameface_qdrant.errors import InvalidArgument, SamefaceError

NAME = re.compile(r"\bSAMEFACE_[A-Z0-9_]*[A-Z0-9]\b(?!_)")
# Examples in messages and comments.
EXAMPLES = {"SAMEFACE_X", "SAMEFACE_QUALITY_MIN_SHARPNES"}


def test_every_name_in_our_code_is_known() -> None:
    folders = ("server", "plugins", "training", "benchmarks", "tools", "docker", "clients")
    listed = subprocess.run(["git", "ls-files", *folders], capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in listed.splitlines() if Path(line).suffix not in (".onnx", ".npz", ".png", ".jpg")]
    found = {name for file in files for name in NAME.findall(file.read_text(errors="replace"))}
    assert len(found) > 40
    assert unknown_variables(dict.fromkeys(found - EXAMPLES, "")) == []


def outcome(name: str, value: str) -> str:
    """The settings with a variable, or why there are none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        try:
            return Settings().model_dump_json()
        except (ValidationError, ValueError, SamefaceError) as error:
            return str(error)


def test_every_known_name_is_read() -> None:
    """A setting that is known under another name than its own would not be warned of."""
    before = Settings().model_dump_json()
    for name in sorted(known_variables() - OTHERS):
        found = outcome(name, "no value of any kind")
        assert found != before, name
        assert not re.search("unexpected_keyword|extra_forbidden", found), name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SAMEFACE_LISEN", "SAMEFACE_LISTEN"),
        ("sameface_lisen", "SAMEFACE_LISTEN"),
        ("SAMEFACE_QUALITY_MIN_SHARPNESS", "SAMEFACE_QUALITY__MIN_SHARPNESS"),
        ("SAMEFACE_QUALITY__MIN_SHARPNES", "SAMEFACE_QUALITY__MIN_SHARPNESS"),
        ("SAMEFACE_TLS_CERTIFICATE", "SAMEFACE_TLS__CERTIFICATE"),
        ("SAMEFACE_HTTP__TLS__CERTIFCATE", "SAMEFACE_HTTP__TLS__CERTIFICATE"),
        ("SAMEFACE_QDRANT_APIKEY", "SAMEFACE_QDRANT_API_KEY"),
        ("SAMEFACE_ADRESS", "SAMEFACE_ADDRESS"),
        # Read as written alone.
        ("sameface_config", "SAMEFACE_CONFIG"),
        ("SAMEFACE_PORT", ""),
        ("SAMEFACE_", ""),
        ("SAMEFACE_COLOUR_OF_THE_SKY", ""),
    ],
)
def test_the_closest_name_is_proposed(name: str, meant: str) -> None:
    found = unknown_variables({name: "hunter2", "PATH": "/bin", "SAMEFACE_LISTEN": "127.0.0.1:1"})
    assert found == [Unknown(name, meant)]
    assert name in str(found[0])
    assert meant in str(found[0])
    assert "hunter2" not in str(found[0])


def test_settings_in_any_case_and_names_of_the_operators_choice_are_known() -> None:
    names = ("sameface_listen", "Sameface_Tls__Certificate", "SAMEFACE_QDRANT__STRICT_MODE__MAX_QUERY_LIMIT")
    assert unknown_variables(dict.fromkeys(names, "")) == []


def test_what_kubernetes_sets_for_a_service_named_sameface_is_not_meant() -> None:
    # https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    for begin in ("SAMEFACE", "SAMEFACE_TRITON"):
        links = {
            f"{begin}_SERVICE_HOST": "10.0.0.11",
            f"{begin}_SERVICE_PORT": "50051",
            f"{begin}_SERVICE_PORT_GRPC": "50051",
            f"{begin}_PORT": "tcp://10.0.0.11:50051",
            f"{begin}_PORT_50051_TCP": "tcp://10.0.0.11:50051",
            f"{begin}_PORT_50051_TCP_PROTO": "tcp",
            f"{begin}_PORT_50051_TCP_PORT": "50051",
            f"{begin}_PORT_50051_TCP_ADDR": "10.0.0.11",
        }
        assert unknown_variables(links) == []


def test_commands_warn_on_stderr_and_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAMEFACE_LISEN", "hunter2")
    assert load_settings(None).listen == "127.0.0.1:50051"
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(
        "sameface: warning: SAMEFACE_LISEN is set, but nothing reads it; did you mean SAMEFACE_LISTEN"
    )
    assert "hunter2" not in err
    load_settings(None, warn=None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("source", ["variable", "file"])
def test_an_unknown_name_within_a_section_is_refused_with_the_closest(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if source == "variable":
        monkeypatch.setenv("SAMEFACE_QUALITY__MIN_SHARPNES", "20")
    else:
        file = tmp_path / "sameface.toml"
        file.write_text("[quality]\nmin_sharpnes = 20\n")
        monkeypatch.setenv("SAMEFACE_CONFIG", str(file))
    with pytest.raises(InvalidArgument, match=r"quality\.min_sharpnes: .* did you mean quality\.min_sharpness"):
        load_settings(None)
