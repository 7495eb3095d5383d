"""Where spans go: to the collector that OpenTelemetry's own environment names, in batches, from a thread."""

import os

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

NAMES_PEOPLE = ("url.path", "url.query")
"""What FastAPI says of a request beside its route. It may name an end user, whose erasure no trace would follow."""


class _WithoutNames(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for name in NAMES_PEOPLE:
            if name in (span.attributes or {}):
                span.set_attribute(name, "")


def open_provider(service: str) -> TracerProvider:
    """A provider that exports; a full queue or a collector that is away loses spans and delays nobody."""
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or service}),
        shutdown_on_exit=False,  # who opened it shuts it down
    )
    provider.add_span_processor(_WithoutNames())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
