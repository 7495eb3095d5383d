"""What speaks for a version or against it: what it came with, the newest look of each kind, and its trial."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.storage.models import AdapterVersion, Canary, Evaluation
from core.storage.repositories import canaries, evaluations


async def evidence_of(session: AsyncSession, version: AdapterVersion) -> dict[str, Any] | None:
    """None while nothing has been looked at."""
    found = await evaluations.newest(session, version.id)
    looked = {kind.value: _show(evaluation) for kind, evaluation in found.items()}
    trial = await canaries.newest_of(session, version.id)
    tried = {} if trial is None else {"canary": _show_trial(trial)}
    return {**(version.evidence or {}), **looked, **tried} or None


def _show_trial(trial: Canary) -> dict[str, Any]:
    return {"state": trial.state, "verdict": trial.verdict, "weight": trial.weight, "figures": trial.evidence}


def _show(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "evaluation_id": ids.public(ids.Prefix.EVALUATION, evaluation.id),
        "state": evaluation.state,
        "figures": evaluation.figures,
        "reason": evaluation.reason,
        "created_at": evaluation.created_at,
        "ended_at": evaluation.ended_at,
    }
