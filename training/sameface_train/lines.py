"""Reads and writes text files of a run so that a process that is killed meanwhile does no harm."""

from pathlib import Path

from sameface_train.errors import WrongCheckpoint


def complete_lines(path: Path) -> list[str]:
    """Return the complete lines of a file, without line ends; none if there is no such file.

    A process that is killed while it writes leaves half a line at the end. It is dropped.
    """
    if not path.is_file():
        return []
    text = path.read_bytes().decode("utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()


def drop_torn_line(path: Path) -> None:
    """Remove half a line at the end of a file, so that more lines can be added."""
    if not path.is_file():
        return
    content = path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete < len(content):
        with path.open("r+b") as file:
            file.truncate(complete)


def damaged_line(path: Path, number: int) -> WrongCheckpoint:
    """Return the error for a line, counted from 1, that does not hold what it should."""
    return WrongCheckpoint(
        f"{path} is damaged: line {number} does not hold what its headings say; delete this line, or train again in "
        "another folder",
        metadata={"path": path},
    )


def write_whole(path: Path, text: str) -> None:
    """Write a file; after a kill either the old or the new one is there."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)
