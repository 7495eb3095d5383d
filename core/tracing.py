"""Spans by OpenTelemetry: made only where its environment names a collector, and almost free where it does not.

No span holds what people said. A failure is told by its kind: its sentence may quote them.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context, propagate, trace
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, StatusCode, Tracer

from core.domain.errors import NockError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
FLUSH_SECONDS = 5.0

NOTHING = nullcontext(INVALID_SPAN)
"""In place of a span that nobody wants."""
_provider: "TracerProvider | None" = None
_tracer: Tracer | None = None


class WrongProtocolError(ValueError):
    """The environment wants traces sent in a way that is not spoken here."""


def set_up(service: str) -> "TracerProvider | None":
    """Export this process' spans under that name, once; None where the environment asks for none.

    Raises WrongProtocolError for a protocol other than the one that is spoken.
    """
    global _provider, _tracer
    if _provider is None and is_wanted():
        from core.span_export import open_provider  # here: who exports nothing does not pay for loading it

        _provider = open_provider(service)
        _tracer = _provider.get_tracer("nock")
    return _provider


def shut_down() -> None:
    """Make no more spans, and send what is left as far as the collector takes it in a few seconds."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        sending = threading.Thread(target=provider.shutdown, daemon=True)  # by itself it would try for half a minute
        sending.start()
        sending.join(FLUSH_SECONDS)


def is_wanted() -> bool:
    """Whether the environment asks for traces; WrongProtocolError as above."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none" or not any(map(os.environ.get, ENDPOINTS)):
        return False
    said = next(filter(None, map(os.environ.get, PROTOCOLS)), PROTOCOL)
    if said != PROTOCOL:
        raise WrongProtocolError(f"Traces are sent as {PROTOCOL}, not as {said}: see OTEL_EXPORTER_OTLP_PROTOCOL.")
    return True


def is_on() -> bool:
    return _tracer is not None


def current() -> Span:
    """The span that is being worked in; one that takes everything and keeps nothing where there is none."""
    return INVALID_SPAN if _tracer is None else trace.get_current_span()


def span(name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
    """A step of what is being worked in. What nobody asked for, such as a look every second, has no spans, and what
    was not sampled pays for none."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return NOTHING
    return _spanning(name, attributes=attributes, is_current=True)


def span_apart(
    name: str, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> AbstractContextManager[Span]:
    """The same for a generator, which another task may end than began it: no step within it is its child by itself."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return NOTHING
    return _spanning(name, kind=kind, attributes=attributes)


def span_for_all(name: str, asked_by: Sequence[Span]) -> AbstractContextManager[Span]:
    """What is done for several at once: the first one's child, linked to the others."""
    contexts = [one.get_span_context() for one in asked_by if one.get_span_context().is_valid]
    if _tracer is None or not contexts:
        return NOTHING
    parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]))
    return _spanning(name, parent=parent, linked=contexts[1:], is_current=True)


def span_from(
    carried: Mapping[str, str], name: str, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """What another process asked for by a message, or the first of a trace where the message carries none."""
    if _tracer is None:
        return NOTHING
    parent = propagate.extract(carried, context.Context())
    return _spanning(name, kind=SpanKind.CONSUMER, parent=parent, attributes=attributes, is_current=True)


def carry(within: Span) -> dict[str, str]:
    """The headers (W3C `traceparent`) by which another process goes on with the trace; none where there is none."""
    carried: dict[str, str] = {}
    if within is INVALID_SPAN:
        within = current()  # one that was not sampled: the other process must know
    if within.get_span_context().is_valid:
        propagate.inject(carried, trace.set_span_in_context(within))
    return carried


def note(failed: Span, error: BaseException) -> None:
    """Say of a span that it failed, and how: by kind, never by what the error says."""
    failed.set_attribute("error.type", error.code if isinstance(error, NockError) else type(error).__name__)
    failed.set_status(StatusCode.ERROR)


@contextmanager
def _spanning(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: context.Context | None = None,
    linked: Sequence[SpanContext] = (),
    attributes: Attributes | None = None,
    is_current: bool = False,
) -> Iterator[Span]:
    assert _tracer is not None
    made = _tracer.start_span(name, parent, kind, attributes, [Link(one) for one in linked])
    token = context.attach(trace.set_span_in_context(made)) if is_current else None
    try:
        yield made
    except Exception as error:
        note(made, error)
        raise
    finally:
        if token is not None:
            context.detach(token)
        made.end()
