"""Renamed settings: the old name still works, and the log shows the new one."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

from lakewright.errors import ProjectError
from lakewright.settings.yamlfile import SET, Key, YamlFile, lay

LOG = logging.getLogger("lakewright")
NOW: dict[Key, Key] = {
    **{
        ("prepare", name): ("prepare", "recipe", "tokens", name)
        for name in ("max_length", "long_texts", "symbols", "stride")
    },
    **{("train", name): ("prepare", "recipe", "terms", name) for name in ("min_df", "max_features")},
    ("task", "max_categories"): ("prepare", "recipe", "dense", "max_categories"),
}


def with_new_names(file: YamlFile) -> YamlFile:
    """The file with today's names. Raises ProjectError if both names are present."""
    values, lines, texts = copy.deepcopy(file.values), dict(file.lines), dict(file.texts)
    for old, new in NOW.items():
        section = values.get(str(old[0]))
        if not isinstance(section, dict) or old[1] not in section:
            continue
        if old[0] == "train" and section.get("learner") != "linear":  # other learners may have keys with these names
            continue
        if new in lines:
            raise ProjectError(
                f"{file.where(old)}: {_dotted(old)} is the former name of {_dotted(new)}, which is set as well",
                f"remove {_dotted(old)}",
            )
        lay(values, new, section.pop(str(old[1])))
        lines[new] = lines.pop(old, lines.get(old[:1], SET))
        if old in texts:
            texts[new] = texts.pop(old)
        LOG.warning("%s: %s is now %s: write the new name", file.where(old), _dotted(old), _dotted(new))
    return replace(file, values=values, lines=lines, texts=texts)


def _dotted(key: Key) -> str:
    return ".".join(map(str, key))
