"""The embedded engine as a process: how it starts, refuses to start, is full, adapts, and ends."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.engine_process import find_free_port, running_engine, start_engine, stop_engine, wait_until_healthy
from tests.fixtures.tiny_model import write_tiny_adapter

HELLO = [{"role": "user", "content": "Hello"}]


def start_and_fail(*options: str) -> str:
    """Start an engine that cannot start; what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "engine", "--threads", "1", *options], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr.strip().splitlines()[-1]


async def read_metrics(url: str) -> dict[str, float]:
    """Each metric's sum over its labels."""
    async with httpx.AsyncClient() as http:
        lines = (await http.get(f"{url}/metrics")).text.splitlines()
    samples = (line.rpartition(" ") for line in lines if line.startswith("vllm:"))
    sums: dict[str, float] = {}
    for name, _, value in samples:
        metric = name.partition("{")[0]
        sums[metric] = sums.get(metric, 0.0) + float(value)
    return sums


def test_help_needs_no_torch_and_answers_at_once() -> None:
    code = (
        "import sys; from engine.__main__ import read_options as r; r(['--model', 'x']); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said = start_and_fail("--model", str(tmp_path), "--port", str(find_free_port()))
    assert "is not a model folder, it has no config.json" in said


def test_a_model_without_a_chat_template_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template" in start_and_fail("--model", str(folder), "--port", str(find_free_port()))


def test_a_taken_port_is_named(tiny_model_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in start_and_fail("--model", str(tiny_model_folder), "--port", port)


def test_a_context_longer_than_the_model_is_refused(tiny_model_folder: Path) -> None:
    options = ("--model", str(tiny_model_folder), "--port", str(find_free_port()), "--dtype", "float32")
    assert "--max-model-len 9999 is more than" in start_and_fail(*options, "--max-model-len", "9999")


def test_the_fastest_number_format_is_measured_once_and_remembered(tiny_model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    port = find_free_port()
    options = ("--dtype", "auto", "--calibration-file", str(file))
    said = []
    for attempt in range(2):
        log = tmp_path / f"{attempt}.log"
        process = start_engine(tiny_model_folder, port, *options, log=log)
        wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
        assert stop_engine(process) == 0
        said.append(log.read_text())
    assert "tokens a second" in said[0]
    assert file.exists()
    assert "tokens a second" not in said[1]


async def test_a_full_engine_answers_503_and_serves_who_waited(tiny_model_folder: Path, tmp_path: Path) -> None:
    options = ("--max-num-seqs", "1", "--max-waiting", "2", "--max-model-len", "1024")
    with running_engine(tiny_model_folder, *options, log=tmp_path / "log") as url:
        async with httpx.AsyncClient(timeout=120) as http:
            body = {"messages": HELLO, "max_tokens": 200, "ignore_eos": True}
            asked = [asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=body)) for _ in range(6)]
            answers = await asyncio.gather(*asked)
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503, 503]
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert "--max-waiting 2" in busy.json()["error"]["message"]


async def test_more_adapters_than_one_batch_mixes_wait_and_are_all_served(
    tiny_model_folder: Path, adapter_folders: list[Path], tmp_path: Path
) -> None:
    with running_engine(tiny_model_folder, "--max-loras", "1", log=tmp_path / "log") as url:
        async with httpx.AsyncClient(timeout=120) as http:
            for number, folder in enumerate(adapter_folders[:3]):
                lora = {"lora_name": f"a{number}", "lora_path": str(folder)}
                assert (await http.post(f"{url}/v1/load_lora_adapter", json=lora)).status_code == 200
            body: dict[str, Any] = {"messages": HELLO, "max_tokens": 20, "temperature": 0, "return_token_ids": True}
            asked = [
                http.post(f"{url}/v1/chat/completions", json=body | {"model": name})
                for name in ("a0", "a1", "base", "a2", "a0")
            ]
            answers = [answer.json() for answer in await asyncio.gather(*asked)]
        replies = [tuple(answer["choices"][0]["token_ids"]) for answer in answers]
        assert replies[0] == replies[4]
        assert len(set(replies)) == 4


async def test_a_client_that_waits_for_a_whole_answer_and_hangs_up_frees_its_row(embedded_engine_url: str) -> None:
    before = (await read_metrics(embedded_engine_url))["vllm:generation_tokens_total"]
    async with httpx.AsyncClient(timeout=0.7) as http:
        body = {"messages": HELLO, "max_tokens": 2000, "ignore_eos": True}
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"{embedded_engine_url}/v1/chat/completions", json=body)
    deadline = time.monotonic() + 5
    while (await read_metrics(embedded_engine_url))["vllm:num_requests_running"]:
        assert time.monotonic() < deadline
    assert (await read_metrics(embedded_engine_url))["vllm:generation_tokens_total"] - before < 1900


