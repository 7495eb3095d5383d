"""What Celery may call, one line each; knows no rule."""

from functools import partial
from uuid import UUID

from celery.worker import state
from sqlalchemy.exc import OperationalError

from core.domain.signatures import Signer
from core.settings import EngineSettings, SecretSettings, StoreSettings
from worker import housekeeping, judging, retention, rollout, scheduling, suites, webhook
from worker.celery_app import GPU, app
from worker.runtime import run
from worker.settings import BeatSettings, LearnerSettings, WebhookSettings
from worker.waiting import waiting_messages

# A Postgres that is away is not this code's fault: one line in the log, and the next tick tries again.
EXPECTED = (OperationalError,)


@app.task(name="learning.dispatch", throws=EXPECTED)
def dispatch_learning() -> None:
    """Queue what the agents' schedules ask for, and send out the runs that nobody holds."""
    run_ids = run(scheduling.list_due_runs)
    if run_ids and not waiting_messages(app, GPU):
        for run_id in run_ids:
            step_learning.delay(str(run_id))


@app.task(name="learning.step", throws=EXPECTED)
def step_learning(run_id: str) -> None:
    """Do one learner run, from conversations to a candidate."""
    from worker import learning  # here, so that only a process that learns pays for torch: 400 MB and 5 seconds

    run(
        partial(
            learning.step,
            run_id=UUID(run_id),
            settings=LearnerSettings(),
            store=StoreSettings(),
            is_stopping=lambda: state.should_stop is not None or state.should_terminate is not None,
        )
    )


@app.task(name="suite.step", throws=EXPECTED)
def step_suites() -> None:
    """Go on asking versions their suites."""
    run(partial(suites.step, settings=EngineSettings()))


@app.task(name="evaluation.dispatch", throws=EXPECTED)
def dispatch_evaluations() -> None:
    """Send out one evaluation that nobody holds, where nothing else waits: a run that comes meanwhile is next."""
    evaluation_ids = run(scheduling.list_due_evaluations)
    if evaluation_ids and not waiting_messages(app, GPU):
        step_evaluation.delay(str(evaluation_ids[0]))


@app.task(name="evaluation.step", throws=EXPECTED)
def step_evaluation(evaluation_id: str) -> None:
    """Weigh one version by logged conversations."""
    from worker import evaluating  # here, for the same reason

    run(
        partial(
            evaluating.step,
            evaluation_id=UUID(evaluation_id),
            settings=LearnerSettings(),
            is_stopping=lambda: state.should_stop is not None or state.should_terminate is not None,
        )
    )


@app.task(name="episodes.close_idle", throws=EXPECTED)
def close_idle_episodes() -> None:
    """End conversations that nobody has touched for as long as their agent waits."""
    run(housekeeping.close_idle)


@app.task(name="outcomes.settle_due", throws=EXPECTED)
def settle_due_outcomes() -> None:
    """Let outcomes mature or expire whose time has come."""
    run(housekeeping.settle_due)


@app.task(name="retention.erase", throws=EXPECTED)
def erase_expired_conversations() -> None:
    """Erase conversations that are older than their agent keeps them."""
    run(partial(retention.erase_expired, signer=Signer(SecretSettings().secret.get_secret_value())))


@app.task(name="rollout.reconcile", throws=EXPECTED)
def reconcile_rollout() -> None:
    """Bring every engine in line with the rollouts."""
    run(partial(rollout.reconcile, settings=EngineSettings()))


@app.task(name="canaries.judge", throws=EXPECTED)
def judge_canaries() -> None:
    """Look at every trial, and begin those that wait."""
    run(partial(judging.judge, settings=EngineSettings()))


@app.task(name="webhook.deliver", throws=EXPECTED)
def deliver_webhook() -> None:
    """Tell the webhook what happened."""
    run(partial(webhook.deliver, settings=WebhookSettings()))


@app.task(name="dead_letters.forget", throws=EXPECTED)
def forget_dead_letters() -> None:
    """Delete feedback that could not be joined and is too old to retry."""
    run(partial(housekeeping.forget_dead_letters, days=BeatSettings().dead_letter_days))


@app.task(name="outcomes.estimate_chances", throws=EXPECTED)
def estimate_outcome_chances() -> None:
    """Estimate how likely each kind of conversation is to get an outcome."""
    run(housekeeping.estimate_chances)


@app.task(name="adapters.watch_changes", throws=EXPECTED)
def watch_changes() -> None:
    """Look how much of what taught the versions in service has changed since."""
    run(partial(housekeeping.watch_changes, limit=BeatSettings().changed_share_limit))
