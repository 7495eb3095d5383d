"""`python -m service`: the gateway as a process, or as several behind one address."""

import gc
import sys

import uvicorn
from pydantic import ValidationError

from core.logging import configure_logging
from core.tracing import WrongProtocolError
from service import metric_files
from service.app import create_app
from service.connections import BoundedConnection
from service.leaving import LeavingInSteps
from service.settings import GatewaySettings

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients and balancers keep theirs (5 and 60 s are usual), for a
request that is sent while we close meets nobody."""

START_SECONDS = 60
"""How long one of several processes may give no sign of life: beside a busy learner it imports for longer than the 5 s
after which uvicorn would kill it, again and again."""


def make_app() -> LeavingInSteps:
    """The app of one process. What it is made of stays for ever: the garbage collector need not look at it again."""
    configure_logging()
    settings = GatewaySettings()
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    return LeavingInSteps(app, app.state.capacity, settings.leave_seconds)


def main() -> int:
    try:
        settings = GatewaySettings()
        app = make_app()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"NOCK_{name}: {problem['msg']}. See docs/settings.md.\n")
        return 2
    except WrongProtocolError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if settings.processes == 1:
        serve(app, settings)
    else:
        with metric_files.shared_folder():
            serve("service.__main__:make_app", settings)
    return 0


def serve(app: LeavingInSteps | str, settings: GatewaySettings) -> None:
    """Until it is told to leave. Where there are several processes, `app` names what makes one in each."""
    uvicorn.run(
        app,
        factory=isinstance(app, str),
        workers=settings.processes,
        host=settings.host,
        port=settings.port,
        http=BoundedConnection,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_worker_healthcheck=START_SECONDS,
        server_header=False,
    )


if __name__ == "__main__":
    sys.exit(main())
