"""The headers of an answered turn: their names, and what the API's description says of them."""

from typing import Any

DESCRIPTIONS = {
    "X-Conversation-Id": "Which conversation; not with `store: false`.",
    "X-Turn-Id": "Which turn.",
    "X-Adapter": "The version that spoke.",
    "X-Feedback-Token": "`nkf_…`: for 7 days the bearer with which a browser may post the agent's `browser_metric` of "
    "this turn to `POST /feedback`. Not where the agent names none, and not with `store: false`.",
}

DESCRIBED: dict[str, Any] = {
    name: {"description": description, "schema": {"type": "string"}} for name, description in DESCRIPTIONS.items()
}
