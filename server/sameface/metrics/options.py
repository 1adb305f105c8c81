"""Settings of the port for metrics."""

import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sameface.access.tls import TlsOptions
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import check_id

MOST_GALLERIES = 100
LEAST_COUNT_S = 0.1
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """Metrics for Prometheus, on a port of their own. Without `listen` nothing is counted."""

    listen: str = ""
    """Host and port, for instance 127.0.0.1:9464; port 0 chooses a free port."""
    tls: TlsOptions = TlsOptions()  # noqa: RUF009  # frozen
    """Encryption of this port. It takes over nothing from the gRPC port."""
    galleries: tuple[str, ...] = ()
    """Ids of galleries whose sizes are exported one by one, at most 100. Of all others only the totals are."""
    count_every_s: Annotated[float, Gt(0), Le(86400)] = 60.0
    """Seconds between two counts of galleries, identities and templates: 0.1 to 86,400."""
    max_connections: Annotated[int, Ge(1), Le(1000)] = 8
    """Most open connections; further ones are closed at once."""
    reuse_s: Annotated[float, Ge(0), Le(60)] = 1.0
    """Seconds for which one answer is given again, whoever asks, so that frequent scrapes cost nothing; at most 60."""

    def __post_init__(self) -> None:
        """Raise ValueError if a value is not allowed."""
        if self.listen and ((found := _ADDRESS.fullmatch(self.listen)) is None or int(found["port"]) > 65535):
            raise ValueError(f"listen is {self.listen!r}; expected a host and a port, for instance 0.0.0.0:9464")
        if not self.count_every_s >= LEAST_COUNT_S:
            raise ValueError(f"count_every_s is {self.count_every_s}; expected {LEAST_COUNT_S} or more seconds")
        if len(self.galleries) > MOST_GALLERIES:
            raise ValueError(f"galleries has {len(self.galleries)} ids; expected at most {MOST_GALLERIES}")
        for one in self.galleries:
            try:
                check_id(one, "galleries")
            except InvalidArgument as error:
                raise ValueError(error.message) from None
