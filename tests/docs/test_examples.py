"""The examples for web frameworks verify photos against a real service."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sameface.client import Client
from sameface.launcher import Service

GALLERY = "web-examples"
FIRST, SECOND, OTHER = "jacinda_ardern_2018.jpg", "jacinda_ardern_2022.jpg", "emmanuel_macron_2014.jpg"


@pytest.fixture(scope="module")
def enrolled(service: Service, portraits: Path) -> Iterator[str]:
    """Address of a service that knows one person."""
    with Client(service.address) as client:
        client.create_gallery(GALLERY)
        client.enroll(GALLERY, "jacinda", portraits / FIRST)
        yield service.address
        client.delete_gallery(GALLERY, force=True)


@pytest.fixture(scope="module")
def examples(enrolled: str) -> Iterator[dict[str, ModuleType]]:
    """The modules of the examples, which read their address from the environment."""
    loaded = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEFACE_ADDRESS", enrolled)
        patch.setenv("SAMEFACE_GALLERY", GALLERY)
        for name in ("fastapi", "django"):
            spec = importlib.util.spec_from_file_location(f"{name}_example", f"docs/examples/{name}/app.py")
            assert spec is not None
            assert spec.loader is not None
            patch.setitem(sys.modules, spec.name, importlib.util.module_from_spec(spec))
            loaded[name] = sys.modules[spec.name]
            spec.loader.exec_module(loaded[name])
        yield loaded


CASES: list[tuple[str, Any, int, str]] = [
    ("jacinda", SECOND, 200, "match"),
    ("jacinda", OTHER, 200, "no match"),
    ("nobody", SECOND, 404, "IDENTITY_NOT_FOUND"),
    ("jacinda", b"not a photo", 422, "IMAGE_UNDECODABLE"),
    ("jacinda", b"", 422, "IMAGE_UNDECODABLE"),
]


def content(photo: Any, portraits: Path) -> bytes:
    return photo if isinstance(photo, bytes) else (portraits / photo).read_bytes()


@pytest.mark.parametrize(("person", "photo", "status", "said"), CASES)
def test_fastapi(
    person: str, photo: Any, status: int, said: str, examples: dict[str, ModuleType], portraits: Path
) -> None:
    with TestClient(examples["fastapi"].app) as client:
        answer = client.post(f"/people/{person}/verify", files={"photo": ("photo.jpg", content(photo, portraits))})
    assert answer.status_code == status, answer.text
    assert answer.json() == ({"matched": said == "match"} if status == 200 else {"reason": said})


@pytest.mark.parametrize(("person", "photo", "status", "said"), CASES)
def test_django(
    person: str, photo: Any, status: int, said: str, examples: dict[str, ModuleType], portraits: Path
) -> None:
    import django
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client as Browser

    django.setup()
    browser = Browser(enforce_csrf_checks=True)
    browser.get("/")
    sent: dict[str, Any] = {"person": person, "photo": SimpleUploadedFile("photo.jpg", content(photo, portraits))}
    assert browser.post("/", sent).status_code == 403
    sent["photo"].seek(0)
    answer = browser.post("/", {**sent, "csrfmiddlewaretoken": browser.cookies["csrftoken"].value})
    # The form has messages of its own for an empty file. A page has no resource that is missing.
    assert answer.status_code == (422 if status == 404 else status)
    if photo:
        text = {"match": "Welcome.", "no match": "This is somebody else."}.get(said, said)
        assert f"<p>{text}</p>" in answer.content.decode()
