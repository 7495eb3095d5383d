"""Versions: look at them, bring one in, and decide on it."""

from pathlib import Path
from typing import Literal

from nock_client.call import Call, get, given, part
from nock_client.shapes import Adapter, EvaluationQueued, Lineage, Page, Rollout

FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapters(agent: str) -> Call[Page[Adapter]]:
    """The agent's versions, with state, parent, evidence and checksums."""
    return get(f"/admin/agents/{part(agent)}/adapters")


def adapter(adapter: str) -> Call[Adapter]:
    """One version, such as `support@v12`."""
    return get(f"/admin/adapters/{part(adapter)}")


def lineage(adapter: str, *, after: str | None = None, limit: int | None = None) -> Call[Lineage]:
    """The turns and outcomes that it learned from."""
    return get(f"/admin/adapters/{part(adapter)}/lineage", after=after, limit=limit)


def import_adapter(
    agent: str,
    folder: str | Path,
    *,
    sha256: str | None = None,
    name: str | None = None,
    base_model: str | None = None,
) -> Call[Adapter]:
    """Make a peft LoRA that was trained elsewhere the agent's newest candidate.

    `sha256` is of `adapter_model.safetensors`, compared if given; `base_model` where its configuration does not say.
    """
    return Call(
        "POST",
        f"/admin/agents/{part(agent)}/adapters",
        body=given({"sha256": sha256, "name": name, "base_model": base_model}),
        files={file: Path(folder) / file for file in FILES},
        repeatable=True,
    )


def run_suite(adapter: str) -> Call[EvaluationQueued]:
    """Have a version asked the prompts of its agent's regression suite."""
    return Call("POST", f"/admin/adapters/{part(adapter)}/suite")


def promote(adapter: str, *, reason: str | None = None, force: bool | None = None) -> Call[Rollout]:
    """Make it the stable version; ConflictError names the evidence that is missing. Idempotent."""
    body = given({"reason": reason, "force": force})
    return Call("POST", f"/admin/adapters/{part(adapter)}/promote", body=body, repeatable=True)


def canary(adapter: str, weight: float, *, reason: str | None = None, force: bool | None = None) -> Call[Rollout]:
    """Let a share of new conversations, from 0 to 1, meet it; 0 stops its trial."""
    body = given({"weight": weight, "reason": reason, "force": force})
    return Call("POST", f"/admin/adapters/{part(adapter)}/canary", body=body)


def reject(adapter: str, *, reason: str | None = None, open: Literal["cut", "finish"] | None = None) -> Call[Adapter]:
    """Take it out of service for ever. `open`: what becomes of the conversations that it serves now."""
    body = given({"reason": reason, "open": open})
    return Call("POST", f"/admin/adapters/{part(adapter)}/reject", body=body)
