"""`GET /v1/models` as vLLM writes it: the base model, then each adapter with its parent."""

import time
from typing import Any

from engine.serving import Engine

STARTED = int(time.time())


def model_cards(engine: Engine) -> dict[str, Any]:
    """What can be named as `model` now."""
    base = card(engine.served_name, engine.model.root, parent=None, max_model_len=engine.model.max_model_len)
    adapters = [
        card(adapter.name, adapter.path, parent=engine.served_name, max_model_len=None)
        for adapter in engine.adapters.list()
    ]
    return {"object": "list", "data": [base, *adapters]}


def card(name: str, root: str, *, parent: str | None, max_model_len: int | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": STARTED,
        "owned_by": "nock",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [],
    }
