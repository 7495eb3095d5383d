"""What was found out about a version before anybody met it, as it is shown."""

from typing import Any

from core.storage.models import Evaluation


def show_evaluation(row: Evaluation) -> dict[str, Any]:
    """One look at a version; figures are there once it has ended."""
    return {
        "state": row.state.value,
        "reason": row.reason,
        "figures": row.figures,
        "created_at": row.created_at.isoformat(),
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
    }
