"""Each entry of the runbook says how one notices, what to look at, what to do, and how one knows that it is done."""

import re
from pathlib import Path

RUNBOOK = Path("docs/runbook.md").read_text()
PARTS = ("You notice", "Look at", "Do", "Done when")


def entries() -> dict[str, str]:
    """Return the text of each entry by its heading."""
    found = re.split(r"^### (.+)$", RUNBOOK, flags=re.M)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_each_entry_has_its_four_parts_once_and_in_order() -> None:
    assert len(entries()) >= 25
    for heading, text in entries().items():
        assert [one for one in re.findall(r"^\*\*([A-Z][\w ]+?)\*\*", text, re.M) if one in PARTS] == [*PARTS], heading


def test_the_tasks_that_operators_were_promised_are_there() -> None:
    assert {
        *("Install", "Upgrade", "Back up", "Restore", "Rotate API keys", "Rotate certificates", "Recalibrate"),
        *("Erase a person on request", "A false match is reported", "Triton is slow", "The store is full"),
    } <= entries().keys()


def test_each_alert_has_an_entry_and_each_entry_an_alert() -> None:
    """The rules of Prometheus name the entry of each alert."""
    rules = "".join(path.read_text() for path in sorted(Path("docker").rglob("rules*.yaml")))
    linked = set(re.findall(r"runbook\.md#([a-z0-9-]+)", rules))
    anchors = {heading.lower().replace(" ", "-") for heading in entries()}
    assert linked <= anchors
    if linked:
        _, _, alerts = RUNBOOK.partition("\n## Alerts\n")
        assert linked == {one.lower().replace(" ", "-") for one in re.findall(r"^### (.+)$", alerts, re.M)}
