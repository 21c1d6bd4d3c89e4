"""A Terraform provider's schema, from the CDK for that provider: what `terraform providers schema -json` would say.

The wheel `cdktn-provider-NAME` is generated from the provider's own schema. Its compiled sources still say all of it:
for each attribute whether it is required, optional or computed, and its type; for each block how it nests. So
configuration can be checked against the schema of a provider whose binary is not at hand.

    python provider_schemas.py WHEEL TYPE…      the schema in JSON, with these resource and data source types alone

A data source is asked for as data.TYPE. A type that the provider has not is left out, as Terraform is to say so itself.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

RULE = re.compile(r"^ {4}// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$", re.MULTILINE)
ENTRY = re.compile(
    r"^ +(\w+): \{\s+value: (?P<value>.*),\s+isBlock: (?P<block>\w+),\s+type: \"(?P<type>\w+)\",\s+"
    r"storageClassType: \"(?P<storage>\w+)\",\s+\}",
    re.MULTILINE,
)
FIELD = re.compile(r"_\w+ = new (\w+?)(OutputReference|List|Map)\(this, \"(\w+)\"(?:, (true|false))?\)")
GETTER = re.compile(r"return (cdktn\.Fn\.tolist\()?this\.(?:get(\w+)|interpolationFor)Attribute\([\"'](\w+)[\"']\)")
STRUCT = re.compile(r"(?<![.\w])(\w+)ToHclTerraform")
SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}


def schema(wheel: Path, types: Collection[str]) -> dict[str, Any]:
    """`provider`, `resource_schemas` and `data_source_schemas`; `version` is the provider's."""
    found: dict[str, Any] = {"resource_schemas": {}, "data_source_schemas": {}}
    folders = {_folder(kind): kind for kind in types} | {"provider": "provider"}
    for path, text in _files(wheel):
        if path == "package/package.json":
            found["version"] = json.loads(text)["cdktn"]["provider"]["version"]
            continue
        kind = folders.get(path.removeprefix("package/lib/").removesuffix("/index.js"))
        if kind is None:
            continue
        source = Source(text)
        if kind == "provider":
            found["provider"] = {"version": 0, "block": source.top()}
        elif f'static tfResourceType = "{kind.removeprefix("data.")}"' in text:
            group = "data_source_schemas" if kind.startswith("data.") else "resource_schemas"
            found[group][kind.removeprefix("data.")] = {"version": 0, "block": source.top()}
    return found


class Source:
    """A compiled source of the CDK: the class of a resource, and a class and a function for each of its blocks."""

    def __init__(self, text: str) -> None:
        parts = re.split(r"^(?=class |function )", text, flags=re.MULTILINE)
        self.parts = {match[1]: part for part in parts if (match := re.match(r"(?:class|function) (\w+)", part))}
        tops = [name for name, part in self.parts.items() if re.match(r"class \w+ extends cdktn\.Terraform[A-Z]", part)]
        (self.name,) = tops

    def top(self) -> dict[str, Any]:
        return self._block(self.parts[self.name], self.parts[self.name])

    def struct(self, name: str) -> dict[str, Any]:
        """The block or object that `name` (as the classes are called) stands for."""
        function = self.parts.get(f"{name[0].lower()}{name[1:]}ToHclTerraform", "")
        return self._block(self.parts.get(f"{name}OutputReference", ""), function)

    def _block(self, holder: str, written: str) -> dict[str, Any]:
        entries = {match[1]: match for match in ENTRY.finditer(written)}
        rules = {name: [word == "true" for word in words] for name, *words in RULE.findall(holder)}
        # The provider's own class says no rule for what stands within its blocks: it is optional there.
        rules = {name: [False, True, False] for name in entries} | rules
        fields = {name: (struct, shape, wraps) for struct, shape, name, wraps in FIELD.findall(holder)}
        getters = {match[3]: match for match in GETTER.finditer(holder)}
        block: dict[str, Any] = {"attributes": {}, "block_types": {}}
        for name, (computed, optional, required) in rules.items():
            entry = entries.get(name)
            if entry and entry["block"] == "true":
                block["block_types"][name] = self._nested_block(entry, fields.get(name), required)
                continue
            attribute: dict[str, Any] = {"computed": computed, "optional": optional, "required": required}
            if name in fields:
                struct, shape, wraps = fields[name]
                nesting = {"List": "set" if wraps == "true" else "list", "Map": "map", "OutputReference": "single"}[
                    shape
                ]
                if entry and entry["type"] in ("list", "set") and shape == "OutputReference":
                    nesting = entry["type"]
                attribute["nested_type"] = {"attributes": self._attributes(struct), "nesting_mode": nesting}
            elif entry:
                attribute["type"] = _written(entry)
            elif name in getters:
                attribute["type"] = _read(getters[name])
            else:
                attribute["type"] = "dynamic"
            block["attributes"][name] = {word: value for word, value in attribute.items() if value}
        return block

    def _nested_block(self, entry: re.Match[str], field: tuple[str, str, str] | None, required: bool) -> dict[str, Any]:
        (struct,) = STRUCT.findall(entry["value"])
        nested: dict[str, Any] = {"nesting_mode": {"struct": "single"}.get(entry["type"], entry["type"])}
        if nested["nesting_mode"] != "single":
            if required:
                nested["min_items"] = 1
            if field and field[1] == "OutputReference":
                nested["max_items"] = 1
        return nested | {"block": self.struct(struct[0].upper() + struct[1:])}

    def _attributes(self, struct: str) -> dict[str, Any]:
        block = self.struct(struct)
        assert not block["block_types"], f"{struct}: an attribute holds no block"
        found: dict[str, Any] = block["attributes"]
        return found


def _written(entry: re.Match[str]) -> Any:
    """The type, as the function that writes it says."""
    element = re.sub(r"(List|Map)$", "", entry["storage"])
    of: Any = SIMPLE.get(element, "dynamic")
    if entry["type"] == "simple":
        return of
    return (
        "dynamic" if of == "dynamic" or "listMapperHcl(cdktn.listMapperHcl" in entry["value"] else [entry["type"], of]
    )


def _read(getter: re.Match[str]) -> Any:
    """The type of what can only be read, as its getter says."""
    kind = getter[2] or ""
    if kind in ("String", "Number", "Boolean"):
        return SIMPLE[kind.lower()]
    outer = "map" if kind.endswith("Map") else "set" if getter[1] else "list"
    element = re.sub(r"(List|Map)$", "", kind).lower() or "string"
    return [outer, SIMPLE[element]] if kind.endswith(("List", "Map")) and element in SIMPLE else "dynamic"


def _folder(kind: str) -> str:
    data, _, name = kind.rpartition("data.")
    data = "data-" if kind.startswith("data.") else ""
    words = name.split("_")
    return data + "-".join(words if data else words[1:])


def _files(wheel: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        packed = io.BytesIO(outer.read(inner))
    with tarfile.open(fileobj=packed, mode="r|gz") as archive:
        for member in archive:
            if member.name.endswith("/index.js") or member.name == "package/package.json":
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read().decode().partition("\n//# sourceMappingURL")[0]


if __name__ == "__main__":
    json.dump(schema(Path(sys.argv[1]), sys.argv[2:]), sys.stdout)
