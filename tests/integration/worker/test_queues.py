"""How Celery is set up: names, queues, schedule; and that messages never pile up."""

import pytest
import redis
from celery import Celery
from kombu import Queue

from worker.settings import BeatSettings
from worker.waiting import waiting_messages

TASKS = {
    "learning.dispatch": "cpu",
    "learning.step": "gpu",
    "suite.step": "cpu",
    "evaluation.dispatch": "cpu",
    "evaluation.step": "gpu",
    "episodes.close_idle": "cpu",
    "outcomes.settle_due": "cpu",
    "rollout.reconcile": "cpu",
    "canaries.judge": "cpu",
    "webhook.deliver": "cpu",
    "dead_letters.forget": "cpu",
    "outcomes.estimate_chances": "cpu",
    "adapters.watch_changes": "cpu",
    "retention.erase": "cpu",
}


@pytest.fixture(scope="module")
def app(redis_url: str) -> Celery:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NOCK_REDIS_URL", redis_url)
        from worker import celery_app, tasks

    assert tasks.app is celery_app.app
    found: Celery = celery_app.app
    return found


def test_the_tasks_are_these_and_each_goes_to_its_queue(app: Celery) -> None:
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == set(TASKS)
    for task, queue in TASKS.items():
        assert app.amqp.router.route({}, task)["queue"].name == queue


def test_beat_ticks_at_its_times_and_no_tick_outlives_the_next(app: Celery) -> None:
    schedule = {name: (entry["task"], entry["schedule"]) for name, entry in app.conf.beat_schedule.items()}
    assert schedule == {
        "learning.dispatch": ("learning.dispatch", 2.0),
        "suite.step": ("suite.step", 2.0),
        "evaluation.dispatch": ("evaluation.dispatch", 2.0),
        "episodes.close_idle": ("episodes.close_idle", 10.0),
        "outcomes.settle_due": ("outcomes.settle_due", 10.0),
        "rollout.reconcile": ("rollout.reconcile", 5.0),
        "canaries.judge": ("canaries.judge", 10.0),
        "webhook.deliver": ("webhook.deliver", 5.0),
        "dead_letters.forget": ("dead_letters.forget", 3_600.0),
        "outcomes.estimate_chances": ("outcomes.estimate_chances", 300.0),
        "adapters.watch_changes": ("adapters.watch_changes", 300.0),
        "retention.erase": ("retention.erase", 60.0),
    }
    assert BeatSettings().learning_tick_seconds == 2.0
    for entry in app.conf.beat_schedule.values():
        assert entry["options"]["expires"] <= entry["schedule"]


def test_a_message_is_gone_before_its_task_begins_and_nothing_waits_in_a_worker(app: Celery) -> None:
    assert app.conf.task_acks_late is False
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result is True
    assert app.conf.broker_connection_retry_on_startup is True
    assert app.conf.broker_connection_max_retries is None
    assert {queue.name for queue in app.conf.task_queues} == {"cpu", "gpu"}


def test_messages_that_nobody_fetched_are_counted(app: Celery, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url.replace("redis+socket", "unix")) as client:
        client.flushdb()
        assert waiting_messages(app, "gpu") == 0
        with app.connection_for_write() as connection:
            for _ in range(3):
                app.tasks["learning.step"].apply_async(["0" * 32], connection=connection)
        assert waiting_messages(app, "gpu") == 3
        assert waiting_messages(app, Queue("cpu").name) == 0
        client.flushdb()
        assert waiting_messages(app, "gpu") == 0
