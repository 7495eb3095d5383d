"""LiteLLM's proxy before the mock engine: one worker, no database, silent."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.gateway.engine import MODEL
from bench.gateway.stack import PYTHON_OF_GATEWAYS, Ground
from bench.gateway.targets import CHAT, Target, held_by
from bench.outcomes import servers
from bench.swap.stack import free_port

KEY = "sk-this-key-opens-nothing-but-a-mock"
CONFIG = """
model_list:
  - model_name: {model}
    litellm_params: {{model: hosted_vllm/{model}, api_base: "{engine}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
"""


@contextmanager
def running(ground: Ground) -> Iterator[Target]:
    folder = ground.folder / "litellm"
    folder.mkdir(exist_ok=True)
    config, port = folder / "config.yaml", free_port()
    config.write_text(CONFIG.format(model=MODEL, engine=ground.engine_url))
    argv = [str(PYTHON_OF_GATEWAYS.parent / "litellm"), f"--config={config}", f"--port={port}", "--host=127.0.0.1"]
    environment = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    url = f"http://127.0.0.1:{port}"
    with servers.running(
        argv, environment, folder / "log", lambda: servers.answers(f"{url}/health/liveliness"), stop="TERM"
    ) as tether:
        yield Target("litellm", url + CHAT, MODEL, tuple(held_by(tether.pid)), KEY)
