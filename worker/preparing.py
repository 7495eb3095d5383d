"""Before the arithmetic: is this run to be done here, is there enough to learn from, and from where does it start?"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.erasure import BARRING
from core.rollouts.loading import check_files
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, LearnerRun
from core.storage.repositories import adapters, learner, rollouts
from worker.adapters.folders import open_unfinished
from worker.adapters.places import Places
from worker.configuration import RunConfiguration
from worker.encoder import packaged_encoder
from worker.replay.sampling import History, sample_histories
from worker.replay.staleness import staleness_of
from worker.replay.tokens import load_tokens
from worker.settings import LearnerSettings
from worker.training import CHECKPOINT, Assignment, ModelError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can be done."""

    start: AdapterVersion
    assignment: Assignment
    watermark: datetime | None
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
    async with database.transaction() as session:
        start = await _find_start(session, agent)
        # What only the critic has seen is still new to the actor.
        success = await learner.newest_success(session, agent.id)
        since = None if success is None else success.watermark
        histories = await sample_histories(session, agent.id, limit=configuration.max_conversations)
        fresh = sum(history.is_new(since) for history in histories)
        if fresh < configuration.min_conversations:
            return _too_few(fresh, configuration.min_conversations, since)
        tokens = await load_tokens(session, [turn.id for history in histories for turn in history.turns])
        figures = await _count(session, agent, start, histories) | {"new_conversations": fresh}
        checkpoints = [places.checkpoint(run_id) for run_id in await learner.list_learned(session, agent.id)]
    if start.number != BASE_NUMBER:
        await asyncio.to_thread(check_files, start, AdapterName(agent.name, start.number))
    adapter_folder, checkpoint_folder = places.unfinished(run.id, holder)
    assignment = Assignment(
        histories=histories,
        tokens=tokens,
        model=settings.model,
        encoder=_encoder(settings, configuration),
        start_version=start.id,
        start_adapter=None if start.path is None else Path(start.path),
        checkpoints=[folder for folder in checkpoints if (folder / CHECKPOINT).is_file()],
        config=configuration.archer,
        seed=run.id.int % 2**31,
        device=settings.learner_device,
        threads=settings.learner_threads,
        adapter_folder=await asyncio.to_thread(open_unfinished, adapter_folder),
        checkpoint_folder=await asyncio.to_thread(open_unfinished, checkpoint_folder),
    )
    newest = max(
        (history.conversation.matured_at for history in histories if history.conversation.matured_at), default=None
    )
    return Prepared(start, assignment, newest, figures)


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
    return f"{found} {which} conversations, {needed} are needed: {needed - found} more."


async def _count(
    session: AsyncSession, agent: Agent, start: AdapterVersion, histories: Sequence[History]
) -> dict[str, object]:
    """What is learned from, in numbers."""
    turns = [turn for history in histories for turn in history.turns]
    spoke = [episode.adapter_id for history in histories for episode in history.episodes]
    return {
        "conversations": len(histories),
        "turns_by_learnable": dict(Counter(turn.learnable.value for turn in turns)),
        "staleness": staleness_of(spoke, await rollouts.list_events(session, agent.id), start.id),
    }
