"""The evaluation step: what logged conversations say of a candidate before anybody meets it; a list of verbs."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.canaries import EvaluationState
from core.rollouts.loading import check_files
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, Evaluation
from core.storage.models.base import Json
from core.storage.repositories import adapters, agents, evaluations, rollouts
from worker.configuration import RunConfiguration
from worker.evaluation.drawing import draw
from worker.evaluation.units import units_of
from worker.evaluation.verdict import FLOOR, too_few
from worker.evaluation.weighing import Weighing, weigh
from worker.learning import REFUSALS, describe
from worker.lease import LeaseLostError, RunLease, WorkerStoppingError, hold
from worker.preparing import check_model
from worker.settings import LearnerSettings

log = structlog.get_logger()

UNDER_TRIAL = (AdapterState.CANDIDATE, AdapterState.CANARY)


async def step(
    database: Database, evaluation_id: UUID, *, settings: LearnerSettings, is_stopping: Callable[[], bool]
) -> None:
    """Do an evaluation that nobody holds; nothing when somebody does or it has ended."""
    holder = uuid4()
    seconds = settings.learner_lease_seconds
    async with database.transaction() as session:
        row = await evaluations.claim(session, evaluation_id, holder=holder, lease_seconds=seconds)
        if row is None:
            return
        agent = await agents.get_agent_by_id(session, row.agent_id)
    if row.attempts > settings.learner_max_attempts:
        last = row.reason or "Its worker died each time: was there enough memory?"
        reason = f"The evaluation was started {row.attempts - 1} times and never came to an end. {last}"
        await _end(database, row, holder, EvaluationState.FAILED, reason)
        return
    async with hold(database, row.id, holder, seconds=seconds, is_stopping=is_stopping, renew=_renew) as lease:
        await _attempt(database, row, agent, lease, settings)


async def _renew(
    session: AsyncSession, evaluation_id: UUID, /, *, holder: UUID, lease_seconds: float, progress: float
) -> bool:
    """An evaluation takes seconds: nobody is told how far it is."""
    return await evaluations.renew(session, evaluation_id, holder=holder, lease_seconds=lease_seconds)


async def _attempt(
    database: Database, row: Evaluation, agent: Agent, lease: RunLease, settings: LearnerSettings
) -> None:
    """Weigh once; however that ends, the row says so before this process turns to anything else."""
    try:
        await _evaluate(database, row, agent, lease, settings)
    except LeaseLostError as error:
        log.warning("evaluation abandoned", agent=agent.name, evaluation=row.id.hex, why=str(error))
    except WorkerStoppingError as error:
        await _give_back(database, row, lease.holder, str(error), counts=False)
    except REFUSALS as error:
        await _end(database, row, lease.holder, EvaluationState.FAILED, str(error))
    except Exception as surprise:
        await _give_back(database, row, lease.holder, describe(surprise), counts=True)
        raise


async def _evaluate(
    database: Database, row: Evaluation, agent: Agent, lease: RunLease, settings: LearnerSettings
) -> None:
    check_model(settings, agent)
    configuration = RunConfiguration.from_json(agent.learner, discount=agent.discount)
    seed = row.id.int % 2**31
    async with database.snapshot() as session:
        version = await adapters.get_version_by_id(session, row.adapter_id)
        stable = await adapters.get_version_by_id(session, (await rollouts.get_rollout(session, agent.id)).stable_id)
        refusal = _reason_against(version)
        drawn = None if refusal else await draw(session, version, stable.id, configuration, Random(seed))
    if drawn is None:
        await _end(database, row, lease.holder, EvaluationState.UNDECIDED, refusal)
        return
    figures: Json = drawn.figures() | {"stable": stable.number}
    units = units_of(drawn.histories)
    people = len(set(units.values()))
    if people < FLOOR:
        figures |= {"units": people, "floor": FLOOR}
        await _end(database, row, lease.holder, EvaluationState.UNDECIDED, too_few(len(units), people), figures)
        return
    await asyncio.to_thread(check_files, version, AdapterName(agent.name, version.number))
    assert version.path is not None
    weighing = Weighing(
        histories=drawn.histories,
        tokens=drawn.tokens,
        fences=drawn.fences,
        units=units,
        taught=drawn.taught,
        stable_id=stable.id,
        model=settings.model,
        adapter=Path(version.path),
        config=configuration.archer,
        seed=seed,
        device=settings.learner_device,
        threads=settings.learner_threads,
    )
    weighed = await lease.work(partial(weigh, weighing, lease.report))
    await _end(database, row, lease.holder, weighed.state, weighed.reason, figures | weighed.figures)


def _reason_against(version: AdapterVersion) -> str | None:
    """Why there is nothing to weigh, if there is nothing."""
    if version.number == BASE_NUMBER:
        return "It is the base model, which every other version is compared with in the end."
    if version.state not in UNDER_TRIAL:
        return f"It was {version.state.value} before it was looked at."
    return None


async def _end(
    database: Database,
    row: Evaluation,
    holder: UUID,
    state: EvaluationState,
    reason: str | None,
    figures: Json | None = None,
) -> None:
    async with database.transaction() as session:
        await evaluations.end(session, row.id, holder=holder, state=state, figures=figures, reason=reason)
    log.info("evaluation ended", evaluation=row.id.hex, kind=row.kind.value, state=state.value, reason=reason)


async def _give_back(database: Database, row: Evaluation, holder: UUID, reason: str, *, counts: bool) -> None:
    async with database.transaction() as session:
        await evaluations.give_back(session, row.id, holder=holder, reason=reason, counts=counts)
    log.warning("evaluation given back", evaluation=row.id.hex, reason=reason)
