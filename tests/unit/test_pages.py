"""What the pages point to is there, and what they show can be run: links, anchors, examples, the API reference."""

import ast
import inspect
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import yaml

import nock_client
from docs_site.reference import PAGE, document, reference
from nock_client import AsyncNock, Nock, calls
from tests.fixtures.documents import PAGES, Snippet, anchors, links, snippets
from tests.fixtures.settings import ROOT

MODULES = {"nock_client": nock_client, "openai": openai, "httpx": httpx}
PYTHON = [pytest.param(each, id=str(each)) for each in snippets("python")]
SHELL = [pytest.param(each, id=str(each)) for each in snippets("sh")]


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_to_a_page_and_a_heading_that_are_there(page: Path) -> None:
    for target, anchor in links(page):
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(place), f"{target}#{anchor}: no such heading"


def test_the_pages_of_the_site_link_to_nothing_outside_of_it() -> None:
    docs = ROOT / "docs"
    outside = {
        (page.name, target)
        for page in docs.rglob("*.md")
        for target, _ in links(page)
        if target and not (page.parent / target).resolve().is_relative_to(docs)
    }
    assert outside == set(), "the site cannot follow these: name the file in backticks"


def test_every_page_stands_in_the_navigation_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = [page for entry in nav for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))]
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_the_reference_is_what_the_gateway_says_of_itself() -> None:
    assert PAGE.read_text() == reference(document()), "renew it: python -m docs_site.reference"


@pytest.mark.parametrize("snippet", PYTHON)
def test_python_examples_parse_and_import_what_there_is(snippet: Snippet) -> None:
    for node in ast.walk(ast.parse(snippet.text)):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            assert [each.name for each in node.names if not hasattr(MODULES[node.module], each.name)] == []


@pytest.mark.parametrize("snippet", PYTHON)
def test_python_examples_call_the_client_as_it_is(snippet: Snippet) -> None:
    tree = ast.parse(snippet.text)
    clients = dict(clients_of(tree))
    for call in ast.walk(tree):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
        ):
            owner = clients.get(call.func.value.id)
            if owner is not None:
                check_call(owner, call)


@pytest.mark.parametrize("snippet", SHELL)
def test_shell_examples_parse(snippet: Snippet) -> None:
    read = subprocess.run(["bash", "-n"], input=snippet.text, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr


def test_json_and_yaml_examples_parse() -> None:
    for snippet in snippets("json"):
        json.loads(snippet.text)
    for snippet in snippets("yaml"):
        yaml.safe_load(snippet.text)


def clients_of(tree: ast.AST) -> Iterator[tuple[str, object]]:
    """The names by which an example calls the client, and what stands behind them."""
    yield "calls", calls
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            made = node.context_expr
            if isinstance(made, ast.Call) and isinstance(made.func, ast.Name) and made.func.id in ("Nock", "AsyncNock"):
                yield node.optional_vars.id, Nock if made.func.id == "Nock" else AsyncNock


def check_call(owner: object, call: ast.Call) -> None:
    assert isinstance(call.func, ast.Attribute)
    method = getattr(owner, call.func.attr)
    of_instance = [] if owner is calls or hasattr(calls, call.func.attr) else [None]
    named = {word.arg: None for word in call.keywords if word.arg}
    inspect.signature(method).bind(*of_instance, *call.args, **named)
