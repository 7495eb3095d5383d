"""Which conversations a run reads, and what of them: changed ones first, few of one user's, no outcome guessed."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.metrics import Level, Metric, MetricKind
from core.outcomes import settling
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import clock, replay, rewards
from tests.fixtures.builders import create_agent, create_conversation, create_entry, create_episode, create_turn
from tests.fixtures.conversations import create_matured
from tests.fixtures.replay import read_all
from worker.replay.config import ReplayConfig
from worker.replay.drawing import Drawn, Part, draw
from worker.replay.histories import read_histories

SMALL = ReplayConfig(min_conversations=1, max_conversations=4, reservoir_share=0.0, unfinished_share=0.0)


async def draw_now(
    database: Database, agent: models.Agent, config: ReplayConfig, *, since: datetime | None = None, seed: int = 0
) -> Drawn:
    async with database.snapshot() as session:
        return await draw(session, agent.id, config, since=since, chance=Random(seed))


async def create_many(
    database: Database, agent: models.Agent, count: int, *, end_user: str | None = None
) -> Sequence[models.Conversation]:
    return [await create_matured(database, agent, reward=1.0, turns=1, end_user=end_user) for _ in range(count)]


async def teach(database: Database, *told: models.Conversation) -> None:
    """As a run does that has learned from them as they are."""
    async with database.transaction() as session:
        as_read = {each.id: (await session.get_one(models.Conversation, each.id)).matured_at for each in told}
        await replay.mark_taught(session, as_read, read_at=await clock.now(session))


async def settle_news(database: Database, told: models.Conversation) -> models.Conversation:
    """As the ledger does when something new was said of it."""
    async with database.transaction() as session:
        row = await session.get_one(models.Conversation, told.id)
        declared = await settling.metrics_of(session, [row])
        await settling.settle(session, [row], declared, await clock.instant(session), news={row.id})
        return row


async def test_what_changed_after_it_had_taught_comes_first_however_old_it_is(database: Database) -> None:
    agent = await create_agent(database)
    old = await create_many(database, agent, 2)
    await teach(database, *old)
    since = datetime.now(UTC)
    await create_entry(database, old[0], -1.0)
    await settle_news(database, old[0])
    newer = await create_many(database, agent, 5)
    drawn = await draw_now(database, agent, SMALL, since=since)
    assert list(drawn.parts) == [old[0].id, *(each.id for each in newer[:1:-1])]
    assert [*drawn.parts.values()] == [Part.CHANGED, Part.FRESH, Part.FRESH, Part.FRESH]
    await teach(database, old[0])
    assert old[0].id not in (await draw_now(database, agent, SMALL, since=since)).parts


async def test_an_outcome_that_changes_while_a_run_learns_from_it_is_still_to_be_learned(database: Database) -> None:
    agent = await create_agent(database)
    (told,) = await create_many(database, agent, 1)
    async with database.snapshot() as session:
        read_at = await clock.now(session)
    as_read = {told.id: told.matured_at}
    await create_entry(database, told, -1.0)
    await settle_news(database, told)
    async with database.transaction() as session:
        await replay.mark_taught(session, as_read, read_at=read_at)
    assert (await draw_now(database, agent, SMALL)).parts == {told.id: Part.CHANGED}


async def test_what_is_newer_than_the_last_version_is_fresh_and_the_rest_recent(database: Database) -> None:
    agent = await create_agent(database)
    recent = await create_many(database, agent, 1)
    since = datetime.now(UTC)
    fresh = await create_many(database, agent, 1)
    parts = (await draw_now(database, agent, SMALL, since=since)).parts
    assert parts == {fresh[0].id: Part.FRESH, recent[0].id: Part.RECENT}


async def test_a_part_is_drawn_by_lot_from_the_whole_history(database: Database) -> None:
    agent = await create_agent(database)
    old = await create_many(database, agent, 16)
    since = datetime.now(UTC)
    newest = await create_many(database, agent, 20)
    config = ReplayConfig(max_conversations=16, reservoir_share=0.5, unfinished_share=0.0)
    counted: Counter[Any] = Counter()
    for seed in range(200):
        parts = (await draw_now(database, agent, config, since=since, seed=seed)).parts
        assert len(parts) == 16
        assert {each.id for each in newest[-8:]} <= parts.keys()
        counted.update(place for place, part in parts.items() if part is Part.RESERVOIR)
    assert counted.keys() == {each.id for each in [*old, *newest[:-8]]}


async def test_lots_go_round_and_meet_each_conversation_once(database: Database) -> None:
    agent = await create_agent(database)
    every = {each.id for each in await create_many(database, agent, 9)}
    async with database.transaction() as session:
        for lot in (b"\x00" * 4, b"\x80" * 4, b"\xff" * 4):
            round_from_it = sorted(every, key=lambda own: (own.bytes[12:] < lot, own.bytes[12:]))
            for limit in (4, 50):
                drawn = await replay.list_by_lot(session, agent.id, lot, limit=limit)
                assert [each.id for each in drawn] == round_from_it[:limit]


async def test_one_loud_user_gets_no_more_than_a_share_and_others_stand_in(database: Database) -> None:
    agent = await create_agent(database)
    quiet = [each for name in range(30) for each in await create_many(database, agent, 1, end_user=f"user {name}")]
    loud = await create_many(database, agent, 25, end_user="loud")
    config = ReplayConfig(max_conversations=20, reservoir_share=0.0, user_share=0.1)
    drawn = await draw_now(database, agent, config)
    assert len(drawn.parts) == 20
    assert sum(each.id in drawn.parts for each in loud) == 2
    assert sum(each.id in drawn.parts for each in quiet) == 18
    assert drawn.figures()["left_out_by_caps"] == 18


async def test_a_source_on_which_outcomes_rest_alone_can_be_capped(database: Database) -> None:
    agent = await create_agent(database)
    for name in range(12):
        await create_matured(database, agent, reward=1.0, turns=1, source=f"source {name}")
    loud = [await create_matured(database, agent, reward=0.0, turns=1, source="loud") for _ in range(12)]
    await create_entry(database, loud[0], 1.0, source="crm")  # this one does not rest on the loud one alone
    drawn = await draw_now(database, agent, ReplayConfig(max_conversations=16, reservoir_share=0.0, source_share=0.1))
    assert sum(each.id in drawn.parts for each in loud) == 1 + 2


async def test_without_an_outcome_all_turns_but_the_last_teach(database: Database) -> None:
    agent = await create_agent(database)
    for state in (ConversationState.AWAITING, ConversationState.EXPIRED):
        for turns in (1, 3):
            conversation = await create_conversation(database, agent, state=state)
            episode = await create_episode(database, conversation, ended_by=EpisodeEnd.IDLE)
            for _ in range(turns):
                await create_turn(database, episode)
    histories = await read_all(database, agent)
    assert [(len(history.turns), history.is_finished, history.is_new(None)) for history in histories] == [
        (3, False, False)
    ] * 2  # of a single turn nothing is left
    assert await read_all(database, agent, ReplayConfig(unfinished_share=0.0)) == []


async def test_where_turns_are_judged_nothing_teaches_before_its_outcome(database: Database) -> None:
    agent = await create_agent(database, metrics=[Metric("polite", level=Level.TURN)])
    conversation = await create_conversation(database, agent, state=ConversationState.AWAITING)
    episode = await create_episode(database, conversation, ended_by=EpisodeEnd.IDLE)
    for _ in range(3):
        await create_turn(database, episode)
    assert await read_all(database, agent) == []


async def test_what_seldom_gets_an_outcome_counts_for_more_within_bounds(database: Database) -> None:
    agent = await create_agent(database)
    for chance in (0.8, 0.8, 0.2, 0.01, None):
        await create_matured(database, agent, reward=1.0, turns=1, outcome_chance=chance)
    mean = (1.25 + 1.25 + 5 + 100) / 4
    weights = [history.weight for history in await read_all(database, agent)]
    assert weights == pytest.approx([1.0, 100 / mean, 0.25, 0.25, 0.25])  # newest first; 5 / mean is below a quarter
    assert {history.weight for history in await read_all(database, agent, ReplayConfig(max_outcome_weight=1))} == {1.0}


@pytest.mark.parametrize(("metric", "is_fenced"), [(Metric("score"), True), (Metric("score", low=0, high=1000), False)])
async def test_only_where_a_metric_has_no_range_of_its_own_are_outliers_held(
    database: Database, metric: Metric, is_fenced: bool
) -> None:
    agent = await create_agent(database, metrics=[metric, Metric("solved", MetricKind.BOOLEAN, required=False)])
    for value in (1.0, 2.0, 3.0, 900.0):
        conversation = await create_matured(database, agent, reward=0.0, turns=1)
        await create_entry(database, conversation, value, metric="score")
    async with database.snapshot() as session:
        read = await read_histories(session, agent.id, ReplayConfig(), since=None, chance=Random(0))
    assert (read.fences is not None) is is_fenced


async def test_every_part_is_drawn_by_an_index(database: Database) -> None:
    agent = await create_agent(database)
    statements: list[str] = []
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        explained = _Explaining(session, statements)
        await replay.list_changed(explained, agent.id, limit=5)  # type: ignore[arg-type]
        await replay.list_newest(explained, agent.id, limit=5)  # type: ignore[arg-type]
        await replay.list_by_lot(explained, agent.id, b"abcd", limit=5)  # type: ignore[arg-type]
        await replay.list_without_outcome(explained, agent.id, limit=5, among=9)  # type: ignore[arg-type]
    for plan, index in zip(statements, ("changed", "matured", "lot", "lot", "closed"), strict=True):
        assert f"ix_conversations_{index}" in plan
        assert "Sort" not in plan


class _Explaining:
    """A session that runs EXPLAIN before each statement and keeps the plan."""

    def __init__(self, session: Any, plans: list[str]) -> None:
        self.session, self.plans = session, plans

    async def execute(self, statement: Any) -> Any:
        compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        rows = await self.session.execute(text(f"EXPLAIN {compiled}".replace(":", "\\:")))
        self.plans.append("\n".join(row[0] for row in rows))
        return await self.session.execute(statement)


async def test_a_retracted_outcome_that_has_taught_waits_again_and_is_marked(database: Database) -> None:
    agent = await create_agent(database)
    (told,) = await create_many(database, agent, 1)
    await teach(database, told)
    async with database.transaction() as session:
        (entry,) = await rewards.list_entries(session, told.id)
    await create_entry(database, told, None, retracts=entry.id)
    row = await settle_news(database, told)
    assert (row.state, row.matured_at) == (ConversationState.AWAITING, None)
    assert row.changed_at is not None
