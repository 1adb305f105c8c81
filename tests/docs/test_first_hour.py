"""docs/first-hour.md works as written, and a document that says otherwise than what happens fails with its step."""

from pathlib import Path

import pytest

from tools.first_hour import DOCUMENT, Block, StepFailed, main, missing_line, numbers, steps, terminal

pytestmark = pytest.mark.timeout(300)
SMOKE = "1-6,9-10"
"""Without HTTP (7) and the TypeScript package (8), which tests/http and tests/clients test."""


def test_the_first_hour_works_as_written(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["--installed", "--steps", SMOKE])
    printed, said = capfd.readouterr()
    assert code == 0, printed + said
    ran = [line.split(":")[0] for line in printed.splitlines() if line.startswith("step ")]
    assert ran == [f"step {number}" for number in sorted(numbers(SMOKE))]


def test_every_step_of_the_document_has_a_number_and_something_to_run() -> None:
    found = steps(DOCUMENT.read_text())
    assert [step.number for step in found] == list(range(1, 11))
    assert all(step.blocks for step in found)
    assert sum(len(step.blocks) for step in found) == DOCUMENT.read_text().count(
        "```sh\n"
    ) + DOCUMENT.read_text().count("```python\n")
    assert {step.number: step.needs for step in found if step.needs} == {8: "npm"}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("```sh\necho one\n```\n\n```\ntwo\n```\n", "expected the line\ntwo\n"),
        ("```sh\nfalse\necho on\n```\n", "exit code 1 of\nfalse\n"),
        ("```python\nraise SystemExit(7)\n```\n", "exit code 7 of\n"),
    ],
)
def test_a_step_that_fails_is_named_and_ends_the_run(
    second: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "document.md"
    first, third = "## 1. Good\n\n```sh\necho one\n```\n\n```\none\n```\n", "## 3. Never\n\n```sh\ntrue\n```\n"
    document.write_text(f"{first}\n## 2. Bad\n\n{second}\n{third}")
    assert main(["--document", str(document)]) == 1
    printed, error = capfd.readouterr()
    assert "step 1: Good" in printed
    assert "step 3" not in printed
    assert error.startswith("step 2 (Bad) failed: ")
    assert said in error


def test_what_a_block_sets_outlasts_it_and_what_it_starts_ends_with_the_run(tmp_path: Path) -> None:
    with terminal(tmp_path, None) as shell:
        shell.run(Block("sh", "mkdir in && cd in\nexport A=1\nb() { echo $A; }\nsleep 500 & echo $! >pid\n", ()))
        assert shell.run(Block("sh", "b; basename $PWD\n", ("1", "in"))) == "1\nin\n"
        pid = int((tmp_path / "in/pid").read_text())
        assert is_sleeping(pid)
    assert not is_sleeping(pid)


def is_sleeping(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not collected does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and ") Z " not in status.read_text()


def test_lines_are_expected_in_order_and_dots_stand_for_anything() -> None:
    printed = "alpha 0.776 end  \nbeta\n"
    assert missing_line(("alpha 0.7… end", "beta"), printed) is None
    assert missing_line(("…0.776…",), printed) is None
    assert missing_line(("beta", "alpha…"), printed) == "alpha…"
    assert missing_line(("alpha",), printed) == "alpha"


def test_a_block_that_does_not_print_what_is_expected_fails(tmp_path: Path) -> None:
    with terminal(tmp_path, None) as shell, pytest.raises(StepFailed, match="expected the line\nAMBIGUOUS"):
        shell.run(Block("sh", "echo MATCH\n", ("AMBIGUOUS",)))
