"""`nock keys`: make, list, rotate, revoke API keys, over HTTP or, without an admin key, against the database."""

from typing import Annotated, Any

import typer

from cli.database_address import database_url
from cli.gateway import Gateway, Unreachable, clear_errors, fail
from cli.keys_file import read_keys
from cli.options import Json, Key, Url
from cli.tables import show
from cli.up.home import Home

app = typer.Typer(help="API keys.", no_args_is_help=True)
SCOPES = ("chat", "feedback", "admin")
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "tokens_per_day")
COLUMNS = ("key_id", "name", "scopes", "agents", "limits", "created_at", "expires_at", "revoked_at")
BY = "nock keys"
DAY_SECONDS = 86_400.0


@app.command("create")
def create(
    scope: Annotated[list[str], typer.Option(help="chat, feedback or admin; again for several.")],
    agent: Annotated[list[str] | None, typer.Option(help="Only for this agent; again for several.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help=f"As requests_per_minute=60; again for others of {', '.join(LIMITS)}.")
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Make a key and print its secret, once. Without an admin key it goes straight to NOCK_DATABASE_URL."""
    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: a scope is one of {', '.join(SCOPES)}")
    wanted = {"scopes": scope, "agents": agent, "name": name, "limits": dict(map(_limit, limit or ()))}
    gateway = Gateway(url, key, scope="admin")
    made = None
    with clear_errors():
        if gateway.key is not None:
            made = _create_over_http(gateway, wanted)
    if made is None:
        made = _create_in_database(wanted)
    _show_secret(made, f"for {', '.join(sorted(scope))}")


@app.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(help="key_…")],
    grace_seconds: Annotated[float, typer.Option(help="How long the old secret stays good.")] = DAY_SECONDS,
    url: Url = None,
    key: Key = None,
) -> None:
    """Give a key a new secret and print it, once; the old one stays good for a while."""
    with clear_errors():
        body = {"grace_seconds": grace_seconds}
        made = Gateway(url, key, scope="admin").call("POST", f"/admin/keys/{key_id}/rotate", body)
    _show_secret(made, f"has a new secret, and the old one until {made['old_valid_until']}")


@app.command("list")
def list_command(as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """List the keys, never their secrets."""
    gateway = Gateway(url, key, scope="admin")
    found: list[dict[str, Any]] = []
    after: str | None = None
    with clear_errors():
        while True:
            page = gateway.call("GET", "/admin/keys", after=after)
            found, after = found + page["data"], page["next"]
            if after is None:
                break
    show(found, COLUMNS, as_json=as_json, empty="No keys.")


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="key_…")], url: Url = None, key: Key = None) -> None:
    """Revoke a key; within two seconds nobody takes it any more."""
    with clear_errors():
        Gateway(url, key, scope="admin").call("DELETE", f"/admin/keys/{key_id}")
    typer.echo(f"{key_id} is revoked")


@app.command("show")
def show_command(scope: Annotated[str, typer.Argument(help="chat, feedback or admin.")]) -> None:
    """Print a key of this machine's stack, for scripts: "Authorization: Bearer $(nock keys show chat)"."""
    file = Home.from_environment().keys
    secret = read_keys(file).get(scope)
    if secret is None:
        fail(f"{file} holds no {scope} key: `nock up` makes one of each scope ({', '.join(SCOPES)}).")
    typer.echo(secret)


def _show_secret(made: dict[str, Any], what: str) -> None:
    typer.secho(f"{made['key_id']} {what}; the secret is shown this once:", err=True, dim=True)
    typer.echo(made["secret"])


def _limit(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if name not in LIMITS or not value.isdecimal() or int(value) < 1:
        raise typer.BadParameter(f"{text!r}: say a limit as {LIMITS[0]}=60; there are {', '.join(LIMITS)}")
    return name, int(value)


def _create_over_http(gateway: Gateway, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """None where nothing answers: the database may all the same."""
    try:
        return gateway.call("POST", "/admin/keys", {field: value for field, value in wanted.items() if value})
    except Unreachable:
        return None


def _create_in_database(wanted: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from sqlalchemy.exc import DBAPIError

    try:
        return asyncio.run(_add_key(database_url(), **wanted))
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        fail(f"The database refused: {reason} (are the migrations done? python -m core.storage.migrations upgrade)")


async def _add_key(
    address: str, scopes: list[str], agents: list[str] | None, name: str | None, limits: dict[str, int]
) -> dict[str, Any]:
    from core.domain.ids import Prefix, public
    from core.domain.keys import Scope, hash_secret, new_secret
    from core.domain.limits import Limits
    from core.storage.database import Database, connect
    from core.storage.repositories import keys

    secret = new_secret()
    engine = connect(address)
    try:
        async with Database(engine).transaction() as session:
            key = await keys.add_key(
                session,
                by=BY,
                secret_hash=hash_secret(secret),
                scopes=map(Scope, scopes),
                agents=agents,
                name=name,
                limits=Limits(**limits),
            )
        return {"key_id": public(Prefix.KEY, key.id), "secret": secret}
    finally:
        await engine.dispose()
