"""Opens the engine that a URL names."""

from pathlib import Path

from sameface_qdrant.engines.base import Engine
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import InvalidArgument

EDGE = "edge://"


async def open_engine(url: str, api_key: str | None, options: ServerOptions, edge: EdgeOptions) -> Engine:
    """Open the engine of ``edge:///absolute/folder``, ``http(s)://host:port`` or ``:memory:``.

    Raises:
        InvalidArgument: the URL has another form. Other errors: see `sameface_qdrant.Store.open`.
    """
    # Imported here, so that only the packages of the chosen engine are loaded.
    if url.startswith(EDGE):
        from sameface_qdrant.engines.edge.engine import EdgeEngine

        return await EdgeEngine.open(_folder(url), edge)
    if url == ":memory:" or url.startswith(("http://", "https://")):
        from sameface_qdrant.engines.server.engine import ServerEngine

        return await ServerEngine.open(url, api_key=api_key, options=options)
    advice = f"; for this folder write {_url_of(url)}" if url.startswith(("/", "~", ".")) else ""
    raise InvalidArgument(
        f"url is {url!r}; expected edge:///folder, http(s)://host:port or :memory:{advice}", metadata={"field": "url"}
    )


def _folder(url: str) -> Path:
    """Return the folder of an edge URL.

    Raises:
        InvalidArgument: it is relative: what it means would depend on where the program is started.
    """
    folder = url.removeprefix(EDGE)
    if Path(folder).is_absolute():
        return Path(folder)
    advice = f"; for this folder write {_url_of(folder)}" if folder else ""
    raise InvalidArgument(
        f"url is {url!r}, which names no absolute folder; expected {EDGE}/absolute/folder, with three slashes{advice}",
        metadata={"field": "url"},
    )


def _url_of(folder: str) -> str:
    return f"{EDGE}{Path(folder).expanduser().absolute()}"
