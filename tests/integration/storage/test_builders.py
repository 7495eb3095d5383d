"""The fixtures other tests stand on: rows that are committed, and gone with the test."""

import pytest
from sqlalchemy import func, select

from core.domain.adapters import AdapterState
from core.domain.conversations import ConversationState
from core.domain.keys import Scope, hash_secret
from core.storage.database import Database
from core.storage.models import Agent, Conversation
from core.storage.repositories import keys, rollouts
from tests.fixtures import builders


@pytest.mark.parametrize("time", ["first", "second"])
async def test_each_test_has_a_database_of_its_own(database: Database, time: str) -> None:
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Agent)) == 0
    await builders.create_agent(database, "left-behind")


async def test_built_rows_are_committed_and_hang_together(database: Database) -> None:
    agent = await builders.create_agent(database)
    version = await builders.create_adapter(database, agent, state=AdapterState.STABLE, path="/a", sha256="0")
    conversation = await builders.create_conversation(database, agent, state=ConversationState.MATURED)
    episode = await builders.create_episode(database, conversation)
    first = await builders.create_turn(database, episode)
    second = await builders.create_turn(database, episode, say="Where is it?", reply="Here.")
    await builders.create_entry(database, conversation, 1.0, turn=second)
    assert version.number == 1
    assert episode.adapter_id == version.id
    assert second.previous_head == first.head_hash
    async with database.transaction() as session:
        read = (await session.scalars(select(Conversation))).one()
        assert read.head_hash == second.head_hash
        assert (await rollouts.get_rollout(session, agent.id)).stable_id == version.id
        tokens = await builders.stored_tokens(session, second.id)
    history = [*first.messages, first.reply, *second.messages]
    assert tokens.prompt_ids == tuple(builders.rendered_ids(history))
    assert tokens.completion_ids == tuple(builders.reply_ids("Here."))


async def test_a_built_key_is_valid(database: Database) -> None:
    secret, row = await builders.create_key(database, Scope.CHAT, agents=["demo"])
    async with database.transaction() as session:
        key = await keys.find_key(session, hash_secret(secret))
    assert key is not None
    assert key.id == row.id
    assert key.sees("demo")
    assert not key.sees("other")
