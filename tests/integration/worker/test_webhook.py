"""The webhook hears of what happened: signed, once it is committed, again until it has answered, never for ever."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError
from sqlalchemy import func, select, update
from sqlalchemy.exc import DataError

from core.rollouts import telling
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_adapter, create_agent
from worker import webhook
from worker.settings import WebhookSettings

SECRET = "what only the receiver and Nock know"


@dataclass
class Receiver:
    """A real HTTP server that remembers what came, and answers as it is told."""

    url: str = ""
    status: int = 200
    hangs: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def settings(self) -> WebhookSettings:
        return WebhookSettings(webhook_url=self.url, webhook_secret=SecretStr(SECRET))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()

    async def take(request: web.Request) -> web.Response:
        found.came.append((dict(request.headers), await request.read()))
        if found.hangs:
            await asyncio.sleep(60)
        return web.Response(status=found.status, headers=found.headers)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield found
    await runner.cleanup()


@pytest.fixture
async def happened(database: Database) -> Callable[[str], Any]:
    """Lets something happen to a version, which is to be told."""
    agent = await create_agent(database, "demo")
    version = await create_adapter(database, agent)

    async def happen(reason: str = "it was better") -> None:
        async with database.transaction() as session:
            await telling.record(
                session,
                models.RolloutEvent(
                    agent_id=agent.id,
                    generation=2,
                    kind="promote",
                    from_id=version.parent_id,
                    to_id=version.id,
                    by="test",
                    reason=reason,
                    evidence={},
                ),
            )

    return happen


async def messages(database: Database) -> list[models.OutboxMessage]:
    async with database.transaction() as session:
        return list((await session.scalars(select(models.OutboxMessage).order_by(models.OutboxMessage.id))).all())


async def make_due(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(update(models.OutboxMessage).values(next_attempt_at=func.now()))


async def test_a_message_says_what_happened_and_proves_who_sent_it(
    database: Database, receiver: Receiver, happened: Callable[..., Any]
) -> None:
    await happened()
    assert await webhook.deliver(database, settings=receiver.settings) == 1
    [(headers, body)] = receiver.came
    said = json.loads(body)
    assert (said["kind"], said["agent"], said["adapter"], said["beside"], said["reason"]) == (
        "promote",
        "demo",
        "demo@v1",
        "demo@base",
        "it was better",
    )
    parts = dict(part.split("=", 1) for part in headers["X-Nock-Signature"].split(","))
    code = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], code)
    assert abs(int(parts["t"]) - datetime.now(UTC).timestamp()) < 60
    assert headers["X-Nock-Delivery"] == said["id"]
    assert await webhook.deliver(database, settings=receiver.settings) == 0


async def test_what_is_rolled_back_is_never_told(
    database: Database, receiver: Receiver, happened: Callable[..., Any]
) -> None:
    with pytest.raises(DataError):
        await happened("a text that Postgres refuses: \x00")
    await webhook.deliver(database, settings=receiver.settings)
    assert receiver.came == []


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_webhook_that_refuses_is_asked_again_later_with_the_same_delivery(
    database: Database, receiver: Receiver, happened: Callable[..., Any], status: int
) -> None:
    await happened()
    receiver.status, receiver.headers = status, {"Location": receiver.url} if status == 302 else {}
    assert await webhook.deliver(database, settings=receiver.settings) == 0
    assert len(receiver.came) == 1, "a redirect is not followed"
    [waiting] = await messages(database)
    assert (waiting.attempts, waiting.last_error, waiting.ended_at) == (1, f"it answered {status}", None)
    assert waiting.next_attempt_at > datetime.now(UTC)
    assert await webhook.deliver(database, settings=receiver.settings) == 0, "its time has not come"
    await make_due(database)
    receiver.status, receiver.headers = 200, {}
    assert await webhook.deliver(database, settings=receiver.settings) == 1
    first, second = (headers["X-Nock-Delivery"] for headers, _ in receiver.came)
    assert first == second


async def test_a_webhook_that_hangs_holds_up_nothing_but_itself(
    database: Database, receiver: Receiver, happened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.2)
    for _ in range(3):
        await happened()
    receiver.hangs = True
    async with asyncio.timeout(20):
        assert await webhook.deliver(database, settings=receiver.settings) == 0
    assert {message.last_error for message in await messages(database)} == {"it did not answer within 0.2 s"}


async def test_a_message_that_nobody_takes_is_given_up_and_kept(
    database: Database, receiver: Receiver, happened: Callable[..., Any]
) -> None:
    await happened()
    receiver.status = 503
    async with database.transaction() as session:
        await session.execute(update(models.OutboxMessage).values(attempts=webhook.MOST_ATTEMPTS - 1))
    await webhook.deliver(database, settings=receiver.settings)
    [given_up] = await messages(database)
    assert given_up.ended_at is not None
    assert (given_up.delivered_at, given_up.last_error) == (None, "it answered 503")
    await make_due(database)
    await webhook.deliver(database, settings=receiver.settings)
    assert len(receiver.came) == 1


async def test_without_a_webhook_nothing_piles_up(database: Database, happened: Callable[..., Any]) -> None:
    await happened()
    assert await webhook.deliver(database, settings=WebhookSettings()) == 0
    [ended] = await messages(database)
    assert (ended.last_error, ended.ended_at is None) == ("no webhook is set", False)
    async with database.transaction() as session:
        await session.execute(update(models.OutboxMessage).values(ended_at=func.now() - timedelta(days=31)))
    await webhook.deliver(database, settings=WebhookSettings())
    assert await messages(database) == []


async def test_a_delivery_that_was_cut_before_it_was_noted_comes_again(
    database: Database, receiver: Receiver, happened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await happened()

    async def dies(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(webhook.outbox, "mark_delivered", dies)
        with pytest.raises(SystemExit):
            await webhook.deliver(database, settings=receiver.settings)
    assert await webhook.deliver(database, settings=receiver.settings) == 1
    assert len(receiver.came) == 2


def test_waits_double_from_five_seconds_to_an_hour() -> None:
    assert [webhook.wait_after(attempts).total_seconds() for attempts in (0, 1, 5, 40)] == [5, 10, 160, 3600]


def test_a_webhook_without_a_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="NOCK_WEBHOOK_SECRET"):
        WebhookSettings(webhook_url="https://shop.example/hook")
    with pytest.raises(ValidationError):
        WebhookSettings(webhook_url="file:///etc/passwd", webhook_secret=SecretStr(SECRET))
