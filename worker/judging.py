"""Trials by themselves: units enter, the test is looked at, and what follows from it is done or asked for."""

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
from core.rollouts.telling import announce_verdict
from core.settings import EngineSettings
from core.storage.database import Database
from core.storage.models import Agent, Canary
from core.storage.repositories import adapters, agents, canaries, clock, learner, rollouts
from worker.canaries.entering import enter
from worker.canaries.looking import Look, look

log = structlog.get_logger()

BY = "canary"
"""Who moves a rollout where nobody does by hand."""
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


async def _judge(database: Database, pool: EnginePool, canary_id: UUID, now: datetime | None) -> None:
    async with database.transaction() as session:
        canary = await canaries.find_canary(session, canary_id)
        assert canary is not None
        agent = await agents.get_agent_by_id(session, canary.agent_id)
        # The rollout first, as whoever moves it does: nobody waits in a ring.
        await rollouts.lock_rollout(session, agent.id)
        canary = await canaries.lock_canary(session, canary_id)
        if canary.state is not CanaryState.RUNNING:
            return
        moment = now or await clock.now(session)
        entered = 0
        while count := await enter(session, canary, agent, moment):
            entered += count
        if not entered and canary.looked_at is not None and not _waits_for_promotion(canary):
            return  # what was seen then would be seen again
        seen = look(canary, await canaries.list_units(session, canary_id), kl=await _moved(session, canary))
        news = seen.decision is not Decision.HOLD and canary.verdict is None
        canary.evidence, canary.looked_at = seen.evidence, moment
        if canary.verdict is None and seen.decision is not Decision.HOLD:
            canary.verdict = seen.decision.value
        await session.flush()
        if news:
            await announce_verdict(session, canary)
        await _follow_within(session, agent, canary, seen)
    await _promote_if_due(database, pool, canary, seen)


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


async def _follow_within(session: AsyncSession, agent: Agent, canary: Canary, seen: Look) -> None:
    """What needs no engine: the next stage, and the ways out."""
    if Gates.from_json(canary.gates).promotion is Promotion.MANUAL:
        return
    rollout = await rollouts.get_rollout(session, agent.id)
    verdict = seen.verdict
    match seen.decision:
        case Decision.ROLL_BACK:
            reason = f"{seen.because_of} is worse, after {verdict.units} units"
            await moving.reject_tried(session, rollout, canary, by=BY, reason=reason)
        case Decision.INCONCLUSIVE:
            reason = f"nothing shown after {verdict.canaries} units of the canary"
            await trying.end(session, rollout, CanaryState.INCONCLUSIVE, by=BY, reason=reason)
        case Decision.HOLD if seen.next_weight is not None:
            reason = f"{verdict.units} units, and nothing against it"
            await trying.set_weight(session, rollout, seen.next_weight, by=BY, reason=reason)
    log.info("canary looked at", agent=agent.name, decision=seen.decision.value, units=verdict.units)


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
        share = Gates.from_json(agent.gates).ramp[0]
        try:
            await trying.begin(database, pool, name, weight=share, by=BY, reason="the newest candidate")
        except NockError as error:
            log.info("candidate not on trial yet", adapter=str(name), why=error.message)


def _tries_by_itself(agent: Agent) -> bool:
    return Gates.from_json(agent.gates).promotion is not Promotion.MANUAL
