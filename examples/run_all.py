"""Run every example against a stack of its own, and say with which versions it went well. `make clients` calls it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
NOCK = ROOT / ".venv" / "bin" / "nock"
EXAMPLE_SECONDS = 600


@dataclass(frozen=True)
class Example:
    file: str
    packages: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return ["node" if self.file.endswith(".mjs") else str(PYTHON), str(EXAMPLES / self.file)]

    def versions(self) -> str:
        return ", ".join(f"{name} {self._version(name)}" for name in self.packages)

    def _version(self, package: str) -> str:
        if self.file.endswith(".mjs"):
            installed = EXAMPLES / "node" / "node_modules" / package / "package.json"
            return str(json.loads(installed.read_text())["version"])
        ask = [PYTHON, "-c", f"import importlib.metadata as m; print(m.version({package!r}))"]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()


ALL = (
    Example("with_openai.py", ("openai",)),
    Example("with_langchain.py", ("langchain-openai", "langchain-core")),
    Example("with_litellm.py", ("litellm",)),
    Example("with_nock_client.py", ("nock-client", "openai")),
    Example("node/with_openai.mjs", ("openai",)),
    Example("node/with_ai_sdk.mjs", ("ai", "@ai-sdk/openai-compatible")),
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nock-clients-") as home:
        port = free_port()
        stack = os.environ | {"NOCK_HOME": home, "NOCK_PORT": str(port), "NOCK_ENGINE_PORT": str(free_port())}
        # The examples meet the client as it is installed, and LiteLLM's prices without the network.
        clients = {name: value for name, value in stack.items() if name != "PYTHONPATH"}
        clients |= {"NOCK_URL": f"http://127.0.0.1:{port}", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        try:
            subprocess.run([NOCK, "up", "--detach"], env=stack, cwd=ROOT, check=True)
            rows = [run(example, clients) for example in ALL]
        finally:
            subprocess.run([NOCK, "down"], env=stack, cwd=ROOT, check=False)
    print("\n| example | versions | result | seconds |\n| --- | --- | --- | --- |")
    for example, ok, seconds in rows:
        print(f"| `{example.file}` | {example.versions()} | {'ok' if ok else 'FAILED'} | {seconds:.0f} |")
    return 0 if all(ok for _, ok, _ in rows) else 1


def run(example: Example, environment: dict[str, str]) -> tuple[Example, bool, float]:
    print(f"\n== {example.file}", flush=True)
    begun = time.monotonic()
    try:
        ok = subprocess.run(example.command, env=environment, timeout=EXAMPLE_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"It took longer than {EXAMPLE_SECONDS} s.", flush=True)
        ok = False
    return example, ok, time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
