"""The hot path's statements against the real Postgres: what is found, who gets a place, what is never done twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DataError, OperationalError

from core.domain.adapters import AdapterState
from core.domain.conversations import Grouping
from core.domain.episodes import Arm, EpisodeEnd
from core.domain.erasure import ErasurePolicy, ErasureSubject
from core.domain.ids import new_id
from core.domain.sampling import Learnable
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import adapters
from core.storage.turn_log.connections import Connections, as_json, open_connections
from core.storage.turn_log.finding import BY_HEAD, BY_ID, BY_NAME, CONTINUED, Sought, find
from core.storage.turn_log.opening import Opening, open_all
from core.storage.turn_log.writing import WRITE, Finished, write_all
from service.app import libpq_address
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_episode,
    create_turn,
)

CLAIMANTS = 8
ALSO_LOOKED_UP = {"uq_episodes_conversation_id_ordinal", "pk_adapter_versions", "ix_turns_conversation_id_index"}


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Connections]:
    async with open_connections(libpq_address(database_url), durable=True) as opened:
        yield opened


def opening(agent: models.Agent, version: models.AdapterVersion, **changed: Any) -> Opening:
    first = Opening(
        conversation_id=new_id(),
        agent_id=agent.id,
        name=None,
        tombstone=None,
        end_user="ann",
        key_id=new_id(),
        tags={"shop": "berlin"},
        grouped=Grouping.NEW,
        episode_id=new_id(),
        adapter_id=version.id,
        arm=Arm.STABLE,
        propensity=0.95,
        canary_id=None,
    )
    return replace(first, **changed)


def finished(episode: models.Episode, **changed: Any) -> Finished:
    turn = Finished(
        turn_id=new_id(),
        turn_count=0,
        agent_id=episode.agent_id,
        conversation_id=episode.conversation_id,
        episode_id=episode.id,
        turn_index=0,
        messages=[{"role": "user", "content": 'say "é\\n" and \U0001f600'}],
        reply={"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        finish_reason="stop",
        usage={"total_tokens": 3},
        sampling={"temperature": 0.7, "stop": ["\n"]},
        learnable=Learnable.ACTOR,
        learnable_reason=None,
        previous_head=b"\x00" * 32,
        request_hash=b"\x01" * 32,
        head_hash=b"\xff" * 32,
        engine_seconds=0.123456789,
        first_token_seconds=None,
        prefix_turn_id=None,
        prefix_length=0,
        prompt_tail=b"\x01\x00\x00\x00",
        completion=b"\x02\x00\x00\x00",
        logprobs=b"\x00\x00\x00\xbf",
        checksum=-5,
    )
    return replace(turn, **changed)


async def stable_version(database: Database, agent: models.Agent) -> models.AdapterVersion:
    async with database.transaction() as session:
        return (await adapters.list_versions(session, agent.id))[0]


async def count(database: Database, table: type[models.Base]) -> int:
    async with database.transaction() as session:
        return (await session.scalar(select(func.count()).select_from(table))) or 0


async def test_a_conversation_is_found_by_either_id_and_by_its_head(
    database: Database, connections: Connections
) -> None:
    agent = await create_agent(database)
    conversation = await create_conversation(database, agent, external_id="order/4711")
    await create_episode(database, conversation, ended_by=EpisodeEnd.CLOSED)
    turn = await create_turn(database, await create_episode(database, conversation))
    ways = [
        Sought(agent.id, conversation_id=conversation.id),
        Sought(agent.id, name="order/4711"),
        Sought(agent.id, head=turn.head_hash),
    ]
    for finding in await find(connections, ways):
        (found,) = finding.conversations
        assert (found.conversation_id, found.head) == (conversation.id, turn.head_hash)
        assert (found.turn_count, found.last_index, found.adapter_number, found.has_ended) == (1, 0, 0, False)


async def test_what_is_asked_together_is_answered_in_order(database: Database, connections: Connections) -> None:
    agent, other = await create_agent(database), await create_agent(database, "other")
    await create_conversation(database, agent, external_id="a")
    twin = await create_conversation(database, other, external_id="a")
    sought = [Sought(agent.id, name="b"), Sought(other.id, name="a"), Sought(agent.id, head=b"\x07" * 32)]
    nothing, one, nobody = await find(connections, sought)
    assert [found.conversation_id for found in one.conversations] == [twin.id]
    assert not nothing.conversations
    assert not nobody.conversations
    assert not nobody.is_continued


async def test_a_head_that_several_end_in_is_ambiguous_and_one_that_was_continued_says_so(
    database: Database, connections: Connections
) -> None:
    agent = await create_agent(database)
    for _ in range(3):
        conversation = await create_conversation(database, agent)
        turn = await create_turn(database, await create_episode(database, conversation))
        async with database.transaction() as session:
            (await session.get_one(models.Conversation, conversation.id)).head_hash = b"\x05" * 32
    several, continued = await find(
        connections, [Sought(agent.id, head=b"\x05" * 32), Sought(agent.id, head=turn.previous_head)]
    )
    assert len(several.conversations) == 2
    assert (list(continued.conversations), continued.is_continued) == ([], True)


async def test_what_is_opened_holds_what_was_asked_for(database: Database, connections: Connections) -> None:
    agent = await create_agent(database)
    first = opening(agent, await stable_version(database, agent), name="x" * 128)
    assert await open_all(connections, [first]) == [True]
    async with database.transaction() as session:
        conversation = await session.get_one(models.Conversation, first.conversation_id)
        episode = await session.get_one(models.Episode, first.episode_id)
    assert (conversation.external_id, conversation.end_user, conversation.tags) == ("x" * 128, "ann", first.tags)
    assert (episode.ordinal, episode.arm, episode.propensity, episode.turn_count) == (0, Arm.STABLE, 0.95, 0)


async def test_of_those_who_open_one_name_at_once_one_does(database: Database, connections: Connections) -> None:
    agent = await create_agent(database)
    version = await stable_version(database, agent)
    together = [[opening(agent, version, name="same") for _ in range(3)] for _ in range(CLAIMANTS)]
    opened = await asyncio.gather(*(open_all(connections, some) for some in together))
    assert sum(sum(some) for some in opened) == 1
    assert (await count(database, models.Conversation), await count(database, models.Episode)) == (1, 1)


@pytest.mark.parametrize(
    ("state", "mark", "arm", "opens"),
    [
        (AdapterState.CANARY, None, Arm.CANARY, True),
        (AdapterState.REJECTED, None, Arm.CANARY, False),
        (AdapterState.RETIRED, None, Arm.CANARY, False),
        (AdapterState.RETIRED, None, Arm.STABLE, True),
        (AdapterState.RETIRED, ErasurePolicy.RETIRE, Arm.STABLE, False),
        (AdapterState.RETIRED, ErasurePolicy.KEEP, Arm.STABLE, True),
    ],
)
async def test_nothing_is_opened_on_a_version_that_was_taken_out(
    database: Database,
    connections: Connections,
    state: AdapterState,
    mark: ErasurePolicy | None,
    arm: Arm,
    opens: bool,
) -> None:
    agent = await create_agent(database)
    version = await create_adapter(database, agent, state=state)
    async with database.transaction() as session:
        (await session.get_one(models.AdapterVersion, version.id)).taught_by_erased = mark
    good = opening(agent, await stable_version(database, agent))
    assert await open_all(connections, [opening(agent, version, arm=arm), good]) == [opens, True]


async def test_who_is_taking_a_version_out_is_waited_for(database: Database, connections: Connections) -> None:
    agent = await create_agent(database)
    version = await create_adapter(database, agent, state=AdapterState.CANARY)
    async with database.transaction() as session:
        (await adapters.lock_version(session, version.id)).state = AdapterState.REJECTED
        await session.flush()
        opened = asyncio.create_task(open_all(connections, [opening(agent, version, arm=Arm.CANARY)]))
        await asyncio.sleep(0.2)
        assert not opened.done()
    assert await opened == [False]


async def test_an_erased_name_is_not_opened_again(database: Database, connections: Connections) -> None:
    agent = await create_agent(database)
    async with database.transaction() as session:
        erasure = models.Erasure(subject=ErasureSubject.CONVERSATION, by="test", agents=["demo"], parts=[])
        session.add(erasure)
        await session.flush()
        session.add(models.Tombstone(hash=b"\x09" * 32, agent_id=agent.id, erasure_id=erasure.id))
    version = await stable_version(database, agent)
    asked = [opening(agent, version, name="gone", tombstone=b"\x09" * 32), opening(agent, version, name="new")]
    assert await open_all(connections, asked) == [False, True]
    assert (await count(database, models.Conversation), await count(database, models.Episode)) == (1, 1)


async def test_a_name_whose_erasure_the_opening_had_to_wait_for_is_not_opened_either(
    database: Database, connections: Connections
) -> None:
    agent = await create_agent(database)
    version, old = await stable_version(database, agent), await create_conversation(database, agent, external_id="gone")
    async with database.transaction() as session:
        erasure = models.Erasure(subject=ErasureSubject.CONVERSATION, by="test", agents=["demo"], parts=[])
        session.add(erasure)
        await session.delete(await session.get_one(models.Conversation, old.id))
        await session.flush()
        session.add(models.Tombstone(hash=b"\x09" * 32, agent_id=agent.id, erasure_id=erasure.id))
        asked = [opening(agent, version, name="gone", tombstone=b"\x09" * 32), opening(agent, version, name="new")]
        waiting = asyncio.create_task(open_all(connections, asked))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert await waiting == [False, True]
    assert (await count(database, models.Conversation), await count(database, models.Episode)) == (1, 1)


async def test_what_is_opened_is_committed_with_the_look_at_what_was_erased_or_not_at_all(
    database: Database, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await create_agent(database)
    version = await stable_version(database, agent)
    monkeypatch.setattr("core.storage.turn_log.opening.TAKE_BACK", "SELECT 1 / length(%s) * 0 / 0")
    with pytest.raises(DataError):
        await open_all(connections, [opening(agent, version, name="new", tombstone=b"\x09" * 32)])
    assert await count(database, models.Conversation) == 0
    monkeypatch.undo()
    assert await open_all(connections, [opening(agent, version, name="new", tombstone=b"\x09" * 32)]) == [True]


async def test_a_written_turn_holds_what_was_said_and_sampled(database: Database, connections: Connections) -> None:
    conversation = await create_conversation(database, await create_agent(database))
    turn = finished(await create_episode(database, conversation))
    assert await write_all(connections, [turn]) == [True]
    async with database.transaction() as session:
        row = await session.get_one(models.Turn, turn.turn_id)
        tokens = await stored_tokens_row(session, turn)
        told = await session.get_one(models.Conversation, conversation.id)
    for name in ("messages", "reply", "usage", "sampling", "learnable", "previous_head", "head_hash", "engine_seconds"):
        assert getattr(row, name) == getattr(turn, name)
    assert (row.index, row.first_token_seconds, told.head_hash) == (0, None, turn.head_hash)
    assert told.last_turn_at > conversation.last_turn_at
    assert tokens == (turn.prompt_tail, turn.completion, turn.logprobs, turn.checksum)


async def stored_tokens_row(session: Any, turn: Finished) -> tuple[bytes, bytes, bytes, int]:
    row = await session.get_one(models.TurnTokens, turn.turn_id)
    return row.prompt_tail, row.completion, row.logprobs, row.checksum


async def test_of_those_who_want_one_place_one_gets_it_within_a_batch_and_between(
    database: Database, connections: Connections
) -> None:
    conversation = await create_conversation(database, await create_agent(database))
    episode = await create_episode(database, conversation)
    batches = [[finished(episode) for _ in range(3)] for _ in range(CLAIMANTS)]
    written = await asyncio.gather(*(write_all(connections, batch) for batch in batches))
    assert sum(sum(batch) for batch in written) == 1
    assert (await count(database, models.Turn), await count(database, models.TurnTokens)) == (1, 1)
    async with database.transaction() as session:
        assert (await session.get_one(models.Episode, episode.id)).turn_count == 1


async def test_batches_over_the_same_conversations_in_any_order_never_wait_in_a_ring(
    database: Database, connections: Connections
) -> None:
    agent = await create_agent(database)
    episodes = [await create_episode(database, await create_conversation(database, agent)) for _ in range(6)]

    async def write_each(order: Sequence[models.Episode], first: int) -> int:
        done = 0
        for number in range(8):
            places = [finished(one, turn_count=first + number, turn_index=number) for one in order]
            done += sum(await write_all(connections, places))
        return done

    done = await asyncio.gather(*(write_each(episodes[:: (-1) ** way], 0) for way in range(CLAIMANTS)))
    assert sum(done) == 6 * 8


async def test_nothing_is_written_of_a_conversation_that_is_gone(database: Database, connections: Connections) -> None:
    agent = await create_agent(database)
    gone = await create_episode(database, await create_conversation(database, agent))
    there = await create_episode(database, await create_conversation(database, agent))
    async with database.transaction() as session:
        await session.delete(await session.get_one(models.Episode, gone.id))
        await session.flush()
        await session.delete(await session.get_one(models.Conversation, gone.conversation_id))
    assert await write_all(connections, [finished(gone), finished(there)]) == [False, True]


async def test_a_turn_whose_connection_broke_after_the_commit_is_written_once(
    database: Database, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit reached Postgres, its answer never reached us."""
    episode = await create_episode(database, await create_conversation(database, await create_agent(database)))
    execute, broken = psycopg.AsyncCursor.execute, False

    async def break_after_the_write(cursor: Any, query: Any, *given: Any, **options: Any) -> Any:
        nonlocal broken
        answer = await execute(cursor, query, *given, **options)
        if query == WRITE and not broken:
            broken = True
            await cursor.connection.close()
            raise psycopg.OperationalError("the connection is lost")
        return answer

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", break_after_the_write)
    turn, second = finished(episode), finished(episode)
    assert await write_all(connections, [turn]) == [True]
    assert await write_all(connections, [second]) == [False]
    assert await count(database, models.Turn) == 1


