"""Trials by themselves: units enter, the test is looked at, and what follows from it is done or asked for."""

import time
from datetime import datetime
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.canaries import CanaryState
from core.domain.errors import NockError
from core.domain.gates import Gates, Promotion
from core.domain.sequential.verdict import Decision
from core.engine.pool import EnginePool, open_pool
from core.rollouts import moving, trying
from core.rollouts.evidence import EVIDENCE_MISSING
from core.rollouts.telling import announce_verdict
from core.settings import EngineSettings
from core.storage.database import Database
from core.storage.models import Agent, Canary, Rollout
from core.storage.repositories import adapters, agents, canaries, clock, learner, rollouts
from worker.canaries.entering import enter
from worker.canaries.looking import Look, look

log = structlog.get_logger()

BY = "canary"
"""Who moves a rollout where nobody does by hand."""
AGAIN_SECONDS = 600.0
"""How long a candidate rests that engines could not load, or that failed its probe: trying costs each engine a load."""
_not_before: dict[UUID, float] = {}
"""By version, as far as this process has seen."""
LEASE = "judge"
LEASE_SECONDS = 60.0
"""How long trials go without care when a worker dies in the middle. Two passes at once do each move once."""


async def judge(database: Database, *, settings: EngineSettings, now: datetime | None = None) -> bool:
    """One pass over all trials, and one beginning for each agent that has a candidate to try; False when another
    process is at it. `now` is Postgres' time unless given."""
    holder = uuid4()
    async with database.transaction() as session:
        if not await learner.take_lease(session, LEASE, holder=holder, seconds=LEASE_SECONDS):
            return False
    try:
        async with open_pool(settings) as pool:
            await judge_running(database, pool, now=now)
            await begin_waiting(database, pool)
    finally:
        async with database.transaction() as session:
            await learner.release_lease(session, LEASE, holder=holder)
    return True


async def judge_running(database: Database, pool: EnginePool, *, now: datetime | None = None) -> None:
    """One trial that cannot be moved now stops no other: it is tried again at the next pass."""
    async with database.transaction() as session:
        running = [canary.id for canary in await canaries.list_running(session)]
    for canary_id in running:
        try:
            await _judge(database, pool, canary_id, now)
        except NockError as error:
            log.error("canary not moved", canary=canary_id.hex, why=error.message)
        except Exception as surprise:
            log.error("canary not judged", canary=canary_id.hex, why=type(surprise).__name__, exc_info=True)


async def _judge(database: Database, pool: EnginePool, canary_id: UUID, now: datetime | None) -> None:
    async with database.transaction() as session:
        moment = now or await clock.now(session)
    entered = 0
    while count := await _enter(database, canary_id, moment):
        entered += count
    async with database.transaction() as session:
        canary = await canaries.find_canary(session, canary_id)
        assert canary is not None
        if not entered and canary.looked_at is not None and not _waits_for_promotion(canary):
            return  # what was seen then would be seen again
        rows = await canaries.list_units(session, canary_id)
        kl = await _moved(session, canary)
    seen = look(canary, rows, kl=kl)  # with no lock held: it may take a second
    async with database.transaction() as session:
        # The rollout first, as whoever moves it does: nobody waits in a ring.
        rollout = await rollouts.lock_rollout(session, canary.agent_id)
        canary = await canaries.lock_canary(session, canary_id)
        if canary.state is not CanaryState.RUNNING:
            return
        await _note(session, canary, seen, moment)
        await _follow_within(session, rollout, canary, seen)
    await _promote_if_due(database, pool, canary, seen)


async def _enter(database: Database, canary_id: UUID, moment: datetime) -> int:
    """One batch a transaction: who erases or speaks meanwhile waits for no more than that."""
    async with database.transaction() as session:
        return await enter(session, canary_id, moment)


async def _note(session: AsyncSession, canary: Canary, seen: Look, moment: datetime) -> None:
    """What was seen, and the verdict if it is news; silence may still take back what the test has granted."""
    canary.evidence, canary.looked_at = seen.evidence, moment
    if seen.decision is not Decision.HOLD and canary.verdict != seen.decision:
        canary.verdict = seen.decision.value
        await session.flush()
        await announce_verdict(session, canary)
    await session.flush()


