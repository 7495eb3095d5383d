"""The README's examples, as they stand there: pasted in order against a laptop stack, its port and model replaced."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.up import tether
from tests.fixtures.compose import ROOT
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.tiny_encoder import write_tiny_encoder
from tests.fixtures.tiny_model import write_tiny_model

START_SECONDS = 300
README = (ROOT / "README.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(r"(?ms)^```(sh|python)\n(.*?)^```$", README)


class Laptop:
    """A clone as the README sees it: `.venv/`, `agents/` and, once `nock up` runs, `.nock/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = find_free_port()
        (folder / ".venv").symlink_to(sys.prefix)
        shutil.copytree(ROOT / "agents", folder / "agents")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("NOCK_")}

    def run(self, language: str, example: str) -> str:
        """What an example prints; it must end well."""
        pasted = example.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        shell = ["bash", "-euo", "pipefail", "-c", pasted]
        command = shell if language == "sh" else [".venv/bin/python", "-c", pasted]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=START_SECONDS
        )
        assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(tmp_path)
    chosen = {
        "NOCK_PORT": str(made.port),
        "NOCK_ENGINE_PORT": str(find_free_port()),
        "NOCK_MODEL": str(write_tiny_model(tmp_path / "models" / "tiny")),
        "NOCK_CRITIC_ENCODER": str(write_tiny_encoder(tmp_path / "models" / "encoder")),
        "NOCK_LEARNER_THREADS": "1",
    }
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            tether.command([".venv/bin/nock", "up"], grace_seconds=60),
            env=made.environment | chosen,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Nock answers" not in log.read_text():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield made
    finally:
        up.communicate()  # closes the pipe, at which the tether has `nock up` stop everything


def test_the_examples_of_the_readme_work_as_pasted(laptop: Laptop) -> None:
    languages = [language for language, _ in EXAMPLES]
    assert languages == ["sh", "python", "python", "sh"], "an example was added: say here what it must print"
    talk, client, lessons, learn = (laptop.run(language, example) for language, example in EXAMPLES)

    said, judged, kept = read_objects(talk)
    assert (said["conversation_id"], said["adapter"]) == (kept["conversation_id"], "demo@base")
    assert judged["state"] == "matured"
    assert kept["return"] == 1.0
    assert len(kept["turns"][0]["completion_token_ids"]) == len(kept["turns"][0]["logprobs"]) > 0

    assert re.search(r"(?m)^turn: turn_\w+$", client)
    assert len(re.findall(r"(?m)^lesson-\d+: -?\d\.\d\d$", lessons)) == 24

    assert re.search(r"(?m)^run_\w+ succeeded: demo@v1$", learn)
    assert "demo@v1 is stable now" in learn
    assert re.search(r"turn_\w+ in conv_\w+ by demo@v1", learn)
    assert "demo@base is stable again" in learn


def read_objects(text: str) -> list[dict[str, object]]:
    """JSON objects that follow one another: curl ends none of them with a new line."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found
