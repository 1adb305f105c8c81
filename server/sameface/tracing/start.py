"""Starts traces for a service. Only here the package of OTLP's messages is imported."""

import logging
from collections.abc import Callable, Mapping, Sequence

from sameface.addresses import is_here
from sameface.errors import RuntimeMissing
from sameface.tracing.exporter import Exporter
from sameface.tracing.options import TracesOptions
from sameface.tracing.spans import Span, Tracer

log = logging.getLogger(__name__)


def start_tracing(
    options: TracesOptions, *, methods: Mapping[str, str], code_of: Callable[[str], str], on_triton: bool
) -> tuple[Tracer, Exporter]:
    """Return an observer that makes spans, and what sends them, which is started. See `Tracer` for the arguments.

    Raises:
        RuntimeMissing: the package is not installed.
        InvalidArgument: a file of the settings cannot be used.
    """
    try:
        from sameface.tracing.encoding import encoded, resource_of
        from sameface.tracing.senders import sender_of
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise RuntimeMissing(
            "traces.endpoint is set, and the package for traces is not installed; run: pip install 'sameface[traces]', "
            "or leave SAMEFACE_TRACES__ENDPOINT out"
        ) from None
    resource = resource_of(options.attributes)
    if options.headers and not options.encrypted and not is_here(options.target):
        log.warning("the headers of traces go to %s unencrypted; write https in traces.endpoint", options.target)

    def encode(spans: Sequence[Span]) -> bytes:
        return encoded(spans, resource)

    exporter = Exporter(sender_of(options), encode, most=options.max_queue, where=options.endpoint)
    exporter.start()
    tracer = Tracer(
        exporter,
        sample_ratio=options.sample_ratio,
        follow_callers=options.follow_callers,
        methods=methods,
        code_of=code_of,
        on_triton=on_triton,
    )
    return tracer, exporter
