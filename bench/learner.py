"""How many tokens a second the learner step trains, beside a bare forward-backward loop over the same tokens.

Both run over the same conversations, rows, micro-batches, model, LoRA, dtype and threads, and alternate in one process.
A token is counted as trained when it is a token of a reply and its log-prob went through forward and backward; a pass
over the data counts each once. The bare loop does nothing else: no critic, ratio, clipping, optimiser or KL check.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.critic import build_critic
from worker.archer.fresh import Decode
from worker.archer.learner import Learner
from worker.archer.rows import build_rows, build_table, collate, micro_batches
from worker.archer.types import Figures, Transition
from worker.encoder import packaged_encoder

RESULT = Path(__file__).parent / "results" / "learner.json"
GOAL = 0.85
SYSTEM = (
    "You are the support agent of a small shop that sells bicycles, parts and repairs. Be brief, be kind, and "
    "answer in two or three sentences. The shop is open from nine to six on weekdays and from ten to two on "
    "Saturdays. Returns are accepted for thirty days with a receipt. Repairs take three to five days; a puncture "
    "is mended while you wait."
)
QUESTIONS = (
    "My chain keeps slipping on the hills, what can I do about it?",
    "Do you have a helmet for a child of six, and what does it cost?",
    "I want to return a pump that I bought last week.",
    "Could I come by tomorrow morning before work?",
    "My brakes squeal when it rains. Is that dangerous?",
    "I lost my receipt, can I still return a lamp?",
)
ANSWERS = (
    "Thank you for asking. Please bring the bicycle in, we will look at it while you wait, and it costs nothing.",
    "That is no problem at all. We keep several in stock, and you may try them all before you decide which to take.",
    "I am sorry to hear that. Most often a cable has stretched a little; turn the small barrel by half a turn.",
    "Yes, of course. We open at nine, and there is coffee. If you come on Saturday, remember that we close at two.",
)


def conversations(model: Path, count: int, turns: int, longer: int, seed: int) -> list[Transition]:
    """Conversations whose replies the model is shown, token by token, as an engine would have logged them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    chance = random.Random(seed)
    transitions = []
    for number in range(count):
        messages = [{"role": "system", "content": SYSTEM}]
        for index in range(turns):
            messages.append({"role": "user", "content": chance.choice(QUESTIONS)})
            observation = _text(messages)
            # tokenize=True gives ids, of which the signature knows nothing.
            prompt: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            answer = " ".join(chance.sample(ANSWERS, longer * chance.choice((1, 2))))
            completion = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
            messages.append({"role": "assistant", "content": answer})
            is_last = index + 1 == turns
            transitions.append(
                Transition(
                    episode=f"conversation {number}",
                    observation=observation,
                    utterance=answer,
                    next_observation=_text(messages) if is_last else f"{_text(messages)}\nuser: (next)",
                    reward=float(number % 2) if is_last else 0.0,
                    terminal=is_last,
                    prompt_ids=tuple(prompt),
                    completion_ids=tuple(completion),
                    behaviour_logprobs=(-1.0,) * len(completion),
                    temperature=1.0,
                    trains_actor=True,
                    on_policy=True,
                )
            )
    return transitions


def _text(messages: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def bare_loop(actor: Actor, transitions: Sequence[Transition], config: ArcherConfig) -> tuple[float, int]:
    """Forward and backward of the same micro-batches, as often as the learner passes over them: seconds and tokens."""
    device = actor.device
    rows = build_rows(transitions, config.max_prompt_tokens)
    temperature = build_table(transitions, device).temperature
    started, tokens = time.perf_counter(), 0
    for _ in range(config.actor_epochs):
        for together in micro_batches(rows, config.max_tokens_per_microbatch):
            batch = collate(together, device)
            logits = actor.model(input_ids=batch.ids, logits_to_keep=batch.predicts, use_cache=False).logits
            loss = functional.cross_entropy(logits / temperature[batch.table].unsqueeze(-1), batch.targets)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            tokens += len(batch.targets)
    seconds = time.perf_counter() - started
    for parameter in actor.parameters():
        parameter.grad = None
    return seconds, tokens


def step(
    actor: Actor, transitions: Sequence[Transition], config: ArcherConfig, decode: Decode
) -> tuple[float, Figures]:
    """One whole learner step with a fresh critic, models already loaded."""
    learner = Learner(actor, build_critic(actor, packaged_encoder(), config), config, decode=decode)
    started = time.perf_counter()
    figures = learner.update(transitions)
    return time.perf_counter() - started, figures


def measure(model: Path, count: int, turns: int, longer: int, rounds: int, threads: int) -> dict[str, object]:
    """Alternate the two, and compare the medians."""
    torch.set_num_threads(threads)
    load = os.getloadavg()[0]
    # A budget that ends a pass early, or a gate that leaves the actor out, would compare unequal work.
    config = ArcherConfig(kl_budget=None, critic_gate=None)
    transitions = conversations(model, count, turns, longer, seed=0)
    actor = Actor.from_pretrained(model, config)
    tokenizer = AutoTokenizer.from_pretrained(model)
    bare, whole, shares, last = [], [], [], None
    bare_loop(actor, transitions[:turns], config)  # the first pass pays for allocations
    for _ in range(rounds):
        bare_seconds, tokens = bare_loop(actor, transitions, config)
        seconds, last = step(actor, transitions, config, lambda ids: str(tokenizer.decode(list(ids))))
        assert last.actor is not None
        assert last.actor.tokens_trained == tokens, "the two did not train the same tokens"
        bare.append(tokens / bare_seconds)
        whole.append(tokens / seconds)
        shares.append(bare_seconds / seconds)
    assert last is not None
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}, float32",
        "load_at_start": load,
        "conversations": count,
        "turns": len(transitions),
        "rows": last.rows,
        "tokens_trained_per_step": last.actor.tokens_trained if last.actor else 0,
        "prompt_tokens_median": statistics.median(len(turn.prompt_ids) for turn in transitions),
        "reply_tokens_median": statistics.median(len(turn.completion_ids) for turn in transitions),
        "bare_tokens_per_second": bare,
        "learner_tokens_per_second": whole,
        "share": statistics.median(shares),
        "shares": shares,
        "goal": GOAL,
        "step_seconds": last.seconds,
        "peak_memory_bytes": last.peak_memory_bytes,
        "config": config.to_json(),
    }


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    home = Path(os.environ.get("NOCK_HOME", ".nock"))
    parser.add_argument("--model", type=Path, default=home / "models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--conversations", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--longer", type=int, choices=(1, 2), default=1, help="times as many sentences in each reply")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if not (given.model / "config.json").is_file():
        parser.error(f"{given.model} is no model folder: write it with 'python -m engine.packaged_model {given.model}'")
    result = measure(given.model, given.conversations, given.turns, given.longer, given.rounds, given.threads)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    for name in ("turns", "rows", "tokens_trained_per_step", "bare_tokens_per_second", "learner_tokens_per_second"):
        print(f"{name:28} {result[name]}")
    print(f"{'share of the bare loop':28} {result['share']:.2f}  (goal {GOAL})")
    for phase, seconds in dict(result["step_seconds"]).items():  # type: ignore[call-overload] # a dict by construction
        print(f"{'seconds: ' + phase:28} {seconds:.1f}")
    print(f"{'peak memory, GB':28} {int(str(result['peak_memory_bytes'])) / 1e9:.1f}")


if __name__ == "__main__":
    main()
