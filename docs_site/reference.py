"""Writes docs/reference.md out of the gateway's OpenAPI document: `python -m docs_site.reference`. It knows no HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.settings import DatabaseSettings, EngineSettings, SecretSettings
from service.app import create_app
from service.settings import GatewaySettings

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"

OPENING = """# API reference

Written by `python -m docs_site.reference` out of the document that the gateway serves as `/openapi.json`; `/docs`
there has it to try out. Lists are `{"data": […], "next": …}`; `next` is the cursor for `?after=`, or null. Times are
RFC 3339 in UTC. Errors are `{"error": {"code", "message", "param"}}`, under `/v1` OpenAI's object. Fields may be added,
never renamed.
"""

Json = dict[str, Any]


def document() -> Json:
    """The description, of a gateway that is never started."""
    app = create_app(
        GatewaySettings(),
        DatabaseSettings(database_url="unused"),
        EngineSettings(engine_urls="http://unused:8000"),
        SecretSettings(secret=SecretStr("a" * 32)),
    )
    return app.openapi()


def reference(described: Json) -> str:
    """The page: each tag's routes, then each shape that they name."""
    blocks = [OPENING]
    operations = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in dict.fromkeys(tag for tag, *_ in operations):
        blocks.append(f"## {tag.capitalize()}\n")
        blocks += [_route(method, path, operation) for found, method, path, operation in operations if found == tag]
    blocks.append("## Shapes\n")
    blocks += [
        _shape(name, schema) for name, schema in sorted(described["components"]["schemas"].items(), key=_by_name)
    ]
    return "\n".join(blocks)


def _route(method: str, path: str, operation: Json) -> str:
    lines = [f"### {method} {path}\n", *_paragraphs(str(operation.get("description") or operation["summary"]))]
    if told := list(_parameters(operation)):
        lines += ["| parameter | in | type |", "| --- | --- | --- |", *told, ""]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"Body ({media}): {_type(content['schema'])}\n")
    lines += list(_answers(operation["responses"]))
    return "\n".join([*lines, ""])


def _parameters(operation: Json) -> Iterator[str]:
    for each in operation.get("parameters", []):
        must = "" if each.get("required") else ", optional"
        yield f"| `{each['name']}` | {each['in']}{must} | {_type(each['schema'])} |"


def _answers(responses: Json) -> Iterator[str]:
    for status, response in responses.items():
        if status < "300":
            shapes = [content["schema"] for content in response.get("content", {}).values() if content.get("schema")]
            named = [_type(shape) for shape in shapes if "$ref" in shape]
            yield f"* `{status}`: {' or '.join(named) or response['description']}"
    yield f"* errors: {', '.join(f'`{status}`' for status in sorted(responses) if status >= '400')}"


def _shape(name: str, schema: Json) -> str:
    lines = [f"### {_title(name)}\n", *_paragraphs(schema.get("description", ""))]
    if "properties" not in schema:
        return "\n".join([*lines, f"{_type(schema)}\n"])
    required = schema.get("required", [])
    lines += ["| field | type | |", "| --- | --- | --- |"]
    for field, described in schema["properties"].items():
        lines.append(f"| `{field}` | {_type(described)} | {'always' if field in required else _default(described)} |")
    return "\n".join([*lines, ""])


def _default(schema: Json) -> str:
    default = schema.get("default")
    return (
        "optional"
        if default in (None, "", [])
        else f"`{str(default).lower() if default in (True, False) else default}`"
    )


def _type(schema: Json) -> str:
    """A schema in a few words; what has a name is a link to it."""
    if "$ref" in schema:
        title = _title(schema["$ref"].rsplit("/", 1)[1])
        return f"[{title}](#{title.lower().replace(' ', '-')})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            return _object(schema)
        case None:
            return "anything"
        case kind:
            return str(kind) + _bounds(schema)


def _object(schema: Json) -> str:
    if "properties" in schema:
        fields = [f"`{name}`{'' if name in schema.get('required', []) else '?'}" for name in schema["properties"]]
        return f"fields {', '.join(fields)}"
    values = schema.get("additionalProperties")
    return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"


def _bounds(schema: Json) -> str:
    words = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    words |= {"minLength": "from {} characters", "maxLength": "up to {} characters"}
    found = [text.format(f"{schema[name]:g}") for name, text in words.items() if name in schema]
    return f" ({', '.join(found)})" if found else ""


def _title(name: str) -> str:
    """The name of a shape; of two with the same name, which feature's it is."""
    if "__" not in name:
        return name
    parts = name.split("__")
    return f"{parts[-1]} of {parts[1]}"


def _by_name(item: tuple[str, Json]) -> str:
    return _title(item[0])


def _paragraphs(text: str) -> list[str]:
    return [text.strip().replace("\n", " ").replace("  ", " ") + "\n"] if text.strip() else []


if __name__ == "__main__":
    PAGE.write_text(reference(document()))
