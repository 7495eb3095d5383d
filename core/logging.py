"""Structured logs: short phrases with facts as keys; never the text of a message, never a secret."""

import logging
import sys

import structlog
from opentelemetry.trace import format_trace_id

from core import tracing
from core.settings import LogSettings


def configure_logging(settings: LogSettings | None = None) -> None:
    """Send structlog's and the libraries' records to standard error in one format."""
    settings = settings or LogSettings()
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        name_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the default prints local variables: users' texts
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def name_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Which trace a line belongs to, where there is one."""
    context = tracing.current().get_span_context()
    if context.is_valid:
        event["trace_id"] = format_trace_id(context.trace_id)
    return event
