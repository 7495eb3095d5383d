"""The decode loop tells everybody how it ended, even itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.admission import SchedulerLimits
from engine.batch import RunningBatch
from engine.errors import BusyError, EngineDeadError
from engine.generation import Delta, Generation
from engine.metrics import EngineMetrics
from engine.replying import Ending, ReplyText
from engine.sampling import SamplerRow, Sampling
from engine.scheduler import Scheduler
from tests.unit.engine.conftest import Opened

LIMITS = SchedulerLimits(max_num_seqs=4, max_waiting=4, max_loras=2, max_batched_tokens=512, max_cached_tokens=9999)


@pytest.fixture
async def scheduler(opened: Opened) -> AsyncIterator[Scheduler]:
    batch: RunningBatch[Generation] = RunningBatch(opened.model, opened.composition)
    scheduler = Scheduler(batch, LIMITS, EngineMetrics("base", 2))
    scheduler.start(asyncio.get_running_loop())
    yield scheduler
    await asyncio.to_thread(scheduler.stop)


def make_generation(opened: Opened, heard: "asyncio.Queue[object]", *, prompt: list[int], length: int) -> Generation:
    ending = Ending(max_tokens=length)
    return Generation(
        prompt_ids=prompt,
        sampler=SamplerRow(Sampling(temperature=0.0)),
        ending=ending,
        reply=ReplyText(opened.model.tokenizer.backend_tokenizer, prompt, ending),
        streams=False,
        listen=heard.put_nowait,
    )


async def until_it_runs(scheduler: Scheduler) -> None:
    async with asyncio.timeout(60):
        while not scheduler.running_count:  # noqa: ASYNC110 - another thread counts, and has no event of ours
            await asyncio.sleep(0.01)


async def test_a_loop_that_dies_tells_who_waits_and_takes_no_more(scheduler: Scheduler, opened: Opened) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    impossible = 10**6  # no such token: the embedding fails as a broken device would
    scheduler.submit(make_generation(opened, heard, prompt=[impossible], length=5))
    assert isinstance(await asyncio.wait_for(heard.get(), 60), EngineDeadError)
    assert not scheduler.is_alive
    with pytest.raises(EngineDeadError, match="restart the engine"):
        scheduler.submit(make_generation(opened, heard, prompt=[1], length=5))


async def test_a_loop_that_is_stopped_tells_who_still_decodes(scheduler: Scheduler, opened: Opened) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    scheduler.submit(make_generation(opened, heard, prompt=[1, 2], length=2000))
    await until_it_runs(scheduler)
    await asyncio.to_thread(scheduler.stop)
    assert isinstance(await asyncio.wait_for(heard.get(), 60), BusyError)
    with pytest.raises(BusyError, match="shutting down"):
        scheduler.submit(make_generation(opened, heard, prompt=[1], length=5))


async def test_who_was_abandoned_leaves_and_the_next_is_served(scheduler: Scheduler, opened: Opened) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    gone = make_generation(opened, heard, prompt=[1, 2], length=2000)
    scheduler.submit(gone)
    await until_it_runs(scheduler)
    scheduler.abandon(gone)
    scheduler.submit(make_generation(opened, heard, prompt=[3], length=4))
    delta = await asyncio.wait_for(heard.get(), 60)
    assert isinstance(delta, Delta)
    assert len(delta.token_ids) == 4
    assert gone.reply.token_count < 2000
