"""Outcomes over HTTP: stored once, folded, refused with reasons, never lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from core.domain.ids import Prefix, public
from core.domain.keys import Scope
from core.domain.metrics import Level, Metric, MetricKind
from core.storage.database import Database
from core.storage.models import Demonstration
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, client
from tests.fixtures.scripted_engine import ScriptedEngine


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    resolved = Metric("resolved", MetricKind.BOOLEAN, weight=2.0)
    stars = Metric("stars", weight=0.5, required=False, low=1.0, high=5.0)
    note = Metric("note", MetricKind.COMMENT)
    thumb = Metric("thumb", MetricKind.BOOLEAN, required=False, level=Level.TURN)
    sale = Metric("sale", required=False, level=Level.CONVERSATION)
    ideal = Metric("ideal", MetricKind.DEMONSTRATION)
    await create_agent(database, "demo", metrics=[resolved, stars, note, thumb, sale, ideal])


@pytest.fixture
async def turn(agent: None, gateway: RunningGateway) -> dict[str, str]:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    return {"turn_id": answer.headers["X-Turn-Id"], "conversation_id": answer.headers["X-Conversation-Id"]}


async def entries(database: Database) -> int:
    async with database.transaction() as session:
        return (await session.execute(text("SELECT count(*) FROM reward_entries"))).scalar() or 0


async def test_an_outcome_is_stored_and_says_what_it_will_change(gateway: RunningGateway, turn: dict[str, str]) -> None:
    answer = await gateway.feedback.post(
        "/feedback", json=turn | {"metric": "resolved", "value": True, "source": "crm"}
    )
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["state"] == "open"
    assert body["consequence"] == "pending"
    final = await gateway.feedback.post("/feedback", json=turn | {"metric": "stars", "value": 4, "final": True})
    assert final.json()["state"] == "matured"
    assert final.json()["consequence"] == "next_update"
    found = (await gateway.chat.get(f"/conversations/{turn['conversation_id']}")).json()
    assert found["return"] == 2.0 + 0.5 * 4
    assert found["turns"][0]["reward"] == 4.0
    assert found["episodes"][0]["ended_by"] == "final"
    assert [entry["metric"] for entry in found["feedback"]] == ["resolved", "stars"]


async def test_a_closed_conversation_awaits_its_outcome_and_a_withdrawn_one_is_awaited_again(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    closed = await gateway.chat.post(f"/conversations/{turn['conversation_id']}/close")
    assert closed.json()["state"] == "awaiting"
    assert (await gateway.chat.post(f"/conversations/{turn['conversation_id']}/close")).json()["state"] == "awaiting"
    given = await gateway.feedback.post("/feedback", json=turn | {"metric": "resolved", "value": False})
    assert given.json()["state"] == "matured"
    gone = await gateway.feedback.delete(f"/feedback/{given.json()['feedback_id']}")
    assert gone.status_code == 200
    assert gone.json()["state"] == "awaiting"
    assert (await gateway.feedback.delete(f"/feedback/{given.json()['feedback_id']}")).json() == gone.json()
    found = (await gateway.chat.get(f"/conversations/{turn['conversation_id']}")).json()
    assert found["return"] is None
    assert len(found["feedback"]) == 2


async def test_a_correction_replaces_the_value_that_it_names(gateway: RunningGateway, turn: dict[str, str]) -> None:
    first = await gateway.feedback.post("/feedback", json=turn | {"metric": "stars", "value": 5, "source": "a"})
    await gateway.feedback.post(
        "/feedback",
        json=turn | {"metric": "stars", "value": 1, "source": "b", "supersedes": first.json()["feedback_id"]},
    )
    found = (await gateway.chat.get(f"/conversations/{turn['conversation_id']}")).json()
    assert found["return"] == 0.5
    unknown = turn | {"metric": "stars", "value": 2, "supersedes": "fb_" + "0" * 32}
    assert (await gateway.feedback.post("/feedback", json=unknown)).status_code == 422


async def test_the_same_key_and_body_get_the_first_answer_and_another_body_is_refused(
    gateway: RunningGateway, turn: dict[str, str], database: Database
) -> None:
    body = turn | {"metric": "stars", "value": 3, "idempotency_key": "crm-1", "occurred_at": "2026-11-20T09:00:00Z"}
    first = await gateway.feedback.post("/feedback", json=body)
    assert first.status_code == 201
    again = await gateway.feedback.post(
        "/feedback", json=body | {"value": 3.0, "occurred_at": "2026-11-20T10:00:00+01:00"}
    )
    assert again.status_code == 200, again.text
    assert again.json() == first.json()
    other = await gateway.feedback.post("/feedback", json=body | {"value": 4})
    assert other.status_code == 409
    assert await entries(database) == 1


async def test_fifty_posts_of_one_key_at_once_make_one_entry_and_fifty_equal_answers(
    gateway: RunningGateway, turn: dict[str, str], database: Database
) -> None:
    body = turn | {"metric": "stars", "value": 3, "idempotency_key": "crm-1"}
    answers = await asyncio.gather(*(gateway.feedback.post("/feedback", json=body) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await entries(database) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"metric": "stars", "value": 9}, 422),
        ({"metric": "stars", "value": "five"}, 422),
        ({"metric": "stars", "value": True}, 422),
        ({"metric": "resolved", "value": 1}, 422),
        ({"metric": "note", "value": " "}, 422),
        ({"metric": "nonsense", "value": 1}, 422),
        ({"value": None}, 422),
        ({"value": 1, "typo": 1}, 422),
        ({"value": 1, "occurred_at": "yesterday"}, 422),
        ({"value": 1, "turn_id": "turn_" + "0" * 32}, 404),
        ({"value": 1, "turn_id": "'; DROP TABLE turns; --"}, 404),
        ({"value": 1, "conversation_id": "nobody's"}, 404),
        ({"value": 1, "turn_id": None, "conversation_id": "../../etc/passwd"}, 404),
        ({"value": 1, "turn_id": None, "conversation_id": "%2e%2e%2f %00"}, 404),
        ({"value": 1, "turn_id": None, "conversation_id": "nach\u0000richt"}, 422),
        ({"value": 1, "turn_id": None, "conversation_id": "✉️ разговор \u202e 会話"}, 404),
        ({"value": 1, "turn_id": "turn_" + "٣" * 32}, 404),
        ({"value": 1, "supersedes": "fb_" + "0" * 32}, 422),
        ({"value": 1, "supersedes": "' OR 1=1 --"}, 422),
        ({"value": 1, "occurred_at": "2999-01-01T00:00:00Z"}, 422),
        ({"value": 1, "conversation_id": None, "turn_id": None}, 422),
    ],
)
async def test_an_outcome_that_fits_nothing_is_refused_and_uses_up_no_key(
    gateway: RunningGateway, turn: dict[str, str], database: Database, change: dict[str, object], status: int
) -> None:
    answer = await gateway.feedback.post("/feedback", json=turn | {"idempotency_key": "k"} | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].keys() == {"code", "message", "param"}
    assert await entries(database) == 0
    good = await gateway.feedback.post("/feedback", json=turn | {"value": 1, "idempotency_key": "k"})
    assert good.status_code == 201


async def test_nan_and_infinity_are_refused(gateway: RunningGateway, turn: dict[str, str]) -> None:
    for number in ("NaN", "Infinity", "1e999", "-1e999"):
        content = f'{{"turn_id": "{turn["turn_id"]}", "value": {number}}}'
        answer = await gateway.feedback.post("/feedback", content=content)
        assert answer.status_code == 422, (number, answer.text)


async def test_a_metric_of_one_level_takes_no_value_of_the_other(gateway: RunningGateway, turn: dict[str, str]) -> None:
    of_conversation = {"conversation_id": turn["conversation_id"]}
    for body, status in (
        (turn | {"metric": "thumb", "value": True}, 201),
        (of_conversation | {"metric": "thumb", "value": True}, 422),
        (of_conversation | {"metric": "sale", "value": 3}, 201),
        (turn | {"metric": "sale", "value": 3}, 422),
    ):
        answer = await gateway.feedback.post("/feedback", json=body)
        assert answer.status_code == status, (body, answer.text)
        if status == 422:
            assert answer.json()["error"]["code"] == "wrong_level"


async def test_an_outcome_of_the_future_is_refused_and_a_clock_a_little_ahead_forgiven(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    for ahead, status in ((timedelta(minutes=4), 201), (timedelta(minutes=6), 422), (-timedelta(days=4000), 201)):
        at = (datetime.now(UTC) + ahead).isoformat()
        answer = await gateway.feedback.post(
            "/feedback", json=turn | {"metric": "stars", "value": 2, "occurred_at": at}
        )
        assert answer.status_code == status, (ahead, answer.text)


async def test_an_outcome_of_an_unknown_target_is_kept_as_a_dead_letter(
    gateway: RunningGateway, database: Database
) -> None:
    lost = {"conversation_id": "typo", "value": 1.0, "source": "crm"}
    assert (await gateway.feedback.post("/feedback", json=lost)).status_code == 404
    letters = (await gateway.feedback.get("/feedback/dead-letters")).json()
    assert letters["next"] is None
    assert [letter["body"]["conversation_id"] for letter in letters["data"]] == ["typo"]
    secret, _ = await create_key(database, Scope.FEEDBACK, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.get("/feedback/dead-letters")).json()["data"] == []


async def test_a_turn_and_a_conversation_that_do_not_belong_together_are_refused(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], "metadata": {"conversation_id": "other"}}
    await gateway.chat.post("/v1/chat/completions", json=body)
    answer = await gateway.feedback.post(
        "/feedback", json={"turn_id": turn["turn_id"], "conversation_id": "other", "value": 1}
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "turn_elsewhere"


async def test_the_same_client_id_with_two_agents_must_say_which(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "second")
    await asyncio.sleep(0.7)
    for model in ("demo", "second"):
        body = {"model": model, "messages": [{"role": "user", "content": "x"}], "metadata": {"conversation_id": "same"}}
        assert (await gateway.chat.post("/v1/chat/completions", json=body)).status_code == 200
    assert (await gateway.chat.get("/conversations/same")).status_code == 409
    assert (await gateway.chat.get("/conversations/same?agent=second")).json()["agent"] == "second"
    outcome = {"conversation_id": "same", "value": 1}
    assert (await gateway.feedback.post("/feedback", json=outcome)).status_code == 409
    assert (await gateway.feedback.post("/feedback", json=outcome | {"agent": "second"})).status_code == 201


async def test_a_comment_makes_no_conversation_new_to_the_learner(
    gateway: RunningGateway, turn: dict[str, str], database: Database
) -> None:
    await gateway.feedback.post("/feedback", json=turn | {"metric": "resolved", "value": True, "final": True})

    async def matured_at() -> object:
        async with database.transaction() as session:
            return (await session.execute(text("SELECT matured_at FROM conversations"))).scalar()

    before = await matured_at()
    noted = await gateway.feedback.post("/feedback", json=turn | {"metric": "note", "value": "nice"})
    assert (noted.json()["consequence"], noted.json()["state"]) == ("record_only", "matured")
    assert await matured_at() == before
    await gateway.feedback.post("/feedback", json=turn | {"metric": "stars", "value": 2})
    assert await matured_at() != before


async def test_a_repeated_outcome_gets_its_first_answer_though_its_metric_takes_it_no_more(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    outcome = turn | {"metric": "stars", "value": 5, "idempotency_key": "crm-1"}
    first = await gateway.feedback.post("/feedback", json=outcome)
    assert first.status_code == 201
    narrower = {"metrics": [{"name": "stars", "weight": 0.5, "low": 1, "high": 3}]}
    assert (await gateway.admin.patch("/admin/agents/demo", json=narrower)).status_code == 200
    assert (await gateway.feedback.post("/feedback", json=outcome | {"idempotency_key": "crm-2"})).status_code == 422
    again = await gateway.feedback.post("/feedback", json=outcome)
    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_demonstration_of_a_turn_teaches_and_one_of_a_whole_conversation_is_only_kept(
    gateway: RunningGateway, database: Database, turn: dict[str, str]
) -> None:
    shown = {"metric": "ideal", "value": "It left on Monday."}
    answer = (await gateway.feedback.post("/feedback", json=turn | shown)).json()
    assert (answer["consequence"], answer["reason"]) == ("next_update", None)
    of_whole = {"conversation_id": turn["conversation_id"], **shown}
    assert (await gateway.feedback.post("/feedback", json=of_whole)).json()["consequence"] == "record_only"
    async with database.transaction() as session:
        kept = (await session.scalars(select(Demonstration.entry_id))).all()
    assert [public(Prefix.FEEDBACK, entry) for entry in kept] == [answer["feedback_id"]]


async def test_the_answer_to_a_close_counts_what_is_missing_from_the_first_moment(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    sale = {"name": "sale", "window_seconds": 0, "missing": 2.5}
    assert (await gateway.admin.patch("/admin/agents/demo", json={"metrics": [sale]})).status_code == 200
    closed = (await gateway.chat.post(f"/conversations/{turn['conversation_id']}/close")).json()
    assert (closed["state"], closed["return"], closed["turns"][0]["reward"]) == ("matured", 2.5, 2.5)


async def test_ids_of_ten_thousand_characters_are_answered_and_store_nothing(
    gateway: RunningGateway, turn: dict[str, str], database: Database
) -> None:
    for name in ("conversation_id", "turn_id", "idempotency_key", "metric", "source", "supersedes", "agent"):
        answer = await gateway.feedback.post("/feedback", json=turn | {"value": 1, name: "x" * 10_000})
        assert answer.status_code in (404, 422), (name, answer.status_code)
    assert await entries(database) == 0


async def test_the_later_entry_counts_though_its_client_s_clock_ran_backwards(
    gateway: RunningGateway, turn: dict[str, str]
) -> None:
    for value, occurred_at in ((5, "2026-11-20T09:00:00Z"), (2, "2026-11-19T09:00:00Z"), (3, "1970-01-01T00:00:00Z")):
        said = turn | {"metric": "stars", "value": value, "occurred_at": occurred_at}
        assert (await gateway.feedback.post("/feedback", json=said)).status_code == 201
    found = (await gateway.chat.get(f"/conversations/{turn['conversation_id']}")).json()
    assert found["turns"][0]["reward"] == 0.5 * 3


async def test_what_is_told_while_a_conversation_was_taken_up_in_vain_is_new_to_the_learner(
    gateway: RunningGateway, turn: dict[str, str], database: Database, scripted_engine: ScriptedEngine
) -> None:
    async def matured_at() -> object:
        async with database.transaction() as session:
            return (await session.execute(text("SELECT matured_at FROM conversations"))).scalar()

    async def take_up_in_vain() -> None:
        body = {"model": "demo", "messages": [{"role": "user", "content": "still there?"}]}
        headers = {"X-Conversation-Id": turn["conversation_id"]}
        assert (await gateway.chat.post("/v1/chat/completions", json=body, headers=headers)).status_code == 400

    await gateway.feedback.post("/feedback", json=turn | {"metric": "resolved", "value": True, "final": True})
    first = await matured_at()
    scripted_engine.fault = "refuse"
    await take_up_in_vain()
    await gateway.chat.post(f"/conversations/{turn['conversation_id']}/close")
    assert await matured_at() == first  # nothing came of it
    await take_up_in_vain()
    given = await gateway.feedback.post("/feedback", json=turn | {"metric": "stars", "value": 2})
    assert given.json()["state"] == "open"
    closed = await gateway.chat.post(f"/conversations/{turn['conversation_id']}/close")
    assert closed.json()["state"] == "matured"
    assert await matured_at() != first
