"""Agents: list, look, make, change."""

from typing import Unpack

from nock_client.call import Call, get, part
from nock_client.shapes import Agent, AgentFields, Page


def agents() -> Call[Page[Agent]]:
    """The agents that this key may see."""
    return get("/admin/agents")


def agent(agent: str) -> Call[Agent]:
    """One agent: model, prompt, metrics, schedule, gates."""
    return get(f"/admin/agents/{part(agent)}")


def create_agent(name: str, **fields: Unpack[AgentFields]) -> Call[Agent]:
    """A new agent; without `base_model` it is served by the base that the engines report."""
    return Call("POST", "/admin/agents", body={"name": name, **fields})


def change_agent(agent: str, **fields: Unpack[AgentFields]) -> Call[Agent]:
    """Change what is named; the rest stays."""
    return Call("PATCH", f"/admin/agents/{part(agent)}", body=fields, repeatable=True)
