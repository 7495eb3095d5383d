"""The headers of a turn: the one that names its conversation, and those of its answer."""

from typing import Any
from urllib.parse import unquote

from core.domain.errors import InvalidRequestError
from service.limits import headers as limits
from service.openapi import described

DESCRIPTIONS = {
    "X-Conversation-Id": "Which conversation; not with `store: false`.",
    "X-Turn-Id": "Which turn.",
    "X-Adapter": "The version that spoke.",
    "X-Feedback-Token": "`nkf_…`: for 7 days the bearer with which a browser may post the agent's `browser_metric` of "
    "this turn to `POST /feedback`. Not where the agent names none, and not with `store: false`.",
}

DESCRIBED: dict[str, Any] = described(DESCRIPTIONS | limits.DESCRIPTIONS)


def read_conversation_id(header: str | None) -> str | None:
    """The client's id out of `X-Conversation-Id`, which is percent-encoded UTF-8; an empty one names none.

    Raises InvalidRequestError for anything else: ids that differ must not be read as one.
    """
    if not header:
        return None
    try:
        header.encode("ascii")
        return unquote(header, errors="strict")
    except UnicodeError as error:
        raise InvalidRequestError(
            "X-Conversation-Id must be percent-encoded UTF-8.", code="invalid_value", param="X-Conversation-Id"
        ) from error
