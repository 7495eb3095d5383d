"""The life of outcomes in any order, beside a slow and obvious model of its rules. `make soak-outcomes`: the long form.

Each step is done to the running gateway and to the model, and then both must tell the same.
"""

import asyncio
import logging
import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from core.storage.database import Database
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.outcomes.machine import Outcomes
from tests.fixtures.outcomes.world import World
from tests.fixtures.scripted_engine import ScriptedEngine

SHORT = settings(max_examples=20, stateful_step_count=40, derandomize=True)


async def test_whatever_is_told_in_whatever_order_the_service_shows_what_the_rules_say(
    gateway: RunningGateway,
    database: Database,
    database_url: str,
    scripted_engine: ScriptedEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for noisy in ("httpx", "uvicorn.access"):
        caplog.set_level(logging.WARNING, noisy)  # a line a request is a tenth of all the time
    world = World(gateway, database, database_url, scripted_engine, asyncio.get_running_loop())
    form = settings() if settings.get_current_profile_name() == "soak" else SHORT
    patient = settings(form, deadline=None, suppress_health_check=list(HealthCheck))

    def machine() -> Outcomes:
        return Outcomes(world)

    try:
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=patient)  # type: ignore[arg-type]
    finally:
        world.close()
        sys.stdout.write(world.report())