async def test_adapter_calls_answer_as_vllm_does(
    embedded_engine_url: str, tiny_model_folder: Path, adapter_folders: list[Path], tmp_path: Path
) -> None:
    wide = write_tiny_adapter(tmp_path / "wide", tiny_model_folder, rank=32)
    calls: list[tuple[str, dict[str, Any], int, str]] = [
        ("load", {"lora_name": "w", "lora_path": str(wide)}, 500, "InternalServerError"),
        ("load", {"lora_name": "w", "lora_path": str(tmp_path)}, 404, "NotFoundError"),
        ("load", {"lora_name": "w"}, 400, "Bad Request"),
        ("load", {"lora_name": "", "lora_path": "x"}, 400, "InvalidUserInput"),
        ("load", {"lora_name": "tiny", "lora_path": "x"}, 400, "InvalidUserInput"),
        ("unload", {"lora_name": "w"}, 404, "NotFoundError"),
        ("unload", {"lora_name": ""}, 400, "InvalidUserInput"),
        ("load", {"lora_name": "w", "lora_path": str(adapter_folders[0])}, 200, ""),
        ("load", {"lora_name": "w", "lora_path": str(adapter_folders[1])}, 400, "InvalidUserInput"),
        (
            "load",
            {"lora_name": "w", "lora_path": str(adapter_folders[1]), "load_inplace": True},
            400,
            "InvalidUserInput",
        ),
        ("unload", {"lora_name": "w"}, 200, ""),
    ]
    async with httpx.AsyncClient(timeout=60) as http:
        for verb, body, status, kind in calls:
            answer = await http.post(f"{embedded_engine_url}/v1/{verb}_lora_adapter", json=body)
            assert answer.status_code == status, (body, answer.text)
            if kind:
                assert answer.json()["error"]["type"] == kind
            else:
                assert answer.text.startswith("Success: LoRA adapter 'w'")
        models = (await http.get(f"{embedded_engine_url}/v1/models")).json()["data"]
    served = [card["id"] for card in models]
    assert "tiny" in served
    assert "w" not in served  # other tests' versions may still drain from this engine


async def test_sigterm_lets_a_reply_end_and_then_the_process(tiny_model_folder: Path, tmp_path: Path) -> None:
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    process = start_engine(tiny_model_folder, port, log=tmp_path / "log")
    wait_until_healthy(url, process, tmp_path / "log")
    async with httpx.AsyncClient(timeout=60) as http:
        body = {"messages": HELLO, "max_tokens": 60, "ignore_eos": True, "stream": True}
        async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines]
    assert rest[-2] == "data: [DONE]"
    assert await asyncio.to_thread(stop_engine, process) == 0


async def test_metrics_count_tokens_and_name_the_adapters_that_run(
    embedded_engine_url: str, adapter_folders: list[Path]
) -> None:
    before = await read_metrics(embedded_engine_url)
    async with httpx.AsyncClient(timeout=60) as http:
        lora = {"lora_name": "counted", "lora_path": str(adapter_folders[0])}
        await http.post(f"{embedded_engine_url}/v1/load_lora_adapter", json=lora)
        body = {"model": "counted", "messages": HELLO, "max_tokens": 400, "ignore_eos": True, "stream": True}
        async with http.stream("POST", f"{embedded_engine_url}/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            for _ in range(5):
                await anext(lines)
            text = (await http.get(f"{embedded_engine_url}/metrics")).text
            [line async for line in lines]
        await http.post(f"{embedded_engine_url}/v1/unload_lora_adapter", json={"lora_name": "counted"})
        version = (await http.get(f"{embedded_engine_url}/version")).json()
        assert (await http.get(f"{embedded_engine_url}/ping")).status_code == 200
    assert 'running_lora_adapters="counted"' in text
    assert 'max_lora="8"' in text
    after = await read_metrics(embedded_engine_url)
    assert after["vllm:generation_tokens_total"] - before["vllm:generation_tokens_total"] == 400
    assert after["vllm:request_success_total"] == before.get("vllm:request_success_total", 0) + 1
    assert version["version"]


async def test_an_adapter_that_overflows_spoils_nobody_elses_reply(
    embedded_engine_url: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = write_tiny_adapter(tmp_path / "huge", tiny_model_folder, scale=1e30)
    body: dict[str, Any] = {"messages": HELLO, "max_tokens": 40, "temperature": 0, "return_token_ids": True}
    url = f"{embedded_engine_url}/v1/chat/completions"
    async with httpx.AsyncClient(timeout=60) as http:
        alone = (await http.post(url, json=body)).json()
        lora = {"lora_name": "huge", "lora_path": str(folder)}
        assert (await http.post(f"{embedded_engine_url}/v1/load_lora_adapter", json=lora)).status_code == 200
        asked = [http.post(url, json=body | {"model": model}) for model in ("tiny", "huge", "tiny", "huge", "tiny")]
        answers = await asyncio.gather(*asked)
        answers.append(await http.post(url, json=body))
        await http.post(f"{embedded_engine_url}/v1/unload_lora_adapter", json={"lora_name": "huge"})
        assert (await http.get(f"{embedded_engine_url}/health")).status_code == 200
    assert [answer.status_code for answer in answers] == [200, 500, 200, 500, 200, 200]
    assert "The logits of huge are not finite" in answers[1].json()["error"]["message"]
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["choices"] == alone["choices"]
