"""Cameras' raw files, and what is no photo."""

import base64
from collections.abc import Iterator

from tests.vision.writers import tiff
from tools.odd_photos.portrait import (
    GREYS,
    PLAIN,
    SMALL,
    Entry,
    jpeg,
    saved,
)


def cameras() -> Iterator[Entry]:
    """Heads of cameras' raw files, most with a small preview first, as cameras write them."""

    def preview(**tags: tuple[int, object]) -> bytes:
        return tiff(SMALL, 2, tags={254: (4, [1]), **{int(name[1:]): value for name, value in tags.items()}})

    yield "camera.dng", "DNG raw", preview(_50706=(1, [1, 4, 0, 0]), _330=(4, [8]))
    yield "camera.nef", "NIKON raw", preview(_271=(2, b"NIKON CORPORATION\0"), _330=(4, [8]))
    yield "camera.arw", "SONY raw", preview(_271=(2, b"SONY\0"), _330=(4, [8]))
    yield "camera.pef", "PENTAX raw", tiff(GREYS, 32803, tags={271: (2, b"PENTAX\0")})
    yield "camera.cr2", "Canon CR2 raw", b"II*\0\x10\0\0\0CR\x02\0" + bytes(100) + jpeg()[:4000]
    yield "camera.cr3", "Canon CR3 raw", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(100)
    yield "camera.raf", "Fujifilm RAF raw", b"FUJIFILMCCD-RAW 0201" + bytes(100) + jpeg()[:4000]
    yield "camera.orf", "Olympus ORF raw", b"IIRO\x08\0\0\0" + bytes(100)
    yield "camera.rw2", "Panasonic RW2 raw", b"IIU\0\x18\0\0\0" + bytes(100)


def no_photos() -> Iterator[Entry]:
    """Other images, videos, documents and texts."""
    yield "image.jp2", "JPEG 2000", saved(PLAIN.resize((40, 40)), "JPEG2000")
    yield "image.jxl", "JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)
    yield "image.jxr", "JPEG XR", b"II\xbc\x01\x20\0\0\0" + bytes(40)
    yield "image.ico", "ICO icon", saved(PLAIN.resize((32, 32)), "ICO")
    yield "image.psd", "Photoshop document", b"8BPS\0\x01" + bytes(40)
    yield "image.ppm", "PNM", saved(PLAIN.resize((20, 20)), "PPM")
    yield "image.tga", "TGA", saved(PLAIN.resize((20, 20)), "TGA")
    yield "image.qoi", "QOI", saved(PLAIN.resize((20, 20)), "QOI")
    yield "drawing.svg", "SVG drawing", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "document.pdf", "PDF document", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
    yield "video.mp4", "MP4 video", b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(40)
    yield "video.mov", "QuickTime video", b"\0\0\0\x14ftypqt  \0\0\x02\0qt  " + bytes(40)
    yield "video.webm", "Matroska or WebM video", b"\x1a\x45\xdf\xa3" + bytes(40)
    yield "archive.zip", "ZIP archive", b"PK\x03\x04" + bytes(40)
    text = base64.b64encode(jpeg())
    yield "base64.txt", "JPEG as base64 text", text[:3000]
    yield "data-uri.txt", "data URI", b"data:image/jpeg;base64," + text[:3000]
    yield "address.txt", "URL", b"https://example.com/photo.jpg\n"
    yield "page.html", "HTML page", b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"
    yield "answer.json", "JSON text", b'{"error": {"code": 403, "message": "Forbidden"}}'
    yield "note.txt", "text", "Ein Foto wäre schöner.\n".encode()
