"""`nock feedback`: say how a conversation or a turn went."""

from typing import Annotated, Any

import typer

from cli.gateway import Gateway, clear_errors
from cli.options import Key, Url


def feedback(
    conversation: Annotated[str, typer.Argument(help="The conversation's id, the service's or your own.")],
    value: Annotated[str, typer.Option(help="A number, true, false or a text, as the metric takes it.")],
    metric: Annotated[str, typer.Option(help="Which metric it is a value of.")] = "reward",
    turn: Annotated[str | None, typer.Option(help="Say it of this turn only.")] = None,
    final: Annotated[bool, typer.Option("--final", help="The conversation is over.")] = False,
    agent: Annotated[str | None, typer.Option(help="Whose conversation, where two agents share the id.")] = None,
    source: Annotated[str, typer.Option(help="Who says so.")] = "cli",
    comment: Annotated[str | None, typer.Option(help="Why.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice counts once.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Record an outcome: nock feedback conv_… --value 1.0 --final."""
    body: dict[str, Any] = {"conversation_id": conversation, "metric": metric, "value": parse_value(value)}
    optional = {
        "turn_id": turn,
        "agent": agent,
        "source": source,
        "comment": comment,
        "idempotency_key": idempotency_key,
    }
    body |= {name: given for name, given in optional.items() if given is not None}
    if final:
        body["final"] = True
    with clear_errors():
        stored = Gateway(url, key, scope="feedback").call("POST", "/feedback", body)
    typer.echo(f"{stored['feedback_id']} {metric} = {stored['value']}: {stored['state']}, {stored['consequence']}")


def parse_value(text: str) -> float | bool | str:
    """A boolean or number where it reads as one."""
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    if number != number or number in (float("inf"), float("-inf")):
        raise typer.BadParameter(f"{text} is not a finite number")
    return number