async def _moved(session: AsyncSession, canary: Canary) -> float | None:
    """Nats a token between the version and the one that its run began with; None for one that no run has made."""
    version = await adapters.get_version_by_id(session, canary.adapter_id)
    run = None if version.run_id is None else await learner.find_run(session, version.run_id)
    actor = (run.figures or {}).get("actor") if run is not None else None
    return actor.get("kl_to_start") if isinstance(actor, dict) else None


def _waits_for_promotion(canary: Canary) -> bool:
    """Whether a verdict is still to be carried out, since no engine could then."""
    is_auto = Gates.from_json(canary.gates).promotion is Promotion.AUTO
    rings = any(alarm["rings"] for alarm in (canary.evidence or {}).get("alarms", []))
    return is_auto and canary.verdict == Decision.PROMOTE and not rings


async def _follow_within(session: AsyncSession, rollout: Rollout, canary: Canary, seen: Look) -> None:
    """What needs no engine: the next stage, and the ways out."""
    if Gates.from_json(canary.gates).promotion is Promotion.MANUAL:
        return
    verdict = seen.verdict
    match seen.decision:
        case Decision.ROLL_BACK:
            reason = f"{seen.because_of} is worse, after {verdict.units} units"
            await moving.reject_tried(session, rollout, canary, by=BY, reason=reason)
        case Decision.INCONCLUSIVE:
            reason = f"nothing shown after {verdict.canaries} units of the canary"
            await trying.end(session, rollout, CanaryState.INCONCLUSIVE, by=BY, reason=reason)
        case Decision.HOLD if seen.next_weight is not None and seen.weight == canary.weight:
            reason = f"{verdict.units} units, and nothing against it"
            await trying.set_weight(session, rollout, seen.next_weight, by=BY, reason=reason)
    log.info("canary looked at", canary=canary.id.hex, decision=seen.decision.value, units=verdict.units)


async def _promote_if_due(database: Database, pool: EnginePool, canary: Canary, seen: Look) -> None:
    """A verdict is carried out where the agent wants that and no alarm rings; else a person is asked by the webhook."""
    is_auto = Gates.from_json(canary.gates).promotion is Promotion.AUTO
    if not is_auto or seen.decision is not Decision.PROMOTE or seen.ringing:
        return
    async with database.transaction() as session:
        name = (await adapters.names_of(session, [canary.adapter_id]))[canary.adapter_id]
    await moving.promote(database, pool, name, by=BY, reason=f"better, after {seen.verdict.units} units")


async def begin_waiting(database: Database, pool: EnginePool) -> None:
    """Let each agent's newest candidate meet the first share, once what must be known before is known and speaks for
    it. One that has been on trial before waits for a person."""
    async with database.transaction() as session:
        waiting = [agent for agent in await agents.list_agents(session) if _tries_by_itself(agent)]
    for agent in waiting:
        async with database.transaction() as session:
            rollout = await rollouts.get_rollout(session, agent.id)
            candidates = await adapters.list_candidates(session, agent.id)
            newest = max(candidates, key=lambda one: one.number, default=None)
            if rollout.canary_id is not None or newest is None or await canaries.newest_of(session, newest.id):
                continue
            name = (await adapters.names_of(session, [newest.id]))[newest.id]
        if time.monotonic() < _not_before.get(newest.id, 0.0):
            continue
        share = Gates.from_json(agent.gates).ramp[0]
        try:
            await trying.begin(database, pool, name, weight=share, by=BY, reason="the newest candidate")
        except NockError as error:
            log.info("candidate not on trial yet", adapter=str(name), why=error.message)
            if error.code != EVIDENCE_MISSING:
                _not_before[newest.id] = time.monotonic() + AGAIN_SECONDS
        except Exception as surprise:
            log.error("candidate not tried", adapter=str(name), why=type(surprise).__name__, exc_info=True)
            _not_before[newest.id] = time.monotonic() + AGAIN_SECONDS


def _tries_by_itself(agent: Agent) -> bool:
    return Gates.from_json(agent.gates).promotion is not Promotion.MANUAL
