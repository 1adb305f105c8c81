"""Certificate and key of the HTTP listener, as Envoy reads them."""

import json
import time
from pathlib import Path

from sameface.access.changing_file import ChangingFiles
from sameface.access.tls import TlsOptions, require_usable
from sameface.http.config import secrets


class Certificates:
    """Tells Envoy of a certificate and key, and of later ones. Those that do not fit each other are not used."""

    def __init__(self, tls: TlsOptions, folder: Path) -> None:
        """Read the files of ``tls``. What Envoy reads will be in ``folder``.

        Raises:
            InvalidArgument: a file cannot be read, is no PEM file, or key and certificate do not belong together.
        """
        self._folder = folder
        self._paths = [path for path in (tls.certificate, tls.private_key, tls.client_ca) if path is not None]
        self._files = ChangingFiles(self._paths, lambda: require_usable(tls), keep=True)
        self._written: object = None

    def write(self) -> None:
        """Tell Envoy where the files are, if they are new or have changed since.

        Envoy takes no notice of a name that it has read before, so each change gets links of its own.
        """
        present = self._files.content
        if present is self._written:
            return
        links = [self._folder / f"{time.monotonic_ns()}-{number}.pem" for number in range(len(self._paths))]
        for link, path in zip(links, self._paths, strict=True):
            link.symlink_to(path.absolute())
        certificate, private_key, *client_ca = links
        for name, content in secrets(certificate, private_key, client_ca[0] if client_ca else None).items():
            new = self._folder / f"{name}.new"
            new.write_text(json.dumps(content))
            new.rename(self._folder / name)  # Envoy watches for files that take the place of others
        self._written = present
