"""The small policies' tokenizer: what is said in a conversation comes back as the tokens that were sampled."""

from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from bench.policies.tokenizer import word_tokenizer
from engine.replying import Ending, ReplyText
from sim.catalogue import TASKS, find_task
from worker.archer.rows import build_rows
from worker.archer.types import Transition

SYSTEM = {"role": "system", "content": "You are a friendly assistant. Answer in one or two short sentences."}


def prompt_of(tokenizer: PreTrainedTokenizerFast, messages: Sequence[dict[str, str]]) -> list[int]:
    """As the engine renders it."""
    ids = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True, return_dict=False)
    assert isinstance(ids, list)
    return ids


def read_reply(tokenizer: PreTrainedTokenizerFast, prompt: list[int], completion: list[int], *, most: int = 64) -> str:
    """The text that the engine makes of sampled tokens."""
    end = tokenizer.eos_token_id
    reply = ReplyText(tokenizer.backend_tokenizer, prompt, Ending(max_tokens=most, eos_token_id=end))
    for token in completion:
        reply.add(token)
    assert reply.finish_reason is not None
    return reply.release()


@pytest.mark.parametrize("system", [[], [SYSTEM]], ids=["alone", "after a system prompt"])
@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_prompt_grows_by_what_was_sampled_and_what_was_answered(name: str, system: list[dict[str, str]]) -> None:
    task = find_task(name)
    tokenizer = word_tokenizer(task.vocabulary(), 512)
    end = tokenizer.eos_token_id
    for seed in range(5):
        game = task.game(seed)
        messages = [*system, {"role": "user", "content": game.opening}]
        turns = []
        for utterance in task.demonstrate(seed):
            prompt = prompt_of(tokenizer, messages)
            completion = [*tokenizer(utterance)["input_ids"], end]
            assert tokenizer.unk_token_id not in completion
            reply = read_reply(tokenizer, prompt, completion)
            assert reply.split() == utterance.split()
            answer = game.answer(reply).message
            messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": answer}]
            following = tokenizer(f"<user>{answer}<agent>")["input_ids"]
            assert prompt_of(tokenizer, messages) == prompt + completion + following
            turns.append(turn_of(prompt, completion))
        rows = build_rows(turns, max_prompt_tokens=4096)
        assert [len(row.spans) for row in rows] == [len(turns)]  # one row for the whole game


def test_a_reply_that_was_cut_is_closed_in_the_next_prompt() -> None:
    tokenizer = word_tokenizer(find_task("twenty-questions").vocabulary(), 512)
    messages = [{"role": "user", "content": "guess my word ."}]
    prompt = prompt_of(tokenizer, messages)
    completion = tokenizer("is it a dog is it a")["input_ids"]
    reply = read_reply(tokenizer, prompt, completion, most=len(completion))
    messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "invalid question ."}]
    following = tokenizer("<end><user>invalid question .<agent>")["input_ids"]
    assert prompt_of(tokenizer, messages) == prompt + completion + following


def test_words_of_other_games_are_one_unknown_token_each() -> None:
    tokenizer = word_tokenizer(find_task("twenty-questions").vocabulary(), 512)
    assert prompt_of(tokenizer, [SYSTEM]).count(tokenizer.unk_token_id) == len(
        [word for word in SYSTEM["content"].split() if word not in tokenizer.get_vocab()]
    )


def turn_of(prompt: list[int], completion: list[int]) -> Transition:
    return Transition(
        episode="one",
        observation="",
        utterance="",
        next_observation="",
        reward=-1.0,
        terminal=False,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(completion),
        behaviour_logprobs=(-1.0,) * len(completion),
        temperature=1.0,
        trains_actor=True,
    )
