"""The learner step: from conversations with an outcome to a registered candidate; a list of verbs, no arithmetic."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import DBAPIError

from core import tracing
from core.adapters.folders import remove
from core.domain import ids
from core.domain.errors import DamagedAdapterError
from core.settings import StoreSettings
from core.storage.database import Database
from core.storage.models import Agent, LearnerRun, RunState
from core.storage.repositories import agents, learner
from worker import registering
from worker.adapters.places import Places
from worker.adapters.sweeping import prune_checkpoints, sweep
from worker.archer.actor import ActorError
from worker.archer.config import ConfigError
from worker.archer.descent import NonFiniteUpdateError
from worker.archer.text_reader import EncoderError
from worker.archer.types import TransitionError
from worker.configuration import RunConfiguration
from worker.encoder import PackagedEncoderError
from worker.lease import LeaseLostError, RunLease, WorkerStoppingError, hold
from worker.preparing import prepare
from worker.settings import LearnerSettings
from worker.training import ModelError, train

log = structlog.get_logger()

REFUSALS = (
    ActorError,
    ConfigError,
    DamagedAdapterError,
    EncoderError,
    ModelError,
    NonFiniteUpdateError,
    PackagedEncoderError,
    TransitionError,
)
"""What ends a run as failed at once: trying again would end the same way. Each says what to do."""


async def step(
    database: Database,
    run_id: UUID,
    *,
    settings: LearnerSettings,
    store: StoreSettings,
    is_stopping: Callable[[], bool],
) -> None:
    """Do a run that nobody holds; nothing when somebody does or it has ended."""
    holder = uuid4()
    async with database.transaction() as session:
        run = await learner.claim_run(session, run_id, holder=holder, lease_seconds=settings.learner_lease_seconds)
        if run is None:
            return
        agent = await agents.get_agent_by_id(session, run.agent_id)
    if run.attempts > settings.learner_max_attempts:
        last = run.reason or "Its worker died each time: was there enough memory?"
        reason = f"The run was started {run.attempts - 1} times and never came to an end. {last}"
        await _end(database, run, holder, RunState.FAILED, reason)
        return
    tracing.current().set_attributes({"nock.agent": agent.name, "nock.run_id": ids.public(ids.Prefix.RUN, run.id)})
    log.info("learner step begins", agent=agent.name, run=run.id.hex, attempt=run.attempts)
    async with hold(database, run.id, holder, seconds=settings.learner_lease_seconds, is_stopping=is_stopping) as lease:
        await _attempt(database, run, agent, lease, settings, Places.of(store, agent.name))


async def _attempt(
    database: Database, run: LearnerRun, agent: Agent, lease: RunLease, settings: LearnerSettings, places: Places
) -> None:
    """Learn once; however that ends, the run's row says so before this process turns to anything else."""
    try:
        await _learn(database, run, agent, lease, settings, places)
    except LeaseLostError as error:
        log.warning("learner step abandoned", agent=agent.name, run=run.id.hex, why=str(error))
    except WorkerStoppingError as error:
        await _give_back(database, run, lease.holder, str(error), counts=False)
    except REFUSALS as error:
        await _end(database, run, lease.holder, RunState.FAILED, str(error))
    except Exception as surprise:
        await _give_back(database, run, lease.holder, describe(surprise), counts=True)
        raise
    finally:
        await asyncio.to_thread(remove, places.unfinished(run.id, lease.holder))


async def _learn(
    database: Database, run: LearnerRun, agent: Agent, lease: RunLease, settings: LearnerSettings, places: Places
) -> None:
    started = time.perf_counter()
    configuration = RunConfiguration.from_json(agent.learner, discount=agent.discount)
    await sweep(database, run, lease.holder, places)
    with tracing.span("learner.prepare"):
        prepared = await prepare(database, run, lease.holder, agent, configuration, settings, places)
    if isinstance(prepared, str):
        await _end(database, run, lease.holder, RunState.SKIPPED, prepared, configuration=configuration.to_json())
        return
    loaded = time.perf_counter()
    with tracing.span("learner.train"):
        trained = await lease.work(partial(train, prepared.assignment, lease.report))
    trained.figures.update(prepared.figures, load_rows_seconds=loaded - started)
    described: dict[str, object] = {"configuration": prepared.describe(configuration), "figures": trained.figures}
    if trained.skipped is not None and not trained.keeps_critic:
        reason = f"Nothing to learn: {trained.skipped}."
        await _end(database, run, lease.holder, RunState.SKIPPED, reason, **described)
        return
    if trained.skipped is not None:
        described["reason"] = f"Only the critic learned: {trained.skipped}."
        await registering.keep_critic(database, run, agent, lease.holder, places, prepared, trained, described)
        log.info("only the critic learned", agent=agent.name, run=run.id.hex, why=trained.skipped)
    else:
        with tracing.span("learner.register"):
            name = await registering.register(database, run, agent, lease.holder, places, prepared, trained, described)
        log.info("learner step succeeded", agent=agent.name, run=run.id.hex, adapter=str(name))
    await prune_checkpoints(database, agent, places)


def describe(surprise: Exception) -> str:
    """What the run's row may say: Postgres' own sentence may quote a row, and so what users wrote."""
    if isinstance(surprise, DBAPIError):
        return f"Postgres failed: {type(surprise.orig).__name__} {getattr(surprise.orig, 'sqlstate', None)}"
    return f"{type(surprise).__name__}: {surprise}"


async def _end(
    database: Database, run: LearnerRun, holder: UUID, state: RunState, reason: str, **values: object
) -> None:
    async with database.transaction() as session:
        await learner.end_run(session, run.id, holder=holder, state=state, reason=reason, **values)
    log.info("learner step ended", run=run.id.hex, state=state.value, reason=reason)


async def _give_back(database: Database, run: LearnerRun, holder: UUID, reason: str, *, counts: bool) -> None:
    async with database.transaction() as session:
        await learner.give_back_run(session, run.id, holder=holder, reason=reason, counts=counts)
    log.warning("learner step given back", run=run.id.hex, reason=reason)
