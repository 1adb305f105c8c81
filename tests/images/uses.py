"""Uses what tools/trim.py could take away, inside an image: `python -c` gets this text, and photos of other formats.

Needs the image's Python alone, and no network. The arguments are photos in base64. The last line is what failed.
"""

import base64
import ctypes
import importlib
import io
import json
import pkgutil
import ssl
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import certifi

PACKAGES = Path(sysconfig.get_path("purelib"))


def every_library_loads() -> None:
    """Load each shared library of the packages, with all that it needs."""
    libraries = [path for path in PACKAGES.rglob("*.so*") if path.is_file()]
    assert len(libraries) > 50, libraries
    for path in libraries:
        ctypes.CDLL(str(path))


def every_module_of_sameface_is_imported() -> None:
    """Import each module that needs no package that the image leaves out, such as ONNX."""
    there, failed = packages_distributions(), {}
    for name in ("sameface", "sameface_qdrant"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(".__main__"):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:
                    if (error.name or "").partition(".")[0] in there:
                        failed[module.name] = str(error)
    assert not failed, failed


def every_command_shows_its_help() -> None:
    """Show the help of each command, and of the commands of each group."""
    from typer.main import get_group
    from typer.testing import CliRunner

    from sameface.cli.main import app

    def show(command: Any, path: list[str]) -> int:
        told = CliRunner().invoke(app, [*path, "--help"])
        assert told.exit_code == 0, (path, told.output, told.exception)
        names = command.list_commands(None) if hasattr(command, "list_commands") else ()
        return 1 + sum(show(command.get_command(None, name), [*path, name]) for name in names)

    assert show(get_group(app), []) > 30


def errors_and_code_are_shown_in_colour() -> None:
    """Let Rich show a traceback, and the code of a text in Markdown."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.traceback import Traceback

    file = io.StringIO()
    shown = Console(file=file, force_terminal=True)
    try:
        json.loads("{")
    except ValueError:
        shown.print(Traceback(show_locals=True))
    for language in ("", "python", "sh", "json"):
        shown.print(Markdown(f"```{language}\nx = 1\n```"))
    assert "JSONDecodeError" in file.getvalue()


def photos_of_every_format_are_read() -> None:
    """Read the photos of the arguments, and one of each format that Pillow writes; write text on a picture."""
    from PIL import Image, ImageDraw, ImageFont

    from sameface.vision import ImageLimits, decode_image

    picture = Image.linear_gradient("L").convert("RGB")
    plain = picture.tobytes()
    ImageDraw.Draw(picture).text((2, 2), "Aé", font=ImageFont.load_default(size=40))
    assert picture.tobytes() != plain
    photos = {f"argument {number}": base64.b64decode(each) for number, each in enumerate(sys.argv[1:])}
    for name, options in (
        *((name, {}) for name in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")),
        *(("TIFF", {"compression": name}) for name in ("packbits", "tiff_lzw", "tiff_adobe_deflate")),
    ):
        file = io.BytesIO()
        picture.save(file, name, **options)
        photos[f"{name} {options}"] = file.getvalue()
    for name, content in photos.items():
        assert decode_image(content, ImageLimits(), for_faces=False).pixels.ndim == 3, name


def encrypted_calls_are_answered() -> None:
    """Make a certificate, serve gRPC with it, and call."""
    import grpc
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(secret, chain)]))
    server.start()
    options = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(chain), options) as channel:
        grpc.channel_ready_future(channel).result(10)
    server.stop(None)
    # The roots that are known without a setting.
    assert ssl.create_default_context(cafile=certifi.where()).get_ca_certs()


CHECKS: tuple[Callable[[], None], ...] = (
    every_library_loads,
    every_module_of_sameface_is_imported,
    every_command_shows_its_help,
    errors_and_code_are_shown_in_colour,
    photos_of_every_format_are_read,
    encrypted_calls_are_answered,
)


def main() -> None:
    """Print which checks failed, and why."""
    failed = {}
    for check in CHECKS:
        try:
            check()
        except Exception as error:
            failed[check.__name__] = f"{type(error).__name__}: {error}"[:1000]
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
