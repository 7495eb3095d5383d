"""`python -m service`: the gateway as a process."""

import sys

import uvicorn
from pydantic import ValidationError

from core.logging import configure_logging
from service.app import create_app
from service.settings import GatewaySettings

DRAIN_SECONDS = 30
"""How long open requests may go on after SIGTERM."""


def main() -> int:
    configure_logging()
    try:
        settings = GatewaySettings()
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"NOCK_{name}: {problem['msg']}. See docs/settings.md.\n")
        return 2
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
