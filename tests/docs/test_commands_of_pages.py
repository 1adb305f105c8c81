"""Every command that a document shows exists, with its options: those of pages that no test runs to the end too."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import sameface.cli.main
import sameface_train.cli
from tests.documents import BLOCK

PROGRAMS: dict[str, Any] = {
    "sameface": typer.main.get_command(sameface.cli.main.app),
    "sameface-train": typer.main.get_command(sameface_train.cli.app),
}
DOCUMENTS = sorted([Path("README.md"), *Path("docs").glob("*.md")])
END = re.compile(r"^(?:\||\|\||&|&&|;|<|>|>>|\d>.*|\)|;;)$")


def typed(language: str, code: str) -> str:
    """Return what a reader types of a block: a script, or the lines after ``$`` of a transcript."""
    if language == "sh":
        return code
    return "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))


def commands(code: str) -> Iterator[list[str]]:
    """Yield every command of ours in a block of a shell, as words."""
    code = re.sub(r"<<'(\w+)'.*?^\1$", "", code.replace("\\\n", " "), flags=re.M | re.S)
    code = re.sub(r'"\$\((.*?)\)"', "VALUE", code)
    for line in code.splitlines():
        try:
            reader = shlex.shlex(line, posix=True, punctuation_chars=True)
            reader.whitespace_split = True
            words = list(reader)
        except ValueError:
            continue
        for number, word in enumerate(words):
            before = words[number - 1] if number else ""
            if word.removeprefix(".venv/bin/") in PROGRAMS and (END.match(before) or "=" in before or not before):
                rest = words[number + 1 :]
                end = next((at for at, one in enumerate(rest) if END.match(one)), len(rest))
                yield [word.removeprefix(".venv/bin/"), *rest[:end]]


def unknown(words: list[str]) -> str:
    """Return what is wrong with the name or an option of a command; empty if nothing is."""
    program, *rest = words
    command = PROGRAMS[program]
    while hasattr(command, "list_commands") and rest and not rest[0].startswith("-"):
        context = command.make_context(program, [], resilient_parsing=True)
        found = command.get_command(context, rest[0])
        if found is None:
            return f"{program} has no command {rest[0]}"
        program, command, rest = f"{program} {rest[0]}", found, rest[1:]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "--version"}
    given = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
    return ", ".join(f"{program} has no option {one}" for one in sorted(given - known))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_and_options_exist(document: Path) -> None:
    shown = [typed(one["language"], one["code"]) for one in BLOCK.finditer(document.read_text())]
    assert [wrong for code in shown for words in commands(code) if (wrong := unknown(words))] == []


def test_commands_are_found_and_wrong_ones_named() -> None:
    code = """
sameface serve "$@" >>serve.log 2>&1 &
A=1 sameface verify staff jacinda x.jpg --nope || echo "exit code $?"
(cd .. && sameface-train export runs/x \\
    --modle shapes)  # sameface nothing
python - <<'END'
sameface no command
END
.venv/bin/sameface galery list; sameface gallery create a --exist-ok --json >gallery.json
sameface -v
"""
    found = list(commands(code))
    assert [words[:2] for words in found] == [
        ["sameface", "serve"],
        ["sameface", "verify"],
        ["sameface-train", "export"],
        ["sameface", "galery"],
        ["sameface", "gallery"],
        ["sameface", "-v"],
    ]
    assert [wrong for words in found if (wrong := unknown(words))] == [
        "sameface verify has no option --nope",
        "sameface-train export has no option --modle",
        "sameface has no command galery",
        "sameface has no option -v",
    ]
