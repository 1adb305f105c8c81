"""The pages of the first hours work as written, and one that says otherwise than what happens fails with its step."""

from pathlib import Path

import pytest

from tools.first_hour.__main__ import main, numbers
from tools.first_hour.page import ONE_SESSION, PAGES, Block, missing_line, steps
from tools.first_hour.terminal import StepFailed, terminal

pytestmark = pytest.mark.timeout(300)
SMOKE = {
    # Without HTTP (7) and the TypeScript package (8), which tests/http and tests/clients test.
    "first-hour": "1-6,9-10",
    "first-hour-vectors": "1-11",
    # tests/training and tests/evaluation test the commands of the others.
    "first-hour-training": "2-3",
}
"""The steps of each page that are run here; `make` has a command for all of them."""
FEWER_STEPS = ("--replace", "--steps 60", "--steps 2", "--replace", "--validate-every 20", "--validate-every 1")


@pytest.mark.parametrize("page", SMOKE)
def test_the_page_works_as_written(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = main([page, "--installed", "--steps", SMOKE[page], *FEWER_STEPS])
    printed, said = capfd.readouterr()
    assert code == 0, printed + said
    ran = [line.split(":")[0] for line in printed.splitlines() if line.startswith("step ")]
    assert ran == [f"step {number}" for number in sorted(numbers(SMOKE[page]))]


@pytest.mark.parametrize("page", PAGES)
def test_every_step_of_a_page_has_a_number_and_something_to_run(page: str) -> None:
    text = PAGES[page].read_text()
    found = steps(text)
    assert [step.number for step in found] == list(range(1, len(found) + 1))
    assert len(found) >= 10
    assert all(step.blocks for step in found)
    written = text.count("```sh\n") + text.count("```python\n")
    assert sum(len(step.blocks) for step in found) == written
    needed = {step.number: step.needs for step in found if step.needs}
    assert needed == ({8: "npm"} if page == "first-hour" else {})


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


def test_blocks_of_one_session_share_their_names_and_a_block_that_fails_does_not_end_it(tmp_path: Path) -> None:
    with terminal(tmp_path, None, one_session=True) as shell:
        shell.run(Block("sh", "echo 41 >number\n", ()))
        shell.run(Block("python", "number = int(open('number').read())\n", ()))
        with pytest.raises(StepFailed, match=r"(?s)exit code 1 of\nraise.*SystemExit: 7"):
            shell.run(Block("python", "raise SystemExit(7)\n", ()))
        assert shell.run(Block("python", "print(number + 1)\n", ("42",))) == "42\n"
        assert shell.session is not None
        interpreter = shell.session.pid
        assert is_sleeping(interpreter)
    assert not is_sleeping(interpreter)


def test_blocks_of_other_pages_share_no_names(tmp_path: Path) -> None:
    with terminal(tmp_path, None) as shell:
        shell.run(Block("python", "number = 41\n", ()))
        with pytest.raises(StepFailed, match="NameError"):
            shell.run(Block("python", "number\n", ()))


def test_a_session_that_dies_fails_its_block(tmp_path: Path) -> None:
    with terminal(tmp_path, None, one_session=True) as shell, pytest.raises(StepFailed, match="exit code 9 of"):
        shell.run(Block("python", "import os; os._exit(9)\n", ()))


@pytest.mark.parametrize(("installed", "printed"), [(True, "made\n"), (False, "made\npip install x\n")])
def test_lines_that_make_the_environment_are_left_out_where_it_is_there(
    installed: bool, printed: str, tmp_path: Path
) -> None:
    with terminal(tmp_path, None, installed=installed) as shell:
        shell.run(Block("sh", "pip() { echo pip $1 x; }\n", ()))
        assert shell.run(Block("sh", 'echo made\npip install --quiet "../../.."\n', ())) == printed


def test_only_the_page_for_vectors_is_one_session() -> None:
    assert {page for page, path in PAGES.items() if ONE_SESSION in path.read_text()} == {"first-hour-vectors"}
