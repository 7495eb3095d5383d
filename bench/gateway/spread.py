"""Percentiles."""

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds; nothing of nothing."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
    return {name: 1000 * quantile(ordered, share) for name, share in shares.items()} | {"count": len(ordered)}
