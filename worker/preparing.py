"""Before the arithmetic: is this run to be done here, is there enough to learn from, and from where does it start?"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.adapters.folders import open_unfinished
from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.erasure import BARRING
from core.rollouts.loading import check_files
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, LearnerRun
from core.storage.repositories import adapters, clock, learner, rewards, rollouts
from worker.adapters.places import Places
from worker.configuration import RunConfiguration
from worker.encoder import packaged_encoder
from worker.replay.demonstrations import read_demonstrations
from worker.replay.histories import History, Read, read_histories
from worker.replay.staleness import Age
from worker.replay.tokens import load_tokens
from worker.settings import LearnerSettings
from worker.training import CHECKPOINT, Assignment, ModelError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can be done."""

    start: AdapterVersion
    assignment: Assignment
    watermark: datetime | None
    as_read: Mapping[UUID, datetime | None]
    """When the outcome of each conversation came that is learned from, as it was at `read_at`."""
    read_at: datetime
    figures: dict[str, object]

    def describe(self, configuration: RunConfiguration) -> dict[str, object]:
        """What it takes to do the same run again."""
        chosen = {"model": self.assignment.model, "encoder": self.assignment.encoder, "seed": self.assignment.seed}
        return configuration.to_json() | chosen | {"start_version": self.start.number}


async def prepare(
    database: Database,
    run: LearnerRun,
    holder: UUID,
    agent: Agent,
    configuration: RunConfiguration,
    settings: LearnerSettings,
    places: Places,
) -> Prepared | str:
    """The run with all that it needs, or the sentence that says what is missing."""
    check_model(settings, agent)
    seed = run.id.int % 2**31
    async with database.snapshot() as session:
        read_at = await clock.now(session)
        start = await _find_start(session, agent)
        # What only the critic has seen is still new to the actor.
        success = await learner.newest_success(session, agent.id)
        since = None if success is None else success.watermark
        read = await read_histories(session, agent.id, configuration.replay, since=since, chance=Random(seed))
        histories = read.histories
        fresh = sum(history.is_new(since) for history in histories)
        new = fresh + await rewards.count_demonstrations_since(
            session, agent.id, None if success is None else success.started_at
        )
        if new < configuration.replay.min_conversations or not histories:
            return _too_few(new, configuration.replay.min_conversations, since)
        shown = await read_demonstrations(
            session, agent.id, agent.base_model, limit=configuration.replay.max_conversations
        )
        wanted = {turn.id for history in histories for turn in history.turns} | {each.turn.id for each in shown}
        tokens = await load_tokens(session, wanted)
        age = Age(await rollouts.list_events(session, agent.id), start.id)
        checkpoints = [places.checkpoint(run_id) for run_id in await learner.list_learned(session, agent.id)]
    if start.number != BASE_NUMBER:
        await asyncio.to_thread(check_files, start, AdapterName(agent.name, start.number))
    adapter_folder, checkpoint_folder = places.unfinished(run.id, holder)
    assignment = Assignment(
        histories=histories,
        fences=read.fences,
        too_stale={
            version for version in _spoke(histories) if age.of(version) > configuration.replay.max_actor_staleness
        },
        shown=shown,
        tokens=tokens,
        model=settings.model,
        encoder=_encoder(settings, configuration),
        start_version=start.id,
        start_adapter=None if start.path is None else Path(start.path),
        checkpoints=[folder for folder in checkpoints if (folder / CHECKPOINT).is_file()],
        config=configuration.archer,
        seed=seed,
        device=settings.learner_device,
        threads=settings.learner_threads,
        adapter_folder=await asyncio.to_thread(open_unfinished, adapter_folder),
        checkpoint_folder=await asyncio.to_thread(open_unfinished, checkpoint_folder),
    )
    as_read = {each.conversation.id: each.conversation.matured_at for each in histories if each.is_finished}
    watermark = max((matured_at for matured_at in as_read.values() if matured_at), default=None)
    figures = _count(read, age) | {"new_conversations": fresh}
    return Prepared(start, assignment, watermark, as_read, read_at, figures)


async def _find_start(session: AsyncSession, agent: Agent) -> AdapterVersion:
    """The stable version, or its nearest ancestor that learned from nothing which was erased."""
    start = await adapters.get_version_by_id(session, (await rollouts.get_rollout(session, agent.id)).stable_id)
    while start.taught_by_erased in BARRING and start.parent_id is not None:
        start = await adapters.get_version_by_id(session, start.parent_id)
    return start


def check_model(settings: LearnerSettings, agent: Agent) -> None:
    """Refuse a run whose agent speaks with another model than this learner has, or with none."""
    model = settings.model
    if not model:
        raise ModelError("This learner has no base model: set NOCK_MODEL to a folder or a Hugging Face id.")
    folder = Path(model)
    if (folder.is_absolute() or folder.exists()) and not (folder / "config.json").is_file():
        raise ModelError(f"NOCK_MODEL={model} is no model folder: there is no config.json in it.")
    if settings.served_name != agent.base_model:
        raise ModelError(
            f"The agent's base model is {agent.base_model!r}, and this learner trains {settings.served_name!r}: "
            "start a learner with that model in NOCK_MODEL, or change the agent's base_model."
        )


def _encoder(settings: LearnerSettings, configuration: RunConfiguration) -> str | None:
    """The critic's encoder, where it reads with one."""
    if configuration.archer.critic_reader == "policy":
        return None
    return settings.critic_encoder or str(packaged_encoder())


def _too_few(found: int, needed: int, since: datetime | None) -> str:
    which = "matured" if since is None else "newly matured"
    return f"{found} {which} conversations, {needed} are needed: {max(needed - found, 1)} more."


def _count(read: Read, age: Age) -> dict[str, object]:
    """What is learned from, in numbers."""
    turns = [turn for history in read.histories for turn in history.turns]
    return {
        "conversations": len(read.histories),
        "drawn": read.drawn.figures(),
        "fences": None if read.fences is None else [read.fences.low, read.fences.high],
        "turns_by_learnable": dict(Counter(turn.learnable.value for turn in turns)),
        "staleness": age.summary(_spoke(read.histories)),
    }


def _spoke(histories: Sequence[History]) -> list[UUID]:
    """The version that spoke each turn."""
    return [episode.adapter_id for history in histories for episode in history.episodes]
