"""What is known of a version before everybody meets it, and what is still missing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.errors import ConflictError
from core.domain.suites import fingerprint
from core.storage.models import AdapterVersion, Agent, Canary, Evaluation
from core.storage.repositories import canaries, evaluations, rollouts

BETTER = "promote"
"""The verdict of a trial that has shown its version to be better."""
EVIDENCE_MISSING = "evidence_missing"
"""The code of a refusal that evidence which is still to come, or `force`, takes away."""
UNDER_WAY = (EvaluationState.QUEUED, EvaluationState.RUNNING)


async def check_triable(
    session: AsyncSession, agent: Agent, version: AdapterVersion, name: AdapterName, *, force: bool
) -> list[str]:
    """What the version lacks for a trial; raises ConflictError (`evidence_missing`) for it unless `force`."""
    missing = _before_trial(agent, await evaluations.newest(session, version.id))
    return _settle(name, "tried", missing, force=force)


async def check_promotable(
    session: AsyncSession, agent: Agent, version: AdapterVersion, name: AdapterName, *, force: bool
) -> list[str]:
    """The same for promotion, which wants the verdict of a trial besides.

    The base model, and what was in service before, has met everybody already and needs nothing.
    """
    if version.number == BASE_NUMBER or await rollouts.was_stable(session, version.agent_id, version.id):
        return []
    missing = _before_trial(agent, await evaluations.newest(session, version.id))
    trial = await canaries.newest_of(session, version.id)
    stable_id = (await rollouts.get_rollout(session, version.agent_id)).stable_id
    if trial is None or trial.verdict != BETTER:
        missing.append(_of_trial(version, trial))
    elif trial.stable_id != stable_id:
        missing.append("its canary was beside a version that serves no more")
    return _settle(name, "promoted", missing, force=force)


async def gathered(session: AsyncSession, version: AdapterVersion) -> dict[str, Any]:
    """All that was found out about a version, for the record of its promotion."""
    found: dict[str, Any] = {
        kind.value: show_evaluation(row) for kind, row in (await evaluations.newest(session, version.id)).items()
    }
    trial = await canaries.newest_of(session, version.id)
    return found if trial is None else found | {"canary": trial.evidence}


def show_evaluation(row: Evaluation) -> dict[str, Any]:
    """One look at a version as it is shown and kept."""
    return {"state": row.state.value, "reason": row.reason, "figures": row.figures}


def _before_trial(agent: Agent, found: dict[EvaluationKind, Evaluation]) -> list[str]:
    missing = []
    if agent.suite and (why := _of_suite(agent, found.get(EvaluationKind.SUITE))) is not None:
        missing.append(why)
    offline = found.get(EvaluationKind.OFFLINE)
    if offline is None or offline.state in UNDER_WAY:
        missing.append("there is no offline evidence yet")
    elif offline.state is EvaluationState.WORSE:
        missing.append(f"offline evidence says that it is worse: {offline.reason or 'see its evidence'}")
    return missing


def _of_suite(agent: Agent, suite: Evaluation | None) -> str | None:
    if suite is None or suite.state in UNDER_WAY:
        return "the suite has not been run yet"
    if suite.state is not EvaluationState.PASSED:
        return f"the suite failed: {suite.reason or 'see its evidence'}"
    if (suite.figures or {}).get("suite") != fingerprint(agent.suite, agent.system_prompt):
        return "the suite has changed since it was run"
    return None


def _of_trial(version: AdapterVersion, trial: Canary | None) -> str:
    if trial is None:
        return "no canary has shown it to be better"
    if version.state is AdapterState.CANARY:
        return "its canary has no verdict yet"
    return f"its canary ended as {trial.state.value}"


def _settle(name: AdapterName, what: str, missing: Sequence[str], *, force: bool) -> list[str]:
    if missing and not force:
        raise ConflictError(
            f"{name} is not {what}: {'; '.join(missing)}. With `force` and a reason it is all the same.",
            code=EVIDENCE_MISSING,
        )
    return list(missing)
