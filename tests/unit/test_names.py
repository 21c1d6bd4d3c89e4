"""Table names: what is accepted, how it is stored, and what a wrong one is told."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.lake.names import TableName
from lakewright.errors import UsageError

part = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=255)
versions = st.none() | st.integers(0, 10**12)


@given(part, part, part, versions, st.lists(st.booleans(), min_size=3, max_size=3))
def test_what_is_written_is_what_is_parsed(
    catalog: str, schema: str, table: str, version: int | None, quoted: list[bool]
) -> None:
    parts = [f"`{text}`" if quote else text for text, quote in zip((catalog, schema, table), quoted, strict=True)]
    text = ".".join(parts) + ("" if version is None else f"@v{version}")
    name, parsed = TableName.parse(text)
    assert (name, parsed) == (TableName(catalog.lower(), schema.lower(), table.lower()), version)
    assert TableName.parse(str(name)) == (name, None)


@given(st.text())
def test_any_other_text_is_a_usage_error(text: str) -> None:
    try:
        name, _ = TableName.parse(text)
    except UsageError as error:
        assert error.remedy
    else:
        assert TableName.parse(str(name))[0] == name


@pytest.mark.parametrize(
    "text",
    ["", "t", "s.t", "a.b.c.d", "a..c", "a.b.c@3", "a.b.c@v", "a.b.c@v-1", "a-b.c.d", "a b.c.d", "`a.b.c", "a.b.ü",
     "a.b.c/../d", "../a.b.c", "a.b." + "c" * 256, "a.b.c\n.d", "a.b.c@v٣"],
)  # fmt: skip
def test_wrong_names(text: str) -> None:
    with pytest.raises(UsageError, match=r"catalog\.schema\.table"):
        TableName.parse(text)


def test_the_remedy_shows_a_name_that_would_do() -> None:
    for text, example in {"reviews": "main.default.reviews", "Sales.Reviews": "main.sales.reviews"}.items():
        with pytest.raises(UsageError) as caught:
            TableName.parse(text)
        assert caught.value.remedy.endswith(f"for example {example}")
        TableName.parse(example)
