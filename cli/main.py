"""The `nock` command: what it is called and what it takes. The work is imported when a command runs."""

from typing import Annotated

import typer

app = typer.Typer(
    name="nock",
    help="Online learning for deployed chat agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
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


if __name__ == "__main__":
    app()
