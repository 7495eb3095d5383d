"""How FastAPI makes the span of each request: to the provider that is given, and nothing else of what it could tell."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import TracerProvider

UNTRACED = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds by machines."""


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """Its metrics would double ours, its logs hold exceptions' sentences, its inner spans its own parts."""
    return {
        "tracing": provider is not None,
        "tracer_provider": provider,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
        "exclude": is_untraced,
    }


def is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope["path"] in UNTRACED
