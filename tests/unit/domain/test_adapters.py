"""Names of adapter versions."""

import pytest

from core.domain.adapters import AdapterName, parse_adapter_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("support@v1", AdapterName("support", 1)),
        ("support@v120", AdapterName("support", 120)),
        ("support@base", AdapterName("support", 0)),
        ("a.b-c_d@v2", AdapterName("a.b-c_d", 2)),
        ("0@v9", AdapterName("0", 9)),
    ],
)
def test_a_name_reads_as_it_is_written(text: str, name: AdapterName) -> None:
    assert parse_adapter_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "support",
        "support@",
        "@v1",
        "support@v0",  # the base is called base
        "support@v01",
        "support@1",
        "support@v-1",
        "support@v1@v2",
        "support@latest",
        "Support@v1",
        "../etc@v1",
        ".hidden@v1",
        "a/b@v1",
        "-@v1",
        f"{'a' * 65}@v1",
        "support@v1\n",
        "support@v٣",
        "support@v9999999999",
    ],
)
def test_what_names_no_version_is_none(text: str) -> None:
    assert parse_adapter_name(text) is None
