"""Celery as Nock uses it: two queues, one schedule, and no trust in messages.

A message is acknowledged before its task runs, on purpose. Rows say what is to be done; a message only says "look now".
One that is lost costs a tick, and one that is repeated finds the row taken.
"""

import logging
import uuid
from typing import Any

import structlog
from celery import Celery, signals
from kombu import Queue

from core.logging import configure_logging
from core.settings import RedisSettings
from worker import task_spans
from worker.settings import BeatSettings

CHATTY = ("celery.app.trace", "celery.beat", "celery.worker.strategy")
"""Loggers that report each tick three times over; what goes wrong they say louder."""

CPU, GPU = "cpu", "gpu"
REVIEW_SECONDS = 300.0
MINUTE_SECONDS = 60.0
HOUR_SECONDS = 3_600.0
"""Beat keeps its times in memory: what ran once a day would never run on a machine that is switched off at night."""


def schedule(settings: BeatSettings) -> dict[str, dict[str, Any]]:
    """The periodic tasks. A tick that nobody took before the next one is due expires: ticks never pile up as work."""
    every = {
        "learning.dispatch": settings.learning_tick_seconds,
        "suite.step": settings.learning_tick_seconds,
        "evaluation.dispatch": settings.learning_tick_seconds,
        "episodes.close_idle": settings.idle_tick_seconds,
        "outcomes.settle_due": settings.settle_tick_seconds,
        "rollout.reconcile": settings.reconcile_tick_seconds,
        "canaries.judge": settings.canary_tick_seconds,
        "webhook.deliver": settings.webhook_tick_seconds,
        "dead_letters.forget": HOUR_SECONDS,
        "outcomes.estimate_chances": REVIEW_SECONDS,
        "adapters.watch_changes": REVIEW_SECONDS,
        "retention.erase": MINUTE_SECONDS,
    }
    return {
        task: {"task": task, "schedule": seconds, "options": {"expires": seconds}} for task, seconds in every.items()
    }


__all__ = ["app", "task_spans"]  # the latter's signals are connected by its import

app = Celery("nock", broker=RedisSettings().redis_url, include=["worker.tasks"])
app.conf.update(
    task_queues=[Queue(CPU), Queue(GPU)],
    task_default_queue=CPU,
    task_create_missing_queues=False,
    task_routes={"learning.step": {"queue": GPU}, "evaluation.step": {"queue": GPU}},
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    enable_utc=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_connect_timeout": 5},
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    beat_schedule=schedule(BeatSettings()),
)


@signals.setup_logging.connect
def log_as_nock_does(**_: object) -> None:
    """Celery and Nock write one format."""
    configure_logging()
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.task_prerun.connect
def bind_task(task_id: str, task: Any, **_: object) -> None:
    """Each line says which task wrote it."""
    structlog.contextvars.bind_contextvars(task=task.name, task_id=str(uuid.UUID(task_id)))


@signals.task_postrun.connect
def unbind_task(**_: object) -> None:
    """What is logged between tasks belongs to none."""
    structlog.contextvars.clear_contextvars()
