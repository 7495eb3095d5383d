"""Conversations found by what clients send again, beside a slow and obvious model of the rule; no two are mixed up."""

import asyncio
import logging
from itertools import pairwise
from random import Random

import pytest
from hypothesis import settings
from sqlalchemy import select

from core.domain import ids
from core.storage.database import Database
from core.storage.models import Conversation, Turn
from core.storage.repositories import conversations
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.identity_model import KnownOwner, KnownTurn, Message
from tests.fixtures.rewriting import rewritten
from tests.fixtures.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
USERS = ["ann", "bob", "eve", None]
SENTENCES = ["hello", "where is it?"]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
REQUESTS, REQUESTS_IN_A_SOAK = 60, 1000


@pytest.fixture(autouse=True)
async def agent(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    for noisy in ("httpx", "uvicorn.access"):
        caplog.set_level(logging.WARNING, noisy)  # a line a request is a tenth of all the time
    await create_agent(database, "demo")


def next_request(known: KnownOwner, random: Random) -> list[Message]:
    """A new conversation, the next turn of an old one, another turn after an earlier reply, or the same once more."""
    chance = random.random()
    if not known.turns or chance < 0.25:
        return [new_message(random)]
    turn = random.choice(known.turns[-12:])
    if chance < 0.4:
        return turn.asked
    history = [*turn.asked, turn.reply]
    if chance < 0.5:
        history = [*history, {"role": "assistant", "content": "as I never said"}]
    return [*history, new_message(random)]


def new_message(random: Random) -> Message:
    text = random.choice(SENTENCES)
    if random.random() < 0.2:
        return {"role": "user", "content": [{"type": "text", "text": text}, PICTURE]}
    return {"role": "user", "content": text}


async def talk(gateway: RunningGateway, user: str | None, known: KnownOwner, count: int, random: Random) -> None:
    for _ in range(count):
        messages = next_request(known, random)
        turns = known.ask(messages)
        body = {"model": "demo", "messages": rewritten(messages, random), "stream": random.random() < 0.3}
        answer = await gateway.chat.post(CHAT, json=body if user is None else body | {"user": user})
        assert answer.status_code == 200, answer.text
        learn(turns, answer.headers["X-Turn-Id"], answer.headers["X-Conversation-Id"])


def learn(turns: list[KnownTurn], turn_id: str, conversation_id: str) -> None:
    """The service's ids of what the model knows by itself; what is known already must keep them."""
    if turns[0].id:  # asked again: by one of those who said the same
        assert (turn_id, conversation_id) in [(turn.id, turn.conversation.id) for turn in turns]
        return
    turns[0].id = turn_id
    assert turns[0].conversation.id in ("", conversation_id)
    turns[0].conversation.id = conversation_id


async def test_thousands_of_interleaved_conversations_are_grouped_as_the_rule_says(
    gateway: RunningGateway, database: Database, scripted_engine: ScriptedEngine
) -> None:
    """The users talk at the same time, through one key, and say the same few things: heads collide all the time."""
    scripted_engine.hears_alone = True
    is_soak = settings().get_current_profile_name() == "soak"
    seed = Random().getrandbits(32) if is_soak else 1
    known = {user: KnownOwner() for user in USERS}
    count = REQUESTS_IN_A_SOAK if is_soak else REQUESTS
    talks = [talk(gateway, user, known[user], count, Random(f"{seed} {user}")) for user in USERS]
    try:
        await asyncio.gather(*talks)
        await compare(database, known)
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


async def compare(database: Database, known: dict[str | None, KnownOwner]) -> None:
    async with database.transaction() as session:
        rows = {row.id: row for row in await session.scalars(select(Conversation))}
        turns = list(await session.scalars(select(Turn).order_by(Turn.conversation_id, Turn.index)))
    assert len(rows) == sum(len(owner.conversations) for owner in known.values())
    assert len(turns) == sum(len(owner.turns) for owner in known.values())
    for user, owner in known.items():
        for conversation in owner.conversations:
            own = ids.parse(ids.Prefix.CONVERSATION, conversation.id)
            assert own is not None
            row = rows[own]
            assert (row.end_user, row.grouped) == (user, conversation.grouped)
            parent = None if row.parent_id is None else ids.public(ids.Prefix.CONVERSATION, row.parent_id)
            assert parent in ([one.id for one in conversation.parents] or [None])
            kept = [ids.public(ids.Prefix.TURN, turn.id) for turn in turns if turn.conversation_id == own]
            assert kept == [turn.id for turn in conversation.turns]
    groups = {conversation.grouped for owner in known.values() for conversation in owner.conversations}
    assert groups == {"new", "ambiguous", "branch"}


async def test_requests_of_one_moment_for_one_conversation_leave_chains_that_hold(
    gateway: RunningGateway, database: Database, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.hears_alone = True
    first: list[Message] = [{"role": "user", "content": "hello"}]
    await gateway.chat.post(CHAT, json={"model": "demo", "messages": first})
    history = [*first, {"role": "assistant", "content": "heard hello"}]
    bodies = [{"model": "demo", "messages": [*history, {"role": "user", "content": f"{i % 4}"}]} for i in range(12)]
    answers = await asyncio.gather(*(gateway.chat.post(CHAT, json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    heard = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert heard == [f"heard {i % 4}" for i in range(12)]
    async with database.transaction() as session:
        turns = list(await session.scalars(select(Turn).order_by(Turn.conversation_id, Turn.index)))
        rows = {row.id: row for row in await session.scalars(select(Conversation))}
    by_conversation: dict[object, list[Turn]] = {}
    for turn in turns:
        by_conversation.setdefault(turn.conversation_id, []).append(turn)
    for kept in by_conversation.values():
        assert [turn.index for turn in kept] == list(range(len(kept)))
        assert all(later.previous_head == earlier.head_hash for earlier, later in pairwise(kept))
    continued = [kept for kept in by_conversation.values() if len(kept) > 1]
    assert len(continued) == 1
    opened = [rows[kept[0].conversation_id] for kept in by_conversation.values() if kept is not continued[0]]
    assert {row.grouped for row in opened} == {"branch"}
    assert {row.parent_id for row in opened} == {continued[0][0].conversation_id}


async def test_a_request_is_known_again_after_many_others_continued_the_same_reply(gateway: RunningGateway) -> None:
    first = [{"role": "user", "content": "hello"}]
    reply = (await gateway.chat.post(CHAT, json={"model": "demo", "messages": first})).json()["choices"][0]["message"]

    async def go_on(text: str) -> str:
        messages = [*first, reply, {"role": "user", "content": text}]
        answer = await gateway.chat.post(CHAT, json={"model": "demo", "messages": messages})
        return str(answer.headers["X-Turn-Id"])

    given = [await go_on(f"way {i}") for i in range(10)]
    assert await go_on("way 0") == given[0]


async def test_a_conversation_that_moved_on_while_a_request_waited_for_it_is_not_continued(
    gateway: RunningGateway, database: Database
) -> None:
    first = [{"role": "user", "content": "hello"}]
    begun = await gateway.chat.post(CHAT, json={"model": "demo", "messages": first})
    conversation = begun.headers["X-Conversation-Id"]
    await gateway.chat.post(f"/conversations/{conversation}/close")  # so that the next turn takes the locked way
    own = ids.parse(ids.Prefix.CONVERSATION, conversation)
    assert own is not None
    messages = [*first, begun.json()["choices"][0]["message"], {"role": "user", "content": "and?"}]
    async with database.transaction() as session:
        row = await conversations.lock_conversation(session, own)
        asking = asyncio.create_task(gateway.chat.post(CHAT, json={"model": "demo", "messages": messages}))
        await asyncio.sleep(1)
        assert not asking.done()
        row.head_hash = b"where another request has taken it"
    answer = await asking
    assert answer.status_code == 200
    assert answer.headers["X-Conversation-Id"] != conversation


async def test_a_conversation_with_tools_and_images_is_known_again_however_its_client_writes_it(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"ü","n":1.0,"deep":[{}]}'}}
    scripted_engine.message = {"role": "assistant", "content": None, "reasoning": "let me see", "tool_calls": [call]}
    random = Random(3)
    said: list[Message] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]},
    ]
    ends = []
    for _ in range(8):
        answer = await gateway.chat.post(CHAT, json={"model": "demo", "messages": rewritten(said, random)})
        assert answer.status_code == 200, answer.text
        ends.append(answer.headers["X-Conversation-Id"])
        said += [answer.json()["choices"][0]["message"], {"role": "tool", "tool_call_id": "c1", "content": "a cat"}]
    assert len(set(ends)) == 1
    found = (await gateway.chat.get(f"/conversations/{ends[0]}")).json()
    assert [len(turn["messages"]) for turn in found["turns"]] == [2] + [1] * 7
