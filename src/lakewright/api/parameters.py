"""Learners: what each can be set to."""

from __future__ import annotations

from typing import Any


def params(learner: str) -> list[dict[str, Any]]:
    """The hyperparameters of a learner, each a mapping of `name`, `type`, `default`, `range`, `choices` (None where it
    has none) and `description`. Raises UsageError if there is no such learner."""
    from lakewright import plugins
    from lakewright.settings.parameters import parameters_of

    return [parameter.as_json() for parameter in parameters_of(plugins.LEARNERS.find(learner).settings)]
