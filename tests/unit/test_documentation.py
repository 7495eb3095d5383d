"""The documents say what the code does: every setting stands in them, with its default, and nothing else does."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from core.settings import Settings
from tests.fixtures.compose import FILE, variables_of
from tests.fixtures.settings import NAME, ROOT, all_variables, literal_variables, settings_classes

SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()

PAGE_DEFAULTS = dict(re.findall(r"(?m)^\| `(NOCK_\w+)` \| (\S+) \| .+ \|$", SETTINGS_PAGE))
EXAMPLE_VALUES = dict(re.findall(r"(?m)^(?:# )?([A-Z_]+)=(.*)$", ENV_EXAMPLE))

# Compose's own; its file cannot ask for it.
COMPOSE_ITSELF = {"COMPOSE_PROFILES"}

# Where Compose's default is another than the code's.
ANSWERED_BY_COMPOSE = {"NOCK_LOG_FORMAT", "NOCK_ENGINE_URLS"}

FIELDS = [
    pytest.param(each, name, field, id=f"{each.__name__}.{name}")
    for each in settings_classes()
    for name, field in each.model_fields.items()
]


def default_of(field: FieldInfo) -> Any:
    return None if field.is_required() or field.default in (None, "") else field.default


@pytest.mark.parametrize(("owner", "name", "field"), FIELDS)
def test_every_setting_is_explained_where_it_stands(owner: type[Settings], name: str, field: FieldInfo) -> None:
    assert field.description, f"{owner.__name__}.{name} has no docstring"
    assert owner.__doc__ not in (None, Settings.__doc__), f"{owner.__name__} has no docstring"


@pytest.mark.parametrize(("owner", "name", "field"), FIELDS)
def test_every_setting_stands_in_both_documents_with_its_default(
    owner: type[Settings], name: str, field: FieldInfo
) -> None:
    variable, default = f"NOCK_{name.upper()}", default_of(field)
    assert PAGE_DEFAULTS.get(variable) == ("none" if default is None else f"`{default}`")
    assert EXAMPLE_VALUES.get(variable) == ("" if default is None else str(default))


def test_nothing_stands_in_the_documents_that_is_no_setting() -> None:
    variables = all_variables()
    assert set(PAGE_DEFAULTS) == variables
    assert {name for name in EXAMPLE_VALUES if NAME.fullmatch(name)} == variables
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        assert set(NAME.findall(page.read_text())) <= variables | {"NOCK_TEST_VLLM_PYTHON"}, page.name


def test_the_code_reads_no_variable_past_the_settings() -> None:
    assert literal_variables() <= all_variables()


def test_the_example_has_what_the_compose_file_asks_for_and_no_more() -> None:
    asked = variables_of(FILE.read_text()) | set(re.findall(r"(?m)^ +([A-Z_]+):$", FILE.read_text()))
    assert asked <= set(EXAMPLE_VALUES)
    assert {name for name in EXAMPLE_VALUES if not NAME.fullmatch(name)} <= asked | COMPOSE_ITSELF


@pytest.mark.parametrize("name", sorted(set(EXAMPLE_VALUES) - {"COMPOSE_PROFILES"}))
def test_a_default_of_compose_is_the_one_in_the_example(name: str) -> None:
    for written in re.findall(rf"\${{{name}:-([^}}]*)}}", FILE.read_text()):
        if name not in ANSWERED_BY_COMPOSE:
            assert written == EXAMPLE_VALUES[name]


def test_the_example_gives_away_no_secret() -> None:
    for name, value in EXAMPLE_VALUES.items():
        if re.search(r"PASSWORD|TOKEN$|_KEY$", name):
            assert value == "", name


def test_no_value_in_the_example_is_followed_by_a_comment() -> None:
    # Compose takes `NAME= # words` for a value that begins with a hash: a password that everybody could read.
    assert [name for name, value in EXAMPLE_VALUES.items() if "#" in value] == []


def test_links_between_the_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / Path(target)).exists(), f"{page.name} points to {target}"
