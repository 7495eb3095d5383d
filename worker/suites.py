"""Ask versions the prompts of their agents' suites, before anybody meets them; core.domain.suites judges.

A version is asked for some seconds at a time and then given back with what is known so far: the worker has other work
too, and one that dies loses no more than that. Replies are judged and forgotten: they may repeat what somebody said.
"""

import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog

from core.domain.adapters import AdapterName
from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.errors import (
    DamagedAdapterError,
    EngineError,
    EngineTimeoutError,
    EngineUnavailableError,
    NoRoomError,
)
from core.domain.suites import fingerprint, parse_suite
from core.engine.pool import EnginePool, open_pool
from core.rollouts.loading import load
from core.rollouts.room import take_place
from core.settings import EngineSettings
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, Evaluation
from core.storage.models.base import Json
from core.storage.repositories import adapters, agents, evaluations
from worker.asking import ask

log = structlog.get_logger()

SUITE_SECONDS = 20.0
"""How long one tick asks at most; the prompt that is being answered then is waited for."""
MOST_ATTEMPTS = 3
"""How often a suite is begun whose worker or engine fails each time."""


class NotNow(Exception):
    """The version cannot be asked at this moment, which says nothing about it. `counts`: not for ever, though."""

    def __init__(self, reason: str, *, counts: bool) -> None:
        super().__init__(reason)
        self.counts = counts


class Unfit(Exception):
    """The version cannot be asked at all; the message says why."""


@dataclass(slots=True)
class Session:
    """One version under questions, held by this process."""

    evaluation: Evaluation
    agent: Agent
    version: AdapterVersion
    name: AdapterName
    holder: UUID
    lease_seconds: float
    asked_of: str = ""
    prompts: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Go on where the last tick stopped, unless it asked something else."""
        self.asked_of = fingerprint(self.agent.suite, self.agent.system_prompt)
        before = self.evaluation.figures or {}
        self.prompts = list(before["prompts"]) if before.get("suite") == self.asked_of else []

    @property
    def failed(self) -> list[str]:
        return [prompt["name"] for prompt in self.prompts if prompt["failures"]]

    @property
    def figures(self) -> Json:
        return {
            "suite": self.asked_of,
            "prompts": self.prompts,
            "passed": len(self.prompts) - len(self.failed),
            "failed": len(self.failed),
            "total": len(self.agent.suite),
            "seconds": sum(prompt["seconds"] for prompt in self.prompts),
        }


async def step(database: Database, *, settings: EngineSettings, seconds: float = SUITE_SECONDS) -> None:
    """Go on with the suites that nobody holds, oldest first, for as long as one tick may take."""
    async with database.transaction() as session:
        waiting = await evaluations.list_unheld(session, EvaluationKind.SUITE)
    if not waiting:
        return
    async with open_pool(settings) as pool:
        await pool.refresh()
        until = time.monotonic() + seconds
        for evaluation_id in waiting:
            if time.monotonic() < until:
                await _go_on(database, pool, settings, evaluation_id, until)


async def _go_on(
    database: Database, pool: EnginePool, settings: EngineSettings, evaluation_id: UUID, until: float
) -> None:
    held = await _claim(database, settings, evaluation_id)
    if held is None:
        return
    try:
        if held.evaluation.attempts > MOST_ATTEMPTS:
            raise Unfit(f"It was begun {MOST_ATTEMPTS} times. {held.evaluation.reason or 'Its worker died each time.'}")
        is_over = await _ask_until(database, pool, held, until)
    except NotNow as reason:
        await _give_back(database, held, str(reason), counts=reason.counts)
    except Unfit as reason:
        await _end(database, held, EvaluationState.FAILED, str(reason))
    else:
        if is_over:
            await _end(database, held, *_verdict(held))
        else:
            await _give_back(database, held, None, counts=False)


async def _claim(database: Database, settings: EngineSettings, evaluation_id: UUID) -> Session | None:
    """The lease outlives a load and the slowest reply: between prompts it is renewed."""
    seconds = settings.engine_load_seconds + settings.engine_timeout_seconds + 60.0
    holder = uuid4()
    async with database.transaction() as session:
        evaluation = await evaluations.claim(session, evaluation_id, holder=holder, lease_seconds=seconds)
        if evaluation is None:
            return None
        version = await adapters.get_version_by_id(session, evaluation.adapter_id)
        agent = await agents.get_agent_by_id(session, evaluation.agent_id)
    return Session(evaluation, agent, version, AdapterName(agent.name, version.number), holder, seconds)


async def _ask_until(database: Database, pool: EnginePool, held: Session, until: float) -> bool:
    """Whether every prompt has been answered by then."""
    prompts = parse_suite(held.agent.suite)
    try:
        engine = pool.serving(held.agent.base_model)[0]
        async with database.transaction() as session:
            await take_place(session, pool, held.agent, held.version, [engine.url], seconds=held.lease_seconds)
        await load(engine.client, held.version, held.name)
    except (EngineUnavailableError, EngineTimeoutError, NoRoomError) as error:
        raise NotNow(error.message, counts=isinstance(error, EngineTimeoutError)) from error
    except (DamagedAdapterError, EngineError) as error:
        raise Unfit(f"It cannot be loaded: {error.message}") from error
    while len(held.prompts) < len(prompts):
        began = time.monotonic()
        try:
            failures = await ask(engine.client, held.agent, held.name, prompts[len(held.prompts)])
        except EngineError as error:
            raise NotNow(error.message, counts=not isinstance(error, EngineUnavailableError)) from error
        taken = round(time.monotonic() - began, 3)
        held.prompts.append({"name": prompts[len(held.prompts)].name, "failures": failures, "seconds": taken})
        if not await _note(database, held) or time.monotonic() > until:
            break
    return len(held.prompts) == len(prompts)


def _verdict(held: Session) -> tuple[EvaluationState, str | None]:
    failed = held.failed
    if not failed:
        return EvaluationState.PASSED, None
    named = ", ".join(failed[:5]) + (", …" if len(failed) > 5 else "")
    return EvaluationState.FAILED, f"{len(failed)} of {len(held.prompts)} prompts failed: {named}."


async def _note(database: Database, held: Session) -> bool:
    """Keep what is known, and the lease with it; False when it is this worker's no more."""
    async with database.transaction() as session:
        return await evaluations.note(
            session, held.evaluation.id, holder=held.holder, figures=held.figures, lease_seconds=held.lease_seconds
        )


async def _give_back(database: Database, held: Session, reason: str | None, *, counts: bool) -> None:
    async with database.transaction() as session:
        await evaluations.give_back(session, held.evaluation.id, holder=held.holder, reason=reason or "", counts=counts)
    if reason and reason != held.evaluation.reason:
        log.warning("suite waits", adapter=str(held.name), why=reason)


async def _end(database: Database, held: Session, state: EvaluationState, reason: str | None) -> None:
    """The version stays loaded until its time is up: somebody may be promoting it just now."""
    async with database.transaction() as session:
        ended = await evaluations.end(
            session, held.evaluation.id, holder=held.holder, state=state, figures=held.figures, reason=reason
        )
    if ended:
        log.info("suite ended", adapter=str(held.name), state=state.value, failed=len(held.failed))
