"""Outcomes from browsers: the token of a reply says one metric of one turn, and its holder is trusted with no more."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from core.domain import ids
from core.domain.feedback_tokens import LIFETIME, PREFIX, issue
from core.domain.keys import Scope
from core.domain.metrics import Level, Metric, MetricKind
from core.domain.signatures import Signer
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import SECRET, RunningGateway, client
from tests.fixtures.scripted_engine import ScriptedEngine

THUMB = Metric("thumb", MetricKind.BOOLEAN, weight=1.0, required=False, level=Level.TURN)
COUNTED_403 = 'nock_feedback_total{status="403"}'
STARS = Metric("stars", weight=1.0, required=False, low=1.0, high=5.0)


@pytest.fixture(autouse=True)
async def agents(database: Database) -> None:
    await create_agent(database, "demo", metrics=[THUMB, STARS], browser_metric="thumb")
    await create_agent(database, "rated", metrics=[STARS], browser_metric="stars")
    await create_agent(database, "silent", metrics=[THUMB])


@pytest.fixture
async def reply(agents: None, gateway: RunningGateway) -> httpx.Response:
    return await say(gateway)


def asking(model: str = "demo", **rest: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **rest}


async def say(gateway: RunningGateway, model: str = "demo", **rest: Any) -> httpx.Response:
    answer = await gateway.chat.post("/v1/chat/completions", json=asking(model, **rest))
    assert answer.status_code == 200, answer.text
    return answer


async def post(gateway: RunningGateway, token: str, body: dict[str, Any]) -> httpx.Response:
    return await gateway.nobody.post("/feedback", json=body, headers={"Authorization": f"Bearer {token}"})


def token_of(reply: httpx.Response) -> str:
    token: str = reply.headers["X-Feedback-Token"]
    return token


async def count(database: Database, table: str) -> int:
    async with database.transaction() as session:
        return (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar() or 0


async def test_a_browser_says_what_it_thinks_of_its_own_turn_with_nothing_but_the_token(
    gateway: RunningGateway, reply: httpx.Response
) -> None:
    answer = await post(gateway, token_of(reply), {"value": True, "comment": "schön 👍"})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["turn_id"] == reply.headers["X-Turn-Id"]
    assert told["conversation_id"] == reply.headers["X-Conversation-Id"]
    assert (told["metric"], told["value"], told["state"], told["consequence"]) == ("thumb", True, "open", "pending")
    found = (await gateway.chat.get(f"/conversations/{told['conversation_id']}")).json()
    assert found["turns"][0]["reward"] == 1.0
    assert (found["feedback"][0]["source"], found["feedback"][0]["comment"]) == ("browser", "schön 👍")


async def test_every_way_to_chat_gives_the_token_before_the_reply(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    tokens = [token_of(await say(gateway))]
    scripted_engine.pause = 0.02
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=asking(stream=True)) as streamed:
        tokens.append(token_of(streamed))
        assert (await post(gateway, tokens[-1], {"value": True})).status_code == 404  # its turn is not there yet
        await streamed.aread()
    told = await gateway.chat.post("/chat", json={"agent": "demo", "message": "hello"})
    assert told.headers["X-Turn-Id"] == told.json()["turn_id"]
    tokens.append(token_of(told))
    assert len(set(tokens)) == 3
    for token in tokens:
        assert (await post(gateway, token, {"value": False})).status_code == 201


async def test_a_retry_gets_a_token_for_the_turn_that_it_is_answered_with(gateway: RunningGateway) -> None:
    first = await say(gateway)
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": first.json()["choices"][0]["message"]["content"]},
        {"role": "user", "content": "and now?"},
    ]
    asked = {"model": "demo", "messages": history}
    second, again = [await gateway.chat.post("/v1/chat/completions", json=asked) for _ in range(2)]
    streamed = await gateway.chat.post("/v1/chat/completions", json=asked | {"stream": True})
    for answer in (second, again, streamed):
        told = await post(gateway, token_of(answer), {"value": True})
        assert told.json()["turn_id"] == second.headers["X-Turn-Id"]


async def test_no_token_where_nothing_is_kept_or_the_agent_names_no_metric(gateway: RunningGateway) -> None:
    for answer in (await say(gateway, store=False), await say(gateway, "silent")):
        assert "X-Feedback-Token" not in answer.headers


async def test_the_same_again_is_answered_again_and_another_value_replaces_it_ten_times_in_all(
    gateway: RunningGateway, reply: httpx.Response, database: Database
) -> None:
    token, conversation = token_of(reply), reply.headers["X-Conversation-Id"]
    first = await post(gateway, token, {"value": True})
    again = await post(gateway, token, {"value": True})
    assert (again.status_code, again.json()) == (200, first.json())
    for number in range(9):
        changed = await post(gateway, token, {"value": number % 2 == 1})
        assert changed.status_code == 201
        found = (await gateway.chat.get(f"/conversations/{conversation}")).json()
        assert found["return"] == number % 2
    refused = await post(gateway, token, {"value": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "too_many_values")
    assert (await post(gateway, token, {"value": False})).status_code == 200
    another = issue(Signer(SECRET), turn_of(reply), "thumb", datetime.now(UTC) + timedelta(seconds=5))
    assert (await post(gateway, another, {"value": True})).status_code == 409
    assert await count(database, "reward_entries") == 10


async def test_fifty_at_once_make_no_more_entries_than_one_after_the_other(
    gateway: RunningGateway, reply: httpx.Response, database: Database
) -> None:
    answers = await asyncio.gather(
        *(post(gateway, token_of(reply), {"value": True, "comment": str(number)}) for number in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [409] * 40
    assert await count(database, "reward_entries") == 10
    same = await say(gateway)
    answers = await asyncio.gather(*(post(gateway, token_of(same), {"value": True}) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]


async def test_a_value_that_a_system_corrected_does_not_stand_any_more(
    gateway: RunningGateway, reply: httpx.Response
) -> None:
    given = (await post(gateway, token_of(reply), {"value": True})).json()
    fix = {"turn_id": given["turn_id"], "metric": "thumb", "value": False, "supersedes": given["feedback_id"]}
    assert (await gateway.feedback.post("/feedback", json=fix)).status_code == 201
    again = await post(gateway, token_of(reply), {"value": True})
    assert again.status_code == 201
    gone = await gateway.feedback.delete(f"/feedback/{again.json()['feedback_id']}")
    assert gone.status_code == 200
    assert (await post(gateway, token_of(reply), {"value": True})).status_code == 201


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"turn_id": "turn_" + "0" * 32}, 403),
        ({"turn_id": "anything"}, 403),
        ({"metric": "stars", "value": 5}, 403),
        ({"metric": "reward", "value": 1e9}, 403),
        ({"conversation_id": "somebody's"}, 403),
        ({"conversation_id": "conv_" + "0" * 32}, 403),
        ({"agent": "rated"}, 403),
        ({"final": True}, 403),
        ({"source": "crm"}, 403),
        ({"source": "api"}, 403),
        ({"supersedes": "fb_" + "0" * 32}, 403),
        ({"idempotency_key": "crm-1"}, 403),
        ({"occurred_at": "2026-11-20T09:00:00Z"}, 403),
        ({"value": 1}, 422),
        ({"value": "yes"}, 422),
        ({"value": None}, 422),
        ({"typo": 1}, 422),
        ({"comment": "x" * 1001}, 422),
        ({"comment": "a\x00b"}, 422),
    ],
)
async def test_a_body_that_goes_beyond_the_token_stores_nothing(
    gateway: RunningGateway, reply: httpx.Response, database: Database, change: dict[str, Any], status: int
) -> None:
    await say(gateway, metadata={"conversation_id": "somebody's"})
    answer = await post(gateway, token_of(reply), {"value": True} | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].keys() == {"code", "message", "param"}
    assert await count(database, "reward_entries") == await count(database, "dead_letters") == 0
    found = (await gateway.chat.get(f"/conversations/{reply.headers['X-Conversation-Id']}")).json()
    assert found["state"] == "open"


async def test_a_body_may_say_again_what_the_token_says(gateway: RunningGateway) -> None:
    reply = await say(gateway, metadata={"conversation_id": "Bestellung 47/11 ✓"})
    told = {"turn_id": reply.headers["X-Turn-Id"], "metric": "thumb", "agent": "demo", "source": "browser"}
    told |= {"final": False, "supersedes": None, "idempotency_key": None, "occurred_at": None, "comment": None}
    for conversation, status in (("Bestellung 47/11 ✓", 201), (reply.headers["X-Conversation-Id"], 200)):
        answer = await post(gateway, token_of(reply), told | {"value": True, "conversation_id": conversation})
        assert answer.status_code == status, answer.text


async def test_a_value_out_of_the_metrics_range_is_refused(gateway: RunningGateway) -> None:
    token = token_of(await say(gateway, "rated"))
    for value, status in ((0, 422), (5.01, 422), (-1e300, 422), (True, 422), (1, 201), (5, 201)):
        assert (await post(gateway, token, {"value": value})).status_code == status
    content = b'{"value": NaN}'
    headers = {"Authorization": f"Bearer {token}"}
    assert (await gateway.nobody.post("/feedback", content=content, headers=headers)).status_code == 422


async def test_a_token_that_nobody_issued_or_that_expired_is_refused_with_its_own_code(
    gateway: RunningGateway, reply: httpx.Response, database: Database
) -> None:
    token, now, turn = token_of(reply), datetime.now(UTC), turn_of(reply)
    forged = issue(Signer("another secret of 32 characters!"), turn, "thumb", now)
    expired = issue(Signer(SECRET), turn, "thumb", now - LIFETIME - timedelta(seconds=1))
    other = token_of(await say(gateway))
    spliced = PREFIX + encode(decode(token)[:16] + decode(other)[16:])
    for bad, code in (
        (forged, "invalid_feedback_token"),
        (spliced, "invalid_feedback_token"),
        (token + "A", "invalid_feedback_token"),
        (token[:-1], "invalid_feedback_token"),
        (PREFIX, "invalid_feedback_token"),
        (expired, "expired_feedback_token"),
    ):
        answer = await post(gateway, bad, {"value": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await count(database, "reward_entries") == 0


async def test_the_token_of_one_turn_says_nothing_of_another(gateway: RunningGateway, reply: httpx.Response) -> None:
    other = await say(gateway, "rated")
    answer = await post(gateway, token_of(reply), {"turn_id": other.headers["X-Turn-Id"], "value": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "beyond_feedback_token")
    assert answer.json()["error"]["param"] == "turn_id"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/feedback/batch"),
        ("DELETE", "/feedback/fb_x"),
        ("GET", "/feedback/dead-letters"),
        ("POST", "/feedback/dead-letters/dl_x/retry"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/chat"),
        ("GET", "/v1/models"),
        ("GET", "/conversations/x"),
        ("POST", "/conversations/x/close"),
        ("GET", "/admin/keys"),
        ("GET", "/admin/agents"),
        ("PATCH", "/admin/agents/demo"),
    ],
)
async def test_a_token_opens_no_other_route(
    gateway: RunningGateway, reply: httpx.Response, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token_of(reply)}"}
    answer = await gateway.nobody.request(method, path, json={"value": True}, headers=headers)
    assert answer.status_code == 401


async def test_a_token_of_a_tenant_reaches_that_tenants_turn_and_nobody_elses(
    gateway: RunningGateway, database: Database
) -> None:
    secret, _ = await create_key(database, Scope.CHAT, agents=["demo"])
    async with client(gateway.url, secret) as tenant:
        reply = await tenant.post("/v1/chat/completions", json=asking())
    assert (await post(gateway, token_of(reply), {"value": True})).status_code == 201
    stranger, _ = await create_key(database, Scope.FEEDBACK, agents=["rated"])
    async with client(gateway.url, stranger) as other:
        told = {"turn_id": reply.headers["X-Turn-Id"], "metric": "thumb", "value": True}
        assert (await other.post("/feedback", json=told)).status_code == 404


async def test_a_turn_that_is_not_there_is_answered_and_makes_no_dead_letter(
    gateway: RunningGateway, database: Database
) -> None:
    token = issue(Signer(SECRET), ids.new_id(), "thumb", datetime.now(UTC))
    answer = await post(gateway, token, {"value": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "turn_not_found")
    assert await count(database, "dead_letters") == 0


async def test_an_agent_that_changes_its_mind_closes_the_door_to_tokens_already_out(
    gateway: RunningGateway, reply: httpx.Response
) -> None:
    for named, status in (("stars", 403), (None, 403), ("thumb", 201)):
        await gateway.admin.patch("/admin/agents/demo", json={"browser_metric": named})
        answer = await post(gateway, token_of(reply), {"value": True})
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "closed_to_browsers"


async def test_refused_posts_are_counted_as_those_of_keys_are(gateway: RunningGateway, reply: httpx.Response) -> None:
    async def counted() -> float:
        told = (await gateway.nobody.get("/metrics")).text
        return sum(float(line.split()[1]) for line in told.splitlines() if line.startswith(COUNTED_403))

    before = await counted()
    assert (await post(gateway, token_of(reply), {"value": True, "final": True})).status_code == 403
    assert await counted() == before + 1


async def test_a_metric_may_be_called_what_one_likes(gateway: RunningGateway, database: Database) -> None:
    name = "gefällt mir / 好き"
    await gateway.admin.patch(
        "/admin/agents/silent",
        json={"metrics": [{"name": name, "kind": "boolean", "required": False}], "browser_metric": name},
    )
    answer = await post(gateway, token_of(await say(gateway, "silent")), {"value": True})
    assert (answer.status_code, answer.json()["metric"]) == (201, name)


async def test_a_key_still_has_to_name_what_it_speaks_of(gateway: RunningGateway) -> None:
    answer = await gateway.feedback.post("/feedback", json={"value": 1})
    assert answer.status_code == 422
    assert "conversation_id" in json.dumps(answer.json())


def turn_of(reply: httpx.Response) -> UUID:
    turn = ids.parse(ids.Prefix.TURN, reply.headers["X-Turn-Id"])
    assert turn is not None
    return turn


def decode(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix(PREFIX) + "==")


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
