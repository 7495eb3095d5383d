"""Each task is a span, and goes on with the trace of whoever sent its message; knows no task."""

from contextlib import ExitStack
from typing import Any

from celery import signals

from core import tracing

_running: dict[str, ExitStack] = {}


@signals.celeryd_init.connect
def check_settings(**_: object) -> None:
    """Before there is anything to end: what a later signal raises, Celery logs and goes on without."""
    try:
        tracing.is_wanted()
    except tracing.WrongProtocolError as error:
        raise SystemExit(str(error)) from None


@signals.worker_process_init.connect
def begin_process(**_: object) -> None:
    """Here and not where the module is loaded: the thread that exports does not survive a fork."""
    tracing.set_up("nock-worker")


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def end_process(**_: object) -> None:
    tracing.shut_down()


@signals.before_task_publish.connect
def send_along(headers: dict[str, Any], **_: object) -> None:
    """A tick of beat has no trace to send along: its task begins one."""
    headers.update(tracing.carry(tracing.current()))


@signals.task_prerun.connect
def begin(task_id: str, task: Any, **_: object) -> None:
    carried = {name: value for name in ("traceparent", "tracestate") if (value := getattr(task.request, name, None))}
    named = {"messaging.operation.type": "process", "messaging.message.id": task_id, "nock.task": task.name}
    running = _running[task_id] = ExitStack()
    running.enter_context(tracing.span_from(carried, f"run {task.name}", named))


@signals.task_failure.connect
def note_failure(exception: BaseException, **_: object) -> None:
    """Celery caught it: no span saw it pass."""
    tracing.note(tracing.current(), exception)


@signals.task_postrun.connect
def end(task_id: str, **_: object) -> None:
    _running.pop(task_id).close()
