"""What a server's strict mode allows, and whether the store can work within it. Pure."""

from dataclasses import dataclass

from qdrant_client import models

from sameface_qdrant.engines.server.options import ServerOptions

LARGEST_PAGE = 1000
"""Points of one page where the server sets no limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a collection that change how it is read."""

    page: int | None = None
    """Most points that one search or page may ask for (``max_query_limit``); None for no limit."""
    exact: bool = True
    """Whether exact searches and counts are allowed (``search_allow_exact``)."""


def limits_of(config: models.StrictModeConfigOutput | None) -> Limits:
    """Return the limits that a collection reports."""
    if config is None or not config.enabled:
        return Limits()
    return Limits(config.max_query_limit, config.search_allow_exact is not False)


def refusals(config: models.StrictModeConfigOutput | None, options: ServerOptions) -> list[str]:
    """Return why a server would refuse the searches of these options, one sentence for each reason."""
    if config is None or not config.enabled:
        return []
    found = []
    if options.exact:
        if config.search_allow_exact is False:
            found.append("search_allow_exact is false, but the store is set to exact search: set exact to false")
        return found
    if config.search_max_hnsw_ef is not None and (options.hnsw_ef or 0) > config.search_max_hnsw_ef:
        found.append(f"search_max_hnsw_ef is {config.search_max_hnsw_ef}, but hnsw_ef is {options.hnsw_ef}: lower it")
    most = config.search_max_oversampling
    if options.quantization == "int8" and most is not None and options.oversampling > most:
        found.append(f"search_max_oversampling is {most}, but oversampling is {options.oversampling}: lower it")
    return found


def weaknesses(replicas: int, writes: int, nodes: int) -> list[str]:
    """Return what a cluster does not withstand with these settings of a collection, one sentence each.

    Args:
        replicas: copies of every point (``replication_factor``).
        writes: copies that must have applied a write (``write_consistency_factor``).
        nodes: nodes that hold parts of the collection.
    """
    if nodes > 1 and replicas == 1:
        return [
            f"every point is on one of {nodes} nodes: while one is away, its points cannot be read; 3 replicas and a "
            "write_consistency_factor of 2 are recommended"
        ]
    found = []
    if replicas == 2:
        found.append("2 replicas: both must answer, so nothing can be read while one is away; 3 are recommended")
    majority = replicas // 2 + 1
    if replicas > 1 and writes < majority:
        found.append(
            f"write_consistency_factor is {writes} of {replicas} replicas: a write may be lost with one node; "
            f"{majority} are recommended"
        )
    if replicas > 1 and writes == replicas:
        found.append(
            f"write_consistency_factor is {writes} of {replicas} replicas: nothing can be written while one is away"
        )
    return found
