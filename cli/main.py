"""The `nock` command: what it is called and what it takes. The work is imported when a command runs."""

from typing import Annotated

import typer

from cli import agents, erasing, keys, suites
from cli.adapters import adapters, promote, rollback
from cli.audit import audit
from cli.canary import canary
from cli.chat import chat
from cli.export.command import export
from cli.feedback import feedback
from cli.importing import import_adapter
from cli.learning import learn, runs
from cli.options import Json
from cli.simulate import simulate

app = typer.Typer(
    name="nock",
    help="Online learning for deployed chat agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
) -> None:
    """Start Postgres, Redis, engine, gateway, learner, worker and beat on this machine."""
    from cli.up.commands import bring_up

    raise typer.Exit(bring_up(detach=detach))


@app.command()
def down() -> None:
    """Stop what `nock up` started."""
    from cli.up.commands import take_down

    raise typer.Exit(take_down())


@app.command()
def status(as_json: Json = False) -> None:
    """Show the processes, the gateway and the agents; status 0 only if all is well."""
    from cli.up.commands import tell_status

    raise typer.Exit(tell_status(as_json=as_json))


app.command("chat")(chat)
app.command("feedback")(feedback)
app.command("learn")(learn)
app.command("runs")(runs)
app.command("adapters")(adapters)
app.command("audit")(audit)
app.command("canary")(canary)
app.command("import-adapter")(import_adapter)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("simulate")(simulate)
app.command("export")(export)
app.add_typer(agents.app, name="agents")
app.add_typer(erasing.app, name="erase")
app.add_typer(keys.app, name="keys")
app.add_typer(suites.app, name="suite")


if __name__ == "__main__":
    app()
