"""Look at what was said, and say that no more will come."""

from nock_client.call import Call, get, given, part
from nock_client.shapes import Conversation, ModelCard, ModelList


def models() -> Call[ModelList]:
    """The agents that this key may talk to."""
    return get("/v1/models")


def model(model: str) -> Call[ModelCard]:
    """One of them."""
    return get(f"/v1/models/{part(model)}")


def conversation(conversation_id: str, *, agent: str | None = None, tokens: bool | None = None) -> Call[Conversation]:
    """A conversation by the service's id or your own; `agent` where two agents share it, `tokens` for ids as well."""
    return get(f"/conversations/{part(conversation_id)}", agent=agent, tokens=tokens)


def close_conversation(conversation_id: str, *, agent: str | None = None) -> Call[Conversation]:
    """Say that no further turn will come; its outcome may come later."""
    path = f"/conversations/{part(conversation_id)}/close"
    return Call("POST", path, given({"agent": agent}), repeatable=True)
