"""Erasure: nothing of the text is left, what repeats it goes with it, and what is asked for again is gone."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.domain import ids
from core.domain.conversations import Grouping
from core.domain.keys import Scope
from core.storage import models
from core.storage.database import Database
from core.storage.models.exports import Export
from core.storage.repositories import agents, exports
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.traces import traces_of

MARK = "xylophone-4711"
Said = dict[str, Any]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


def user(content: str) -> Said:
    return {"role": "user", "content": content}


async def say(gateway: RunningGateway, *messages: Said, **more: Any) -> httpx.Response:
    answer = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": list(messages), **more})
    assert answer.status_code == 200, answer.text
    return answer


def reply_of(answer: httpx.Response) -> Said:
    return {"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]}


async def talk(gateway: RunningGateway, name: str, *, words: str = MARK, end_user: str | None = None) -> httpx.Response:
    """A conversation of two turns, of which each speaks the words."""
    named: dict[str, Any] = {"metadata": {"conversation_id": name, "topic": words}}
    if end_user is not None:
        named["user"] = end_user
    first = await say(gateway, user(f"I play the {words}"), **named)
    return await say(gateway, user(f"I play the {words}"), reply_of(first), user(f"more {words}"), **named)


async def rate(gateway: RunningGateway, **body: Any) -> httpx.Response:
    return await gateway.feedback.post("/feedback", json={"value": 1, "comment": f"about the {MARK}", **body})


async def erase(gateway: RunningGateway, path: str, **query: str) -> Said:
    answer = await gateway.admin.delete(path, params=query)
    assert answer.status_code == 200, answer.text
    report: Said = answer.json()
    return report


async def test_nothing_of_an_erased_conversation_is_left_in_any_table(
    gateway: RunningGateway, database: Database
) -> None:
    assert (await rate(gateway, conversation_id=f"order {MARK}")).status_code == 404  # too early: a dead letter
    turn = await talk(gateway, f"order {MARK}", end_user=f"ann {MARK}")
    conversation, turn_id = turn.headers["X-Conversation-Id"], turn.headers["X-Turn-Id"]
    given = await rate(gateway, turn_id=turn_id, idempotency_key=f"crm {MARK}")
    assert given.status_code == 201
    assert len(await traces_of(database, MARK)) >= 6
    report = await erase(gateway, f"/conversations/{conversation}")
    assert report["removed"] == {
        "conversations": 1,
        "dead_letters": 1,
        "demonstrations": 0,
        "episodes": 1,
        "idempotency_keys": 1,
        "reward_entries": 1,
        "run_turns": 0,
        "turn_tokens": 2,
        "turns": 2,
    }
    assert (report["subject"], report["agents"][0]["tombstones"]) == ("conversation", 5)
    assert await traces_of(database, MARK, conversation, turn_id, given.json()["feedback_id"]) == []
    assert MARK not in str(report)


async def test_what_others_said_stays(gateway: RunningGateway, database: Database) -> None:
    mine, other = await talk(gateway, "mine"), await talk(gateway, "theirs", words="harmonica")
    await rate(gateway, conversation_id="theirs", idempotency_key="k")
    before = (await gateway.chat.get("/conversations/theirs?tokens=true")).json()
    await erase(gateway, f"/conversations/{mine.headers['X-Conversation-Id']}")
    assert (await gateway.chat.get("/conversations/theirs?tokens=true")).json() == before
    assert other.headers["X-Conversation-Id"] == before["conversation_id"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_erased_is_gone_by_every_name_and_for_every_call(
    gateway: RunningGateway, database: Database, stream: bool
) -> None:
    turn = await talk(gateway, "order/1", end_user="ann")
    own, turn_id = turn.headers["X-Conversation-Id"], turn.headers["X-Turn-Id"]
    feedback_id = (await rate(gateway, conversation_id="order/1", idempotency_key="k")).json()["feedback_id"]
    await erase(gateway, "/conversations/order%2F1")
    for name in ("order/1", own):
        quoted = name.replace("/", "%2F")
        body = {"model": "demo", "messages": [user("hello")], "metadata": {"conversation_id": name}, "stream": stream}
        calls = [
            gateway.chat.get(f"/conversations/{quoted}"),
            gateway.chat.post(f"/conversations/{quoted}/close"),
            gateway.chat.post("/v1/chat/completions", json=body),
            gateway.chat.post("/chat", json={"agent": "demo", "message": "hello", "conversation_id": name}),
            rate(gateway, conversation_id=name),
            rate(gateway, conversation_id=name, idempotency_key="k"),
            rate(gateway, conversation_id=name, turn_id=turn_id),
        ]
        answers = await asyncio.gather(*calls)
        assert [answer.status_code for answer in answers] == [410] * len(calls)
        assert answers[2].json()["error"]["code"] == "conversation_erased"
    turn_gone = await rate(gateway, turn_id=turn_id)
    assert (turn_gone.status_code, turn_gone.json()["error"]["code"]) == (410, "turn_erased")
    retracted = await gateway.feedback.delete(f"/feedback/{feedback_id}")
    assert (retracted.status_code, retracted.json()["error"]["code"]) == (410, "feedback_erased")
    batch = {"entries": [{"turn_id": turn_id, "value": 1}, {"conversation_id": "never", "value": 1}]}
    statuses = [one["status"] for one in (await gateway.feedback.post("/feedback/batch", json=batch)).json()["data"]]
    assert statuses == [410, 404]
    letters = (await gateway.feedback.get("/feedback/dead-letters")).json()["data"]
    assert [letter["body"]["conversation_id"] for letter in letters] == ["never"]
    assert await traces_of(database, MARK, turn_id) == []


async def test_a_branch_goes_with_the_conversation_that_it_repeats(gateway: RunningGateway, database: Database) -> None:
    first = await say(gateway, user(f"I play the {MARK}"))
    told = [user(f"I play the {MARK}"), reply_of(first)]
    await say(gateway, *told, user("one way"))
    branch = await say(gateway, *told, user("another way"))
    twig = await say(gateway, *told, user("another way"), reply_of(branch), user("and on"))
    away = await say(gateway, *told, user("another way"), reply_of(branch), user("and off"))
    assert twig.headers["X-Conversation-Id"] == branch.headers["X-Conversation-Id"]
    assert len({turn.headers["X-Conversation-Id"] for turn in (first, branch, away)}) == 3
    report = await erase(gateway, f"/conversations/{first.headers['X-Conversation-Id']}")
    assert (report["removed"]["conversations"], report["agents"][0]["repeating"]) == (3, 2)
    assert await traces_of(database, MARK) == []
    assert (await gateway.chat.get(f"/conversations/{away.headers['X-Conversation-Id']}")).status_code == 410


async def test_an_erased_branch_leaves_its_parent_and_the_report_says_so(
    gateway: RunningGateway, database: Database
) -> None:
    first = await say(gateway, user("I play the harmonica"))
    told = [user("I play the harmonica"), reply_of(first)]
    await say(gateway, *told, user("one way"))
    branch = await say(gateway, *told, user(MARK))
    report = await erase(gateway, f"/conversations/{branch.headers['X-Conversation-Id']}")
    assert report["agents"][0]["branched_off"] == 1
    assert any("another conversation, which stays" in sentence for sentence in report["beyond_reach"])
    assert await traces_of(database, MARK) == []
    kept = (await gateway.chat.get(f"/conversations/{first.headers['X-Conversation-Id']}?tokens=true")).json()
    assert [len(turn["completion_token_ids"]) > 0 for turn in kept["turns"]] == [True, True]


async def test_the_loser_of_a_race_goes_with_the_conversation_whose_tokens_its_prompt_is_stored_by(
    gateway: RunningGateway, database: Database, scripted_engine: ScriptedEngine
) -> None:
    named = {"metadata": {"conversation_id": "order"}}
    first = await say(gateway, user(f"I play the {MARK}"), **named)
    told = [user(f"I play the {MARK}"), reply_of(first)]
    scripted_engine.pause = 0.5  # both have found their place before either is written
    both = await asyncio.gather(*(say(gateway, *told, user(f"way {way}"), **named) for way in range(2)))
    assert len({turn.headers["X-Conversation-Id"] for turn in both}) == 2
    report = await erase(gateway, "/conversations/order")
    assert report["removed"]["conversations"] == 2
    assert await traces_of(database, MARK) == []


async def test_a_history_brought_to_another_conversation_goes_once_nobody_else_has_it(
    gateway: RunningGateway, database: Database
) -> None:
    twins = [await say(gateway, user(MARK)) for _ in range(2)]
    both = await say(gateway, user(MARK), reply_of(twins[0]), user("and on"))
    moved = await say(gateway, user(MARK), reply_of(twins[0]), user("here"), metadata={"conversation_id": "fjord"})
    report = await erase(gateway, f"/conversations/{twins[0].headers['X-Conversation-Id']}")
    assert report["removed"]["conversations"] == 1  # a stranger behind the same key may have said the same
    report = await erase(gateway, f"/conversations/{twins[1].headers['X-Conversation-Id']}")
    assert report["removed"]["conversations"] == 3
    assert await traces_of(database, MARK, both.headers["X-Conversation-Id"], "fjord") == []
    assert (await gateway.chat.get(f"/conversations/{moved.headers['X-Conversation-Id']}")).status_code == 410


async def test_a_user_of_many_conversations_goes_in_one_transaction(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    async with database.transaction() as session:
        session.add_all(
            models.Conversation(
                agent_id=agent.id,
                external_id=f"{MARK} {number}",
                end_user="ann",
                key_id=agent.id,
                tags={"topic": MARK},
                grouped=Grouping.CLIENT,
            )
            for number in range(450)
        )
    report = await erase(gateway, "/users/ann")
    assert (report["removed"]["conversations"], report["agents"][0]["tombstones"]) == (450, 901)
    assert await traces_of(database, MARK, "ann") == []
    assert (await gateway.chat.get(f"/conversations/{MARK} 449")).status_code == 410


async def test_a_second_erasure_is_answered_with_the_first_report(gateway: RunningGateway) -> None:
    turn = await talk(gateway, "order", end_user="ann")
    first = await erase(gateway, "/conversations/order")
    for name in ("order", turn.headers["X-Conversation-Id"]):
        assert await erase(gateway, f"/conversations/{name}") == first
    assert (await gateway.admin.get(f"/admin/erasures/{first['erasure_id']}")).json() == first
    assert (await gateway.admin.get("/admin/erasures")).json() == {"data": [first], "next": None}


async def test_two_erasures_at_once_give_one_report(gateway: RunningGateway, database: Database) -> None:
    for number in range(6):
        await talk(gateway, f"order {number}", end_user="ann")
    paths = ["/users/ann", "/conversations/order 3"] * 4
    reports = await asyncio.gather(*(erase(gateway, path) for path in paths))
    assert len({report["erasure_id"] for report in reports}) <= 2
    assert sum(one["removed"]["conversations"] for one in {r["erasure_id"]: r for r in reports}.values()) == 6
    assert await traces_of(database, MARK) == []


async def test_all_of_a_user_goes_and_a_user_who_returns_is_a_new_one(
    gateway: RunningGateway, database: Database
) -> None:
    for number in range(3):
        await talk(gateway, f"order {number}", end_user="ann/b@example.org")
    await talk(gateway, "theirs", words="harmonica", end_user="bob")
    report = await erase(gateway, "/users/ann%2Fb@example.org")
    assert (report["subject"], report["removed"]["conversations"]) == ("user", 3)
    assert await traces_of(database, MARK, "ann/b@example.org") == []
    assert await erase(gateway, "/users/ann%2Fb@example.org") == report
    assert (await rate(gateway, conversation_id="order 1")).status_code == 410
    await talk(gateway, "order 9", end_user="ann/b@example.org")
    again = await erase(gateway, "/users/ann%2Fb@example.org")
    assert (again["removed"]["conversations"], again["erasure_id"] == report["erasure_id"]) == (1, False)
    assert (await gateway.chat.get("/conversations/theirs")).status_code == 200


async def test_a_user_of_several_agents_is_erased_with_one_or_with_all(
    gateway: RunningGateway, database: Database
) -> None:
    await create_agent(database, "shop")
    await gateway.app.state.gateway.routing.refresh(database)
    for agent in ("demo", "shop"):
        body = {"agent": agent, "message": MARK, "user": "ann", "conversation_id": "c"}
        assert (await gateway.chat.post("/chat", json=body)).status_code == 200
    assert (await gateway.admin.delete("/conversations/c")).status_code == 409
    one = await erase(gateway, "/users/ann", agent="demo")
    assert [part["agent"] for part in one["agents"]] == ["demo"]
    again = await gateway.admin.delete("/conversations/c")  # demo's is gone; this must not fall upon shop's
    assert (again.status_code, again.json()["error"]["code"]) == (409, "ambiguous_id")
    rest = await erase(gateway, "/users/ann")
    assert [part["agent"] for part in rest["agents"]] == ["shop"]
    assert await traces_of(database, MARK) == []


async def test_a_key_erases_and_sees_nothing_of_agents_that_it_may_not_see(
    gateway: RunningGateway, database: Database
) -> None:
    await create_agent(database, "shop")
    turn = await talk(gateway, "order", end_user="ann")
    secret, _ = await create_key(database, Scope.ADMIN, agents=["shop"])
    own = turn.headers["X-Conversation-Id"]
    async with client(gateway.url, secret) as stranger:
        paths = ("/conversations/order", f"/conversations/{own}", "/users/ann", "/users/ann?agent=demo")
        assert [(await stranger.delete(path)).status_code for path in paths] == [404] * 4
        report = await erase(gateway, "/users/ann")
        assert [(await stranger.delete(path)).status_code for path in paths] == [404] * 4
        assert (await stranger.get(f"/conversations/{own}")).status_code == 404
        assert (await stranger.get(f"/admin/erasures/{report['erasure_id']}")).status_code == 404
        assert (await stranger.get("/admin/erasures")).json()["data"] == []


async def test_a_key_sees_its_own_agents_part_of_a_report(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "shop")
    await gateway.app.state.gateway.routing.refresh(database)
    for agent in ("demo", "shop"):
        body = {"agent": agent, "message": "hello", "user": "ann"}
        assert (await gateway.chat.post("/chat", json=body)).status_code == 200
    whole = await erase(gateway, "/users/ann")
    assert whole["removed"]["turns"] == 2
    secret, _ = await create_key(database, Scope.ADMIN, agents=["shop"])
    async with client(gateway.url, secret) as shop:
        part = (await shop.get(f"/admin/erasures/{whole['erasure_id']}")).json()
    assert ([one["agent"] for one in part["agents"]], part["removed"]["turns"]) == (["shop"], 1)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/conversations/never", 404),
        ("/conversations/conv_" + "0" * 32, 404),
        ("/conversations/%00", 422),
        ("/conversations/order?agent=never", 404),
        ("/users/never", 404),
        ("/users/%00", 422),
        ("/users/ann?agent=never", 404),
    ],
)
async def test_what_never_was_cannot_be_erased(gateway: RunningGateway, path: str, status: int) -> None:
    await talk(gateway, "order", end_user="ann")
    assert (await gateway.admin.delete(path)).status_code == status
    assert (await gateway.chat.get("/conversations/order")).status_code == 200


async def test_unknown_erasures_are_not_found(gateway: RunningGateway) -> None:
    for name in ("x", "era_" + "0" * 32, "conv_" + "0" * 32):
        assert (await gateway.admin.get(f"/admin/erasures/{name}")).status_code == 404


async def test_erasures_are_listed_newest_first_in_pages(gateway: RunningGateway) -> None:
    made = []
    for number in range(3):
        await talk(gateway, f"order {number}")
        made.append((await erase(gateway, f"/conversations/order {number}"))["erasure_id"])
    first = (await gateway.admin.get("/admin/erasures?limit=2")).json()
    rest = (await gateway.admin.get("/admin/erasures", params={"limit": 2, "after": first["next"]})).json()
    assert [one["erasure_id"] for page in (first, rest) for one in page["data"]] == made[::-1]
    assert rest["next"] is None


async def test_another_deployments_secret_cannot_tell_what_was_erased(
    gateway: RunningGateway, database: Database
) -> None:
    await talk(gateway, "order", end_user="ann")
    await erase(gateway, "/users/ann")
    async with database.transaction() as session:
        rows = (await session.scalars(text("SELECT hash FROM tombstones"))).all()
    assert {len(row) for row in rows} == {32}


async def test_every_gateway_forgets_the_tokens(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, database: Database
) -> None:
    async with start_gateway(scripted_engine.url) as here, start_gateway(scripted_engine.url) as there:
        turn = await talk(there, "order")
        own = ids.parse(ids.Prefix.CONVERSATION, turn.headers["X-Conversation-Id"])
        assert own is not None
        memory = there.app.state.gateway.tokens
        assert memory.latest(own)[0] is not None
        await erase(here, "/conversations/order")
        for _ in range(200):
            if memory.latest(own) == (None, None):
                break
            await asyncio.sleep(0.01)
        assert memory.latest(own) == (None, None)
        memory.remember(own, own, [1, 2, 3])  # a turn whose commit the notice overtook
        assert memory.latest(own) == (None, None)


async def test_the_report_names_the_exports_that_hold_it_and_no_others(
    gateway: RunningGateway, database: Database
) -> None:
    turn = await talk(gateway, "order/1")
    own = (await gateway.chat.get("/conversations/order%2F1")).json()
    opened, hour = datetime.fromisoformat(own["opened_at"]), timedelta(hours=1)
    async with database.transaction() as session:
        agent = await agents.get_agent(session, own["agent"])
        for place, since, until, snapshot in (
            ("laptop:/whole", None, None, opened + hour),
            ("laptop:/before", None, opened - hour, opened + hour),
            ("laptop:/after", opened + hour, None, opened + hour),
            ("laptop:/older", None, None, opened - hour),
        ):
            rows = {"since": since, "until": until, "snapshot_at": snapshot, "with_tokens": False}
            await exports.add_export(session, Export(agent_id=agent.id, place=place, **rows))
    report = await erase(gateway, f"/conversations/{turn.headers['X-Conversation-Id']}")
    (part,) = report["agents"]
    assert [taken["place"] for taken in part["exports"]] == ["laptop:/whole"]
    assert any("Exports that were taken before" in sentence for sentence in report["beyond_reach"])
