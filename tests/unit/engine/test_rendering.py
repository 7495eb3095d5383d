"""Messages and tools to a prompt, by the model's own template."""

from engine.rendering import render_prompt
from tests.unit.engine.conftest import Opened


def test_a_template_that_shows_tools_is_given_them(opened: Opened) -> None:
    tokenizer = opened.model.tokenizer
    tokenizer.chat_template = "{% for tool in tools or [] %}{{ tool.function.name }};{% endfor %}ask"
    tools = [{"type": "function", "function": {"name": name}} for name in ("find", "send")]

    def rendered(given: list[dict[str, object]] | None) -> str:
        ids = render_prompt(
            opened.model,
            [{"role": "user", "content": "hello"}],
            given,
            add_generation_prompt=True,
            continue_final_message=False,
            template_kwargs={},
        )
        return str(tokenizer.decode(ids))

    assert rendered(tools) == "find;send;ask"
    assert rendered(None) == "ask"
