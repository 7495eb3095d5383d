"""The tree of errors: each has a code of its own and says what it is about."""

import inspect

import pytest

from core.domain import errors
from core.domain.errors import NockError


def subclasses(kind: type[NockError]) -> set[type[NockError]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert set(kinds) <= subclasses(NockError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(kind.code == kind.code.lower() and " " not in kind.code for kind in kinds)


def test_the_tree_in_the_modules_first_lines_is_the_tree() -> None:
    drawn = [line.split("─ ")[-1].split()[0] for line in (errors.__doc__ or "").splitlines() if "Error" in line]
    defined = [name for name, _ in inspect.getmembers(errors, inspect.isclass)]
    assert sorted(drawn) == sorted(defined)


@pytest.mark.parametrize("kind", sorted(subclasses(NockError), key=lambda kind: kind.__name__))
def test_an_error_carries_its_sentence_its_code_and_its_field(kind: type[NockError]) -> None:
    plain = kind("It broke.")
    assert (str(plain), plain.message, plain.code, plain.param) == ("It broke.", "It broke.", kind.code, None)
    named = kind("It broke.", code="special", param="value")
    assert (named.code, named.param) == ("special", "value")
    assert kind.code != "special"
