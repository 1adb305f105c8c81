"""Every method that both clients have, each declared once."""

from sameface.client.answers.service import ServerInfo
from sameface.client.faces import FaceCalls
from sameface.client.galleries import GalleryCalls
from sameface.client.identities import ErasureCalls, IdentityCalls, TemplateCalls
from sameface.client.migrations import MigrationCalls
from sameface.client.rpc import Call, Rpc
from sameface.v1 import system_service_pb2


class Calls(FaceCalls, GalleryCalls, IdentityCalls, TemplateCalls, ErasureCalls, MigrationCalls):
    """One method for each rpc of the service.

    A method that is declared with ``Call[X]`` returns an ``X`` from `Client` and a coroutine with an ``X`` from
    `AsyncClient`; with ``Pages[X]``, an iterator or asynchronous iterator over ``X``. The options of a method, such as
    ``EnrollOptions``, are keyword arguments.
    """

    @Rpc
    def server_info(self) -> Call[ServerInfo]:
        """Return versions, models and where they run."""
        return Call(system_service_pb2.GetServerInfoRequest(), ServerInfo)
