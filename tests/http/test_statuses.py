"""Every reason has over HTTP the status that the documents tell, and its details."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from sameface.access.tls import TlsOptions
from sameface.api.server import SERVICES
from sameface.api.status import ERRORS, rich_status
from sameface.http.config import Bounds
from sameface.http.options import HttpOptions
from sameface.http.server import HttpServer
from sameface_qdrant.errors import SamefaceError
from tests.http.calls import reason

TOLD = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (\d+) \|", Path("docs/errors.md").read_text(), re.M))


class Failing(grpc.GenericRpcHandler):
    """Ends every call with the reason that its metadata names."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def fail(request: bytes, context: Any) -> None:
            named = dict(details.invocation_metadata)["x-reason"]
            kind = type("Named", (SamefaceError,), {"reason": named})
            await context.abort_with_status(rich_status(kind("what was given", retry_after_s=1.5)))

        return grpc.unary_unary_rpc_method_handler(fail)


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an Envoy before a service that always fails."""
    http = HttpServer(
        HttpOptions("127.0.0.1:0"), grpc_tls=TlsOptions(), bounds=Bounds(60.0, 128), services=SERVICES, threads=1
    )
    server = grpc.aio.server(handlers=[Failing()])
    server.add_insecure_port(f"unix:{http.socket}")
    await server.start()
    await http.start()
    async with httpx.AsyncClient(base_url=f"http://{http.address}", trust_env=False) as opened:
        yield opened
    await server.stop(0)
    await http.stop()


@pytest.mark.parametrize("name", ERRORS)
async def test_the_status_is_the_one_of_the_documents(name: str, client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/serverInfo", headers={"x-reason": name})
    assert (answer.status_code, reason(answer)) == (int(TOLD[name]), name)
    assert answer.json()["message"] == "what was given"
    assert answer.json()["code"] == ERRORS[name].code.value[0]
    assert any(one.get("retryDelay") == "1.500s" for one in answer.json()["details"])
