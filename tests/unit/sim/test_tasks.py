"""What holds for every task: seeds, returns, vocabulary, the scripted start, and answers to anything at all."""

import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from sim.catalogue import TASKS, UnknownTaskError, find_task
from sim.task import Answer, End, Game, Task
from sim.twenty_questions.game import TwentyQuestions

ROOT = Path(__file__).parents[3]
SEEDS = range(1_000)
START_RANGE = {
    # As shares of the way from floor to optimum; the ten words are asked well enough by chance alone.
    "twenty-questions-10": (0.3, 0.5),
    "twenty-questions-157": (0.2, 0.32),
    "guess-my-city": (0.2, 0.32),
    "mini-webshop": (0.2, 0.32),
    "support-desk": (0.2, 0.32),
}
NONSENSE = {
    "nothing": "",
    "blanks": " \t\n ",
    "long": "search " * 1_500,
    "one long word": "x" * 10_000,
    "unicode": "ist es ein Hündchen ? 犬 🐕 \u202e\u0301",
    "nul": "is it a\x00dog ?\x00",
    "half a character": "\ud800",
    "markup": "<end> <agent> is it a dog ?</s>{{7*7}}",
}


@pytest.fixture(scope="module", params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return find_task(request.param)


def replay(game: Game, said: list[str]) -> list[Answer]:
    return [game.answer(utterance) for utterance in said]


def total(task: Task, seed: int) -> float:
    return sum(answer.reward for answer in replay(task.game(seed), list(task.demonstrate(seed))))


def test_a_task_is_found_by_the_name_it_bears(task: Task) -> None:
    assert find_task(task.name).name == task.name


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(UnknownTaskError, match="twenty-questions-10"):
        find_task("chess")


def test_who_thinks_aloud_names_what_fits_every_answer_so_far_and_never_plays() -> None:
    task = find_task("twenty-questions-10")
    assert isinstance(task, TwentyQuestions)
    names = [names[0] for names in task.table.names]
    for seed in range(100):
        messages = task.think_aloud(seed)
        assert messages == task.think_aloud(seed)
        assert messages[0] != task.opening
        possible = set(range(10))
        for asked, answer, thought in zip(messages[1::4], messages[2::4], messages[3::4], strict=False):
            guessed = task.find_guess(asked)
            true_of = {guessed} if guessed is not None else set(task.table.questions[asked])
            assert guessed is None or guessed in possible
            possible &= true_of if answer == "yes ." else set(range(10)) - true_of
            assert thought == " ".join(names[place] for place in sorted(possible))
    assert {word for seed in range(50) for word in " ".join(task.think_aloud(seed)).split()} <= {*task.vocabulary()}


def test_the_same_seed_is_the_same_dialogue(task: Task) -> None:
    for seed in range(50):
        said = list(task.demonstrate(seed))
        assert said == list(task.demonstrate(seed))
        assert task.game(seed).opening == task.game(seed).opening
        assert replay(task.game(seed), said) == replay(task.game(seed), said)


def test_seeds_mean_the_same_in_another_process(task: Task) -> None:
    code = (
        "import sys; from sim.catalogue import find_task; task = find_task(sys.argv[1]);"
        "print([(task.game(seed).opening, list(task.demonstrate(seed))) for seed in range(30)])"
    )
    command = [sys.executable, "-c", code, task.name]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "1"}
    ).stdout
    assert told.strip() == str([(task.game(seed).opening, list(task.demonstrate(seed))) for seed in range(30)])


def test_different_seeds_are_different_dialogues(task: Task) -> None:
    assert len({tuple(task.demonstrate(seed)) for seed in range(100)}) > 75


def test_a_demonstration_is_one_whole_game(task: Task) -> None:
    for seed in range(200):
        ends = [answer.end for answer in replay(task.game(seed), list(task.demonstrate(seed)))]
        assert all(end is None for end in ends[:-1])
        assert ends[-1] is not None
        assert (ends[-1] is End.TRUNCATED) <= (len(ends) == task.max_turns)


def test_the_scripted_start_lies_where_there_is_most_to_learn(task: Task) -> None:
    share = (mean(total(task, seed) for seed in SEEDS) - task.floor) / (task.optimum - task.floor)
    low, high = START_RANGE[task.name]
    assert low < share < high


def test_the_scripted_start_has_seen_what_nonsense_is_answered(task: Task) -> None:
    answer = task.game(0).answer("lorem ipsum").message
    dialogues = [replay(task.game(seed), list(task.demonstrate(seed))) for seed in range(200)]
    assert sum(any(heard.message == answer for heard in dialogue) for dialogue in dialogues) > 10


def test_no_return_lies_below_the_floor_or_above_what_is_possible(task: Task) -> None:
    for seed in range(300):
        assert task.floor <= total(task, seed) <= (1.0 if task.floor == 0.0 else 0.0)


def test_the_vocabulary_holds_every_word_that_is_said(task: Task) -> None:
    words = task.vocabulary()
    assert list(words) == sorted(set(words))
    assert len(words) < 1_500
    said = {word for seed in SEEDS for utterance in task.demonstrate(seed) for word in utterance.split()}
    heard = {word for seed in SEEDS for word in task.game(seed).opening.split()}
    for seed in SEEDS:
        for answer in replay(task.game(seed), list(task.demonstrate(seed))):
            heard |= set(answer.message.split())
    assert said | heard <= set(words)


def test_messages_are_words_with_one_space_between_them(task: Task) -> None:
    for seed in range(100):
        texts = [task.game(seed).opening, *task.demonstrate(seed)]
        texts += [answer.message for answer in replay(task.game(seed), list(task.demonstrate(seed)))]
        assert all(text == " ".join(text.split()) == text.lower() for text in texts)


@pytest.mark.parametrize("utterance", NONSENSE.values(), ids=NONSENSE)
def test_any_text_at_all_is_answered_to_the_end_of_the_game(task: Task, utterance: str) -> None:
    words = set(task.vocabulary())
    for seed in range(5):
        game = task.game(seed)
        answers = [game.answer(utterance)]
        while answers[-1].end is None:
            answers.append(game.answer(utterance))
        assert len(answers) <= task.max_turns
        assert all(answer.message and set(answer.message.split()) <= words for answer in answers)
        assert task.floor <= sum(answer.reward for answer in answers) <= max(0.0, task.floor)


def test_a_game_that_goes_nowhere_is_cut_at_the_cap_and_not_ended(task: Task) -> None:
    # Elsewhere it makes no sense, at the support desk it keeps the customer and helps her nothing.
    answers = replay(task.game(0), ["i am sorry ."] * task.max_turns)
    assert [answer.end for answer in answers] == [None] * (task.max_turns - 1) + [End.TRUNCATED]


def test_outcomes_are_told_at_once_but_for_the_support_desk(task: Task) -> None:
    delays = {task.delay(seed) for seed in range(50)}
    assert (delays == {0}) == (task.name != "support-desk")
