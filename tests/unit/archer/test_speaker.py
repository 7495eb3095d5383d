"""What is said while a conversation's keys and values are kept is what plain forward passes would have said."""

import pytest
import torch
from torch.testing import assert_close

from worker.archer.actor import Actor
from worker.archer.speaker import Speaker

END = 257
HEARD = [(1, 2, 3), (4, 5, 6, 7, 8, 9), (10,)]
MORE = [(20, 21), (22,), (23, 24, 25, 26)]


@pytest.fixture
def model(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder).model


def speaker_of(model, rows, *, ends=(END,), length=6, seed=0, temperatures=(1.0,)):
    generator = torch.Generator().manual_seed(seed)
    return Speaker(model, rows, ends=ends, max_new_tokens=length, generator=generator, temperatures=temperatures)


@torch.no_grad()
def plain_logprobs(model, read, said, temperature=1.0):
    """log π of each token said after what was read, one whole forward pass a token."""
    found = []
    for place, token in enumerate(said):
        logits = model(input_ids=torch.tensor([[*read, *said[:place]]])).logits[0, -1]
        found.append(torch.log_softmax(logits / temperature, dim=-1)[token].item())
    return found


def test_log_probs_are_those_of_plain_forward_passes_whatever_the_lengths(model):
    temperatures = (1.0, 0.5, 2.0)
    said = speaker_of(model, 3, temperatures=temperatures).speak(HEARD)
    for read, utterance, temperature in zip(HEARD, said, temperatures, strict=True):
        expected = plain_logprobs(model, read, utterance.ids, temperature)
        assert_close(torch.tensor(utterance.logprobs), torch.tensor(expected), rtol=1e-4, atol=1e-4)
        assert len(utterance.ids) == 6


def test_a_second_utterance_knows_all_that_came_before(model):
    # Half of the vocabulary ends an utterance, so the three end at lengths of their own.
    ends = tuple(range(0, 264, 4))
    speaker = speaker_of(model, 3, ends=ends, seed=3)
    first = speaker.speak(HEARD)
    assert len({len(utterance.ids) for utterance in first}) > 1
    # The last token of an utterance has not been read yet.
    second = speaker.speak([(utterance.ids[-1], *more) for utterance, more in zip(first, MORE, strict=True)])
    for read, one, more, other in zip(HEARD, first, MORE, second, strict=True):
        expected = plain_logprobs(model, (*read, *one.ids, *more), other.ids)
        assert_close(torch.tensor(other.logprobs), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_several_utterances_of_one_conversation_are_each_its_own_continuation(model):
    temperatures = (1.0, 0.5, 2.0)
    speaker = speaker_of(model, 3, temperatures=temperatures)
    first = speaker.speak(HEARD, each=2)
    assert first[0].ids != first[1].ids
    second = speaker.speak([(utterance.ids[-1], 30) for utterance in first])
    for branch, (one, other) in enumerate(zip(first, second, strict=True)):
        read, temperature = HEARD[branch // 2], temperatures[branch // 2]
        expected = plain_logprobs(model, read, one.ids, temperature)
        assert_close(torch.tensor(one.logprobs), torch.tensor(expected), rtol=1e-4, atol=1e-4)
        expected = plain_logprobs(model, (*read, *one.ids, 30), other.ids, temperature)
        assert_close(torch.tensor(other.logprobs), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_an_utterance_ends_with_its_end_token_and_holds_it(model):
    ends = tuple(range(0, 264, 3))
    for utterance in speaker_of(model, 40, ends=ends, length=8, seed=1).speak([(1, 2, 3)] * 40):
        assert all(token not in ends for token in utterance.ids[:-1])
        assert utterance.ids[-1] in ends or len(utterance.ids) == 8
        assert len(utterance.logprobs) == len(utterance.ids)


def test_conversations_that_go_on_do_not_miss_those_that_left(model):
    stayed = [0, 2]
    speaker = speaker_of(model, 3)
    first = speaker.speak(HEARD)
    speaker.keep(stayed)
    second = speaker.speak([(first[row].ids[-1], *MORE[row]) for row in stayed])
    for row, utterance in zip(stayed, second, strict=True):
        alone = plain_logprobs(model, (*HEARD[row], *first[row].ids, *MORE[row]), utterance.ids)
        assert_close(torch.tensor(utterance.logprobs), torch.tensor(alone), rtol=1e-4, atol=1e-4)
    speaker.keep([1])
    (third,) = speaker.speak([(second[1].ids[-1], 30)])
    read = (*HEARD[2], *first[2].ids, *MORE[2], *second[1].ids, 30)
    assert_close(
        torch.tensor(third.logprobs), torch.tensor(plain_logprobs(model, read, third.ids)), rtol=1e-4, atol=1e-4
    )


def test_keeping_all_changes_nothing(model):
    one, other = speaker_of(model, 2), speaker_of(model, 2)
    first = one.speak(HEARD[:2])
    assert first == other.speak(HEARD[:2])
    other.keep([0, 1])
    following = [(utterance.ids[-1],) for utterance in first]
    assert one.speak(following) == other.speak(following)


def test_a_kept_conversation_keeps_its_temperature(model):
    speaker = speaker_of(model, 2, temperatures=(1.0, 0.25))
    first = speaker.speak(HEARD[:2])
    speaker.keep([1])
    (second,) = speaker.speak([(first[1].ids[-1],)])
    expected = plain_logprobs(model, (*HEARD[1], *first[1].ids), second.ids, 0.25)
    assert_close(torch.tensor(second.logprobs), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_tokens_come_as_often_as_the_policy_says(model):
    # 4000 first tokens after one prompt: each share within four standard errors of its probability.
    count = 4000
    said = speaker_of(model, count, length=1, seed=2).speak([(1, 2, 3)] * count)
    with torch.no_grad():
        chance = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1].softmax(dim=-1)
    found = torch.bincount(torch.tensor([utterance.ids[0] for utterance in said]), minlength=len(chance)) / count
    assert ((found - chance).abs() <= 4 * (chance * (1 - chance) / count).sqrt() + 1 / count).all()


def test_the_generator_decides_what_is_said(model):
    one, again, other = (speaker_of(model, 2, seed=seed).speak(HEARD[:2]) for seed in (1, 1, 2))
    assert one == again != other
