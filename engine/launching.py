"""Builds an engine out of its options and serves it until a signal ends it."""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import psutil
import torch
import uvicorn
from transformers.utils import logging as transformers_logging

from engine.adapters import AdapterLimits, AdapterStore
from engine.admission import SchedulerLimits
from engine.app import create_app
from engine.batch import Row, RunningBatch
from engine.calibration import choose_dtype, dtype_named, name_of, say
from engine.errors import StartError
from engine.generation import Generation
from engine.lora import Composition, adapt_linears
from engine.metrics import EngineMetrics
from engine.model import LanguageModel, choose_device, open_model, read_config, read_tokenizer
from engine.rendering import TokenNames
from engine.sampling import SamplerRow, Sampling
from engine.scheduler import Scheduler
from engine.serving import Engine

Result = TypeVar("Result")

DRAIN_SECONDS = 5


def serve(options: argparse.Namespace) -> None:
    """Load, then serve until SIGTERM or SIGINT."""
    quieten_libraries()
    listener = bind(options.host, options.port)
    threads = options.threads or torch.get_num_threads()
    # One team of OpenMP threads in the whole process. With a second one (this thread's own) there would be more threads
    # than processors, OpenMP would stop spinning between the hundreds of small products of a step and sleep instead,
    # and a step would take twice as long. So this thread computes nothing in parallel: see docs/decisions/0008.
    torch.set_num_threads(1)
    device = choose_device()
    # Cheap checks first: a wrong folder is told before anything is measured.
    read_config(options.model)
    read_tokenizer(options.model)
    if options.dtype == "auto":
        dtype = in_own_thread(threads, lambda: choose_dtype(options.model, device, calibration_file(options)))
        gc.collect()
    else:
        dtype = dtype_named(options.dtype)
    say(f"Loading {options.model} in {name_of(dtype)} on {device} …")
    engine = in_own_thread(
        threads,
        lambda: build_engine(open_model(options.model, dtype, device, options.max_model_len), options, threads),
    )
    say(f"Serving {engine.served_name} on http://{options.host}:{options.port}")
    config = uvicorn.Config(
        create_app(engine), log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS
    )
    # uvicorn raises the signal again once it has drained; the end that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[listener])


def in_own_thread(threads: int, compute: Callable[[], Result]) -> Result:
    """Compute in a thread that may use so many processors, and whose team of helpers ends with it."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as executor:
        return executor.submit(compute).result()


def build_engine(model: LanguageModel, options: argparse.Namespace, threads: int) -> Engine:
    """The parts of an engine, put together and warmed up by one step."""
    composition = Composition()
    layers = adapt_linears(model.network, composition)
    batch: RunningBatch[Generation] = RunningBatch(model, composition)
    warm_up(model, composition)
    name = options.served_model_name or options.model
    metrics = EngineMetrics(name, options.max_loras)
    limits = SchedulerLimits(
        max_num_seqs=options.max_num_seqs,
        max_waiting=options.max_waiting,
        max_loras=options.max_loras,
        max_batched_tokens=options.max_num_batched_tokens,
        max_cached_tokens=choose_cached_tokens(model, options.kv_cache_memory_bytes),
    )
    scheduler = Scheduler(batch, limits, metrics, threads)
    metrics.read_counts(lambda: scheduler.running_count, lambda: scheduler.waiting_count)
    return Engine(
        model=model,
        served_name=name,
        adapters=AdapterStore(name, layers, AdapterLimits(options.max_lora_rank, options.max_cpu_loras)),
        scheduler=scheduler,
        metrics=metrics,
        names=TokenNames(model),
    )


def warm_up(model: LanguageModel, composition: Composition) -> None:
    """Decode two tokens: a model that cannot be served so fails now, not at its first request."""
    batch: RunningBatch[Row] = RunningBatch(model, composition)
    try:
        batch.join([Row([0, 1], SamplerRow(Sampling(temperature=0.0))), Row([0], SamplerRow(Sampling()))])
        batch.step()
    # What a model that this engine does not know raises depends on its code, not on ours: any of these says so.
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise StartError(f"{model.root} does not decode in this engine, serve it with vLLM instead: {error}") from error


def choose_cached_tokens(model: LanguageModel, memory_bytes: int | None) -> int:
    """How many tokens' keys and values fit into the memory given, by default a third of what is free."""
    if memory_bytes is None:
        free = torch.cuda.mem_get_info()[0] if model.device.type == "cuda" else psutil.virtual_memory().available
        memory_bytes = free // 3
    config = model.network.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return int(max(memory_bytes // token_bytes, model.max_model_len))


def calibration_file(options: argparse.Namespace) -> Path:
    if options.calibration_file:
        return Path(options.calibration_file)
    return Path(os.environ.get("NOCK_HOME", ".nock")) / "engine-calibration.json"


def bind(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded: a taken one is told in a second, not in thirty."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"Cannot listen on {host}:{port} ({error.strerror}): end what uses it, or choose another --port."
        ) from error
    return listener


def quieten_libraries() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
