"""Options that several commands take."""

from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option("--url", envvar="NOCK_URL", help="The gateway's address [default: 127.0.0.1, NOCK_PORT].")
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="NOCK_API_KEY", help="API key [default: the one in NOCK_HOME/keys.json]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
