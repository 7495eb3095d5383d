"""A learner run's phases, as a collector gets them."""

from core import tracing
from core.storage import models
from core.storage.database import Database
from tests.fixtures.collector import Collector
from tests.fixtures.conversations import create_mixed
from tests.fixtures.runs import queue_run
from tests.integration.worker.conftest import Step


async def test_a_run_is_told_phase_by_phase(
    collector: Collector, database: Database, agent: models.Agent, step: Step
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    tracing.set_up("nock-worker")
    with tracing.span_from({}, "run learning.step"):
        await step(run_id)
    await collector.wait_for(lambda: any(span.name == "run learning.step" for span in collector.spans))
    run = collector.named("run learning.step")
    phases = ("learner.prepare", "learner.train", "learner.register")
    assert [collector.named(phase).parent for phase in phases] == [run.id] * 3
    assert (run.attributes["nock.agent"], run.failed) == (agent.name, False)
    assert {span.parent for span in collector.spans if span.name == "transaction"} >= {run.id}
