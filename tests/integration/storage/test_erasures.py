"""What an erasure costs does not grow with what others have said."""

from sqlalchemy import text

from core.domain.erasure import ErasureSubject
from core.domain.signatures import Signer
from core.erasure.erasing import erase
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_conversation, create_episode, create_turn

OF_OTHERS = """
INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage, sampling,
                   learnable, previous_head, request_hash, head_hash, engine_seconds)
SELECT gen_random_uuid(), agent_id, conversation_id, episode_id, number, messages, reply, finish_reason, usage,
       sampling, learnable, sha256(number::text::bytea), request_hash, sha256((number + 1)::text::bytea), engine_seconds
FROM turns, generate_series(1, 20000) AS number
"""
READ = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'turns'"
"""Turns that this connection found by looking through all of them."""


async def test_an_erasure_looks_through_no_turns_but_those_that_it_may_take(database: Database) -> None:
    agent = await create_agent(database)
    await create_turn(database, await create_episode(database, await create_conversation(database, agent)))
    async with database.transaction() as session:
        await session.execute(text(OF_OTHERS))
    async with database.transaction() as session:
        await session.execute(text("ANALYZE"))
    conversation = await create_conversation(database, agent)
    await create_turn(database, await create_episode(database, conversation), say="harmonica")
    async with database.transaction() as session:
        before = await session.scalar(text(READ))
        done = await erase(session, Signer("ours"), [conversation.id], subject=ErasureSubject.CONVERSATION, by="key")
        assert await session.scalar(text(READ)) == before
    assert done is not None
    assert done.parts[0]["removed"]["turns"] == 1
