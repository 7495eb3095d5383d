"""The decode loop, a thread of its own: who waits, who joins the batch, who leaves it, who is told; knows no HTTP."""

import asyncio
import logging
import threading
import time
from collections import deque

import torch

from engine.admission import SchedulerLimits, choose_joining
from engine.batch import RunningBatch
from engine.errors import BrokenWeightsError, BusyError, EngineDeadError, RequestError
from engine.generation import Delta, Generation
from engine.lora import Adapter
from engine.metrics import EngineMetrics
from engine.sampling import Sampled

log = logging.getLogger("engine")

Told = tuple[Generation, Delta | RequestError]

# Requests that arrive together are prefilled together: an idle engine waits until nobody has knocked for this long …
SETTLE_SECONDS = 0.002
# … but never longer than this.
MAX_SETTLE_SECONDS = 0.03


class Scheduler:
    """Owns the batch. Everything the thread does to it happens between two steps."""

    def __init__(
        self, batch: RunningBatch[Generation], limits: SchedulerLimits, metrics: EngineMetrics, threads: int = 1
    ) -> None:
        self._batch = batch
        self._limits = limits
        self._metrics = metrics
        self._threads = threads
        self._condition = threading.Condition()
        self._arrived: deque[Generation] = deque()
        self._waiting: deque[Generation] = deque()
        self._forgotten: deque[Adapter] = deque()
        self._knocking = 0
        self._is_stopping = False
        self._death: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._death is None and self._thread.is_alive()

    @property
    def running_count(self) -> int:
        return len(self._batch.rows)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting) + len(self._arrived)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start decoding; listeners are called on this event loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """End after the current step; what still runs is told."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        self._thread.join(timeout=30)

    def knock(self) -> None:
        """A request is being read and will be submitted in a moment."""
        self._knocking += 1

    def unknock(self) -> None:
        self._knocking -= 1

    def submit(self, generation: Generation) -> None:
        """Put a request in the waiting line; under the lock, so that it is never left in the line of a dead loop."""
        with self._condition:
            if self._is_stopping:
                raise BusyError("The engine is shutting down: try another one.")
            if not self.is_alive:
                raise EngineDeadError("The decode loop has died: restart the engine.")
            # Who finds a free row waits for a step at most, and is not counted as waiting.
            if self.running_count + self.waiting_count >= self._limits.max_num_seqs + self._limits.max_waiting:
                raise BusyError(
                    f"{self.waiting_count} requests are waiting already (--max-waiting {self._limits.max_waiting}): "
                    "try again later or on another engine."
                )
            self._arrived.append(generation)
            self._condition.notify()

    def abandon(self, generation: Generation) -> None:
        """Nobody listens any more: free the row at the next step."""
        generation.is_abandoned = True
        with self._condition:
            self._condition.notify()

    def forget(self, adapter: Adapter) -> None:
        """Free what is kept for an unloaded adapter, in the thread that uses it."""
        self._forgotten.append(adapter)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # OpenMP counts them thread by thread
        try:
            while self._await_work():
                self._turn()
            self._fail_everyone(BusyError("The engine is shutting down."))
        except BaseException as error:
            # Whatever it was, the batch's state is unknown: say so to everyone and to /health, and decode no more.
            with self._condition:
                self._death = error
            log.exception("the decode loop has died")
            self._fail_everyone(EngineDeadError("The decode loop has died; see the engine's log."))

    def _await_work(self) -> bool:
        with self._condition:
            was_idle = not self._batch.rows and not self._waiting
            while not (self._arrived or self._waiting or self._batch.rows or self._is_stopping):
                self._condition.wait()
            if self._is_stopping:
                return False
        if was_idle:
            self._settle()
        with self._condition:
            self._waiting.extend(self._arrived)
            self._arrived.clear()
        return True

    def _settle(self) -> None:
        deadline = time.monotonic() + MAX_SETTLE_SECONDS
        seen = -1
        while (self._knocking or len(self._arrived) != seen) and time.monotonic() < deadline:
            seen = len(self._arrived)
            time.sleep(SETTLE_SECONDS)

    def _turn(self) -> None:
        """One step of everybody: the abandoned leave, the waiting join, all advance."""
        while self._forgotten:
            self._batch.forget(self._forgotten.popleft())
        self._batch.leave([place for place, row in enumerate(self._batch.rows) if row.is_abandoned])
        self._waiting = deque(generation for generation in self._waiting if not generation.is_abandoned)
        told: list[Told] = []
        joining = choose_joining(self._batch.rows, self._waiting, self._limits)
        if joining:
            self._metrics.prompt_tokens.inc(sum(len(generation.prompt_ids) for generation in joining))
            self._hear(joining, self._batch.join(joining), told)
            self._let_finished_leave()
        if self._batch.rows:
            self._hear(self._batch.rows, self._batch.step(), told)
            self._let_finished_leave()
        self._tell(told)
        self._metrics.observe_adapters(self._batch.rows, self._waiting)

    def _hear(self, generations: list[Generation], sampled: Sampled, told: list[Told]) -> None:
        count = len(generations)
        tokens = sampled.tokens.tolist()
        logprobs = [None] * count if sampled.logprobs is None else sampled.logprobs.tolist()
        tops: list[list[tuple[int, float]]] = [[]] * count
        if sampled.top_tokens is not None and sampled.top_logprobs is not None:
            pairs = zip(sampled.top_tokens.tolist(), sampled.top_logprobs.tolist(), strict=True)
            tops = [list(zip(ids, values, strict=True)) for ids, values in pairs]
        if sampled.broken.any():
            self._fail_broken(generations, sampled.broken.tolist())
        for generation, token, logprob, top in zip(generations, tokens, logprobs, tops, strict=True):
            generation.hear(token, logprob, top)
            if (delta := generation.take_delta()) is not None:
                told.append((generation, delta))
        self._metrics.generation_tokens.inc(count)

    def _fail_broken(self, generations: list[Generation], broken: list[bool]) -> None:
        """Weights that overflow spoil the replies they make, and nobody else's."""
        for generation, is_broken in zip(generations, broken, strict=True):
            if is_broken:
                name = generation.adapter.name if generation.adapter is not None else "the base model"
                log.error("the logits of %s are not finite", name)
                generation.fail(BrokenWeightsError(f"The logits of {name} are not finite: its weights are unusable."))
                self._batch.scrub(self._batch.rows.index(generation))

    def _let_finished_leave(self) -> None:
        finished = [g for g in self._batch.rows if g.reply.finish_reason and g.failure is None]
        for generation in finished:
            self._metrics.observe_finished(generation)
        self._batch.leave([place for place, g in enumerate(self._batch.rows) if g.reply.finish_reason or g.failure])

    def _tell(self, told: list[Told]) -> None:
        """One wake-up of the event loop a step, however many rows there are."""
        if told and self._loop is not None:
            self._loop.call_soon_threadsafe(call_listeners, told)

    def _fail_everyone(self, error: RequestError) -> None:
        everyone = [*self._batch.rows, *self._waiting, *self._arrived]
        if self._loop is not None and not self._loop.is_closed():
            for generation in everyone:
                self._loop.call_soon_threadsafe(generation.listen, error)


def call_listeners(told: list[Told]) -> None:
    for generation, delta in told:
        generation.listen(delta)
