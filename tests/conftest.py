"""Fixtures that every test may ask for."""

from hypothesis import settings
from jaxtyping import install_import_hook

from core.logging import configure_logging
from core.settings import LogSettings

configure_logging(LogSettings())

# The long form of what draws its steps: other ones each time, and thousands of them.
settings.register_profile("soak", max_examples=150, stateful_step_count=60, derandomize=False)

# Under test each tensor of the algorithm must have the shape that its signature names. Here, before anything imports
# it. Not config and types: they check their own values, with errors that say what to do.
ARITHMETIC = (
    "actor actor_training advantages critic critic_training diagnostics dialogues distributions episodes heads "
    "importance learner losses returns rows spoken target text_reader token_baseline token_reader traces valuing"
)
install_import_hook([f"worker.archer.{module}" for module in ARITHMETIC.split()], "beartype.beartype")

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.database",
    "tests.fixtures.collector",
    "tests.fixtures.scripted_engine",
    "tests.fixtures.gateway",
    "tests.fixtures.engines",
    "tests.fixtures.embedded_engine",
    "tests.fixtures.vllm_process",
]
