"""What `make clients` reads in docs/other-languages.md."""

import pytest

from tests.clients.__main__ import DOCUMENT, sections


def test_every_section_with_commands_names_its_tools() -> None:
    found = {section.title: section for section in sections(DOCUMENT.read_text())}
    assert list(found) == [
        "TypeScript",
        "Go",
        "Go with protoc",
        "Java",
        "TypeScript from the protos",
        "Any other language",
    ]
    assert found["Go"].tools == ("go", "buf")
    assert found["Java"].tools == ("protoc", "grpc_java_plugin", "mvn", "javac")
    assert "buf generate" in found["Go"].commands[0]


def test_a_missing_tool_is_named() -> None:
    (section,) = sections("# Title\n## One\nTools: `sh`, `no-such-tool`.\n\n```sh\ntrue\n```\n")
    assert section.missing() == ["no-such-tool"]


def test_a_section_without_a_line_of_tools_is_an_error() -> None:
    with pytest.raises(AssertionError, match="One: no line of tools"):
        sections("## One\n\n```sh\ntrue\n```\n")
