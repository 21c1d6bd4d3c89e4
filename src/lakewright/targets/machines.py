"""Facts about the machines of clouds, with their source; `checks` has the rules over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machines:
    """The machines of one cloud. A pattern matches a whole name, in upper or lower case."""

    gpu: str  # pattern of the machines with a GPU
    today: str  # names to write in place of a retired one
    retired: Mapping[str, str] = field(default_factory=dict)  # pattern → why the machine no longer exists
    retiring: Mapping[str, str] = field(default_factory=dict)  # pattern → why it may be unavailable


# Azure's pages: MicrosoftDocs/azure-docs, articles/virtual-machines, each by its name.
AZURE = Machines(
    gpu=r"Standard_N[CDV].*",
    today="Standard_NC24ads_A100_v4 or Standard_NC4as_T4_v3 (GPU), Standard_E4ds_v4 (none)",
    retired={
        r"Standard_NV(6|12|24)(_Promo)?": "Azure stopped it on 6 September 2023 (nv-series-retirement)",
        r"Standard_NC(6|12|24)s_v3": "Azure stopped it on 30 September 2025 (ncv3-nc6s-nc12s-nc24s-retirement)",
    },
    # Older ones, without a page.
    retiring={
        r"Standard_(NC(6|12|24)r?(_Promo)?|NC(6|12|24)r?s_v2|ND(6|12|24)r?s|NC24rs_v3)": "Azure retires its series"
    },
)


def has_gpu(name: str, *clouds: Machines) -> bool:
    return any(matches(machines.gpu, name) for machines in clouds)


def matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None
