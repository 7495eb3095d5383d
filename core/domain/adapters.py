"""Adapter versions: how they are named and which states they pass through."""

import re
from dataclasses import dataclass
from enum import StrEnum

BASE_NUMBER = 0
"""The number of the version that is the base model without any adapter."""

AGENT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""Agent names become parts of adapter names and folders, so nothing in them may mean something to a file system."""


class AdapterState(StrEnum):
    CANDIDATE = "candidate"
    CANARY = "canary"
    STABLE = "stable"
    RETIRED = "retired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class AdapterName:
    """`support@v12`, or `support@base`: what clients, the engine and the logs call a version."""

    agent: str
    number: int

    def __str__(self) -> str:
        return f"{self.agent}@base" if self.number == BASE_NUMBER else f"{self.agent}@v{self.number}"


def parse_adapter_name(text: str) -> AdapterName | None:
    """The version that `text` names, or None when it names none."""
    agent, separator, version = text.partition("@")
    if not separator or not AGENT_NAME.fullmatch(agent):
        return None
    if version == "base":
        return AdapterName(agent, BASE_NUMBER)
    if re.fullmatch(r"v[1-9][0-9]{0,8}", version):
        return AdapterName(agent, int(version[1:]))
    return None
