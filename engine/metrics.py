"""What Prometheus sees, under vLLM's names where vLLM has one; knows no HTTP."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from engine.generation import Generation

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


class EngineMetrics:
    """The engine's counters, in a registry of their own."""

    def __init__(self, model_name: str, max_loras: int) -> None:
        self.registry = CollectorRegistry()
        self._model_name = model_name
        self._max_loras = str(max_loras)
        self._running = self._gauge("num_requests_running", "Number of requests in model execution batches.")
        self._waiting = self._gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        self.prompt_tokens = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = self._counter("generation_tokens", "Number of generation tokens processed.")
        self._success = Counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            ["model_name", "engine", "finished_reason"],
            registry=self.registry,
        )
        self._first_token = self._histogram(
            "time_to_first_token_seconds", "Histogram of time to first token in seconds."
        )
        self._latency = self._histogram("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.")
        self._lora = Gauge(
            "vllm:lora_requests_info",
            "Running stats on lora requests.",
            ["max_lora", "waiting_lora_adapters", "running_lora_adapters"],
            registry=self.registry,
        )
        self._adapters: tuple[str, str] | None = None

    def read_counts(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Ask the scheduler at the moment of the scrape."""
        self._running.set_function(running)
        self._waiting.set_function(waiting)

    def observe_adapters(self, running: Iterable[Generation], waiting: Iterable[Generation]) -> None:
        """Which adapters decode and which wait; one series, as in vLLM: the newest."""
        adapters = (names(waiting), names(running))
        if adapters != self._adapters:
            self._adapters = adapters
            self._lora.clear()
            self._lora.labels(self._max_loras, *adapters).set(time.time())

    def observe_finished(self, generation: Generation) -> None:
        now = time.monotonic()
        self._success.labels(self._model_name, "0", generation.reply.finish_reason).inc()
        self._first_token.observe((generation.first_token_at or now) - generation.arrived_at)
        self._latency.observe(now - generation.arrived_at)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        gauge = Gauge(f"vllm:{name}", documentation, ["model_name", "engine"], registry=self.registry)
        return gauge.labels(self._model_name, "0")

    def _counter(self, name: str, documentation: str) -> Counter:
        counter = Counter(f"vllm:{name}", documentation, ["model_name", "engine"], registry=self.registry)
        return counter.labels(self._model_name, "0")

    def _histogram(self, name: str, documentation: str) -> Histogram:
        histogram = Histogram(
            f"vllm:{name}", documentation, ["model_name", "engine"], registry=self.registry, buckets=SECONDS
        )
        return histogram.labels(self._model_name, "0")


def names(generations: Iterable[Generation]) -> str:
    return ",".join(sorted({g.adapter.name for g in generations if g.adapter is not None}))
