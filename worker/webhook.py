"""Tell the webhook what happened to versions: signed, at least once, patient with one that is away or hangs."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import aiohttp
import orjson
import structlog

from core.domain.ids import Prefix, public
from core.storage.database import Database
from core.storage.models import OutboxMessage
from core.storage.repositories import learner, outbox
from worker.settings import WebhookSettings

log = structlog.get_logger()

LEASE = "webhook"
LEASE_SECONDS = 60.0
ANSWER_SECONDS = 5.0
"""How long one delivery may take: a webhook that hangs holds up only what is told to it, and not for long."""
BATCH = 8
"""Messages a pass, so that a pass with a webhook that hangs ends within its lease."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 3_600.0
KEPT = timedelta(days=30)
"""How long a message that was delivered or given up stays in the table."""
MOST_ATTEMPTS = 40
"""About a day and a half of them; then the message is given up, and stays in the table for who looks there."""


async def deliver(database: Database, *, settings: WebhookSettings) -> int:
    """Send what is due, oldest first; how many were delivered. Without a webhook messages end undelivered."""
    holder = uuid4()
    async with database.transaction() as session:
        await outbox.forget_old(session, KEPT)
        if not settings.webhook_url:
            await outbox.end_all(session, why="no webhook is set")
            return 0
        if not await learner.take_lease(session, LEASE, holder=holder, seconds=LEASE_SECONDS):
            return 0
        due = await outbox.list_due(session, limit=BATCH)
    try:
        return await _deliver(database, settings, due)
    finally:
        async with database.transaction() as session:
            await learner.release_lease(session, LEASE, holder=holder)


async def _deliver(database: Database, settings: WebhookSettings, due: Sequence[OutboxMessage]) -> int:
    delivered = 0
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        for message in due:
            failure = await _send(client, settings, message)
            async with database.transaction() as session:
                if failure is None:
                    await outbox.mark_delivered(session, message.id)
                    delivered += 1
                elif message.attempts + 1 >= MOST_ATTEMPTS:
                    await outbox.give_up(session, message.id, failure)
                else:
                    await outbox.try_later(session, message.id, failure, wait_after(message.attempts))
            if failure is not None:
                log.warning("webhook not delivered", delivery=_name(message.id), why=failure)
    return delivered


async def _send(client: aiohttp.ClientSession, settings: WebhookSettings, message: OutboxMessage) -> str | None:
    """None where the webhook answered 2xx, else why not. What it answers is not read: it is nobody's business here."""
    assert settings.webhook_secret is not None
    about = {"id": _name(message.id), "at": message.created_at.isoformat(), **message.body}
    body = orjson.dumps(about)
    headers = {
        "Content-Type": "application/json",
        "X-Nock-Delivery": _name(message.id),
        "X-Nock-Signature": sign(settings.webhook_secret.get_secret_value(), body, int(time.time())),
    }
    try:
        async with client.post(settings.webhook_url, data=body, headers=headers, allow_redirects=False) as answer:
            return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except TimeoutError:
        return f"it did not answer within {ANSWER_SECONDS:g} s"
    except (aiohttp.ClientError, ValueError, OSError) as error:
        return f"it cannot be reached: {type(error).__name__}"


def sign(secret: str, body: bytes, at: int) -> str:
    """`t=<unix time>,v1=<hex of HMAC-SHA256(secret, "<time>." + body)>`: the time is signed too, so that an old
    delivery cannot be played again."""
    code = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={code}"


def wait_after(attempts: int) -> timedelta:
    """5 s after the first failure, twice as long after each, an hour at most."""
    return timedelta(seconds=min(FIRST_WAIT_SECONDS * 2**attempts, LONGEST_WAIT_SECONDS))


def _name(message_id: UUID) -> str:
    return public(Prefix.MESSAGE, message_id)