async def test_a_postgres_that_closed_its_connections_fails_nobody(
    database: Database, connections: Connections, database_url: str
) -> None:
    episode = await create_episode(database, await create_conversation(database, await create_agent(database)))
    await asyncio.gather(*(find(connections, [Sought(episode.agent_id, name="a")]) for _ in range(CLAIMANTS)))
    async with await psycopg.AsyncConnection.connect(libpq_address(database_url), autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await write_all(connections, [finished(episode)]) == [True]
    found = await asyncio.gather(*(find(connections, [Sought(episode.agent_id, name="a")]) for _ in range(CLAIMANTS)))
    assert len(found) == CLAIMANTS


async def test_a_postgres_that_does_not_answer_is_given_up_and_asked_again(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(cursor: psycopg.AsyncCursor, seconds: float) -> Any:
        return await (await cursor.execute("SELECT pg_sleep(%s), 7", [seconds])).fetchone()

    await connections.run(partial(ask, seconds=0))
    monkeypatch.setattr("core.storage.database.ANSWER_SECONDS", 0.2)
    with pytest.raises(OperationalError):
        await connections.run(partial(ask, seconds=60))
    monkeypatch.undo()
    assert (await connections.run(partial(ask, seconds=0)))[1] == 7
    assert (connections.size, connections.in_use) == (1, 0)


@pytest.mark.parametrize(
    ("statement", "indices"),
    [
        (BY_NAME, {"uq_conversations_external_id_agent_id"}),
        (BY_ID, {"pk_conversations"}),
        (BY_HEAD, {"ix_conversations_head_hash"}),
        (CONTINUED, {"ix_turns_previous_head"}),
        (WRITE, {"pk_conversations", "pk_episodes"}),
    ],
)
async def test_a_statement_looks_by_its_index_however_empty_the_tables_were_when_it_was_planned(
    connections: Connections, statement: str, indices: set[str]
) -> None:
    """Whole conditions in an index, too: one that is looked through by the agent's id alone grows with the agent."""
    given = as_json([{"place": 0, "agent_id": new_id(), "head": b"\x00"}])

    async def explain(cursor: psycopg.AsyncCursor) -> list[str]:
        return [line for (line,) in await (await cursor.execute(f"EXPLAIN {statement}", given)).fetchall()]

    plan = await connections.run(explain)
    seen = "\n".join(plan)
    assert "Seq Scan" not in seen
    for index in indices:
        assert index in seen
    looked_up = {line.split(" using ")[1].split(" on ")[0] for line in plan if " using " in line}
    assert looked_up - indices <= ALSO_LOOKED_UP
