"""Makes the small policy that a task starts from: a Llama of three layers, trained from scratch on scripted dialogues.

`python -m bench.policies.recipe --task twenty-questions-10 --out folder` writes a folder that transformers, the
embedded engine and vLLM load.
"""

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.playing.transcript import Transcript
from bench.policies.tokenizer import word_tokenizer
from sim.catalogue import find_task
from sim.task import Task

IGNORED = -100
FIRST_SEED = 10_000_000
"""Of the scripted games: no evaluation and no training game has a seed this high."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what the policy will be; part of the name it is cached under."""

    games: int = 30_000
    thoughts: float = 0.5
    """Share of them, where the task has any, that think aloud in place of playing."""
    epochs: int = 3
    batch_games: int = 8
    learning_rate: float = 3e-3
    hidden: int = 64
    layers: int = 3
    initial_spread: float = 0.1
    """Of the first weights; at transformers' 0.02 layers this narrow say next to nothing for a thousand steps."""
    context: int = 512
    seed: int = 0


def dialogue(task: Task, seed: int, thoughts: float) -> Sequence[str]:
    """What user and agent say in turn, the user first and last: a scripted game, or somebody who thinks aloud."""
    if random.Random(seed).random() < thoughts and (messages := task.think_aloud(seed)):
        return messages
    game = task.game(seed)
    messages = [game.opening]
    for utterance in task.demonstrate(seed):
        messages += [utterance, game.answer(utterance).message]
    return messages


def dialogue_ids(transcript: Transcript, end: int, messages: Sequence[str], context: int) -> list[int]:
    """A dialogue as token ids."""
    ids = list(transcript.opening(messages[0]))
    for utterance, answer in zip(messages[1::2], messages[2::2], strict=True):
        ids += [*transcript.ids(utterance), end, *transcript.after_reply(answer)[1:]]
    return ids[:context]


def train_policy(task: Task, recipe: Recipe) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Cross-entropy of every token, AdamW, a cosine from the learning rate to zero.

    Of the user's tokens too: a language model knows what people answer before it is anybody's agent.
    """
    tokenizer = word_tokenizer(task.vocabulary(), recipe.context)
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=2 * recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.hidden // 16,
            num_key_value_heads=recipe.hidden // 16,
            initializer_range=recipe.initial_spread,
            max_position_embeddings=recipe.context,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends)  # type: ignore[no-untyped-call] # untyped in transformers
    transcript, end = Transcript(tokenizer), int(tokenizer.eos_token_id)
    seeds = range(FIRST_SEED, FIRST_SEED + recipe.games)
    dialogues = (dialogue(task, seed, recipe.thoughts) for seed in seeds)
    games = [dialogue_ids(transcript, end, messages, recipe.context) for messages in dialogues]
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    steps = recipe.epochs * math.ceil(len(games) / recipe.batch_games)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(recipe.epochs):
        losses = []
        drawn = torch.randperm(len(games), generator=generator).tolist()
        for start in range(0, len(drawn), recipe.batch_games):
            loss = _loss(model, [games[place] for place in drawn[start : start + recipe.batch_games]])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"{task.name}: pass {epoch + 1} of {recipe.epochs}, {sum(losses) / len(losses):.3f} nats a token",
            flush=True,
        )
    model.train(False)
    return model, tokenizer


def _loss(model: LlamaForCausalLM, games: Sequence[list[int]]) -> torch.Tensor:
    ids = pad_sequence([torch.tensor(game) for game in games], batch_first=True)
    labels = pad_sequence([torch.tensor(game) for game in games], batch_first=True, padding_value=IGNORED)
    logits = model(input_ids=ids).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def policy_folder(task: Task, home: Path, recipe: Recipe | None = None) -> Path:
    """The folder of the task's policy under `home`, made at the first call."""
    recipe = recipe or Recipe()
    seeds = range(FIRST_SEED, FIRST_SEED + 50)
    script = json.dumps([asdict(recipe), [list(dialogue(task, seed, recipe.thoughts)) for seed in seeds]])
    folder = home / f"{task.name}-{hashlib.sha256(script.encode()).hexdigest()[:12]}"
    if not (folder / "recipe.json").is_file():
        write_policy(task, folder, recipe)
    return folder


def write_policy(task: Task, folder: Path, recipe: Recipe) -> None:
    """Train it and write model, tokenizer and recipe; recipe.json comes last, so a folder that has it is whole."""
    started = time.perf_counter()
    model, tokenizer = train_policy(task, recipe)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    made = {"task": task.name, "recipe": asdict(recipe), "parameters": model.num_parameters()}
    (folder / "recipe.json").write_text(json.dumps(made | {"seconds": time.perf_counter() - started}, indent=2) + "\n")


def main() -> None:
    """Write one policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model; an existing one is kept")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if (given.out / "recipe.json").is_file():
        print(f"{given.out} is there already.")
        return
    write_policy(find_task(given.task), given.out, Recipe())
    print(f"Wrote {given.out}.")


if __name__ == "__main__":
    main()
