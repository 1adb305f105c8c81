"""What the documents show works, and what they point to exists."""

import re
from pathlib import Path

import pytest

from sameface.client.connection import Connection
from sameface.launcher import Service
from sameface.v1 import gallery_service_pb2

DOCUMENTS = sorted([Path("README.md"), Path("CONTRIBUTING.md"), Path("CHANGELOG.md"), *Path("docs").glob("*.md")])


def test_the_readmes_python_runs_as_it_stands(
    service: Service, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.S)
    exec(compile(block.replace("127.0.0.1:50051", service.address), "README.md", "exec"), {})
    assert "outcome: OUTCOME_MATCH" in capsys.readouterr().out
    connection.galleries.DeleteGallery(gallery_service_pb2.DeleteGalleryRequest(name="galleries/staff", force=True))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document} points to {target}"
