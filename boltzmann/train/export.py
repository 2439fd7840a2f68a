"""The trained model as a folder that transformers loads: weights, config and tokenizer."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from boltzmann.config import ModelConfig
from boltzmann.errors import ConfigError, DataError, StateError
from boltzmann.train.model import build_model
from boltzmann.train.state import ModelState

_SHARD = "5GB"  # what model hubs take as one file


def export_transformers(
    state: ModelState, config: ModelConfig, folder: Path, tokenizer: str
) -> None:
    """Write θ as `AutoModelForCausalLM.from_pretrained(folder)` and `AutoTokenizer` load it.

    `tokenizer` is the run's: `byte`, the path of a saved one, or a hub name. The folder is whole or
    not there. Raises: ConfigError if it is not empty, DataError if the tokenizer cannot be loaded,
    StateError if the disk does not take it.
    """
    require_empty(folder)
    spelled = _tokenizer(tokenizer)
    model = build_model(config, state.parameters, torch.device("cpu"))
    for settings in (model.config, model.generation_config):
        settings.use_cache = True  # training needs none, text generation is slow without
        settings.bos_token_id = spelled.bos_token_id
        settings.eos_token_id = spelled.eos_token_id
        settings.pad_token_id = spelled.pad_token_id
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as aside:
            fresh = Path(aside) / "model"
            model.save_pretrained(fresh, max_shard_size=_SHARD)
            spelled.save_pretrained(fresh)
            fresh.rename(folder)
    except OSError as error:
        raise StateError(
            f"the export to {folder} cannot be written ({error}): make room there or name another "
            f"folder"
        ) from error


def require_empty(folder: Path) -> None:
    """Raises: ConfigError if the folder, or a file of its name, holds anything."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder: name a new one for the export")


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer by its name in run.toml. Raises: DataError."""
    if name == "byte":
        return _byte_tokenizer()
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"the run's tokenizer {name} cannot be loaded ({reason}): put the path of a saved copy "
            f"into data.tokenizer of the run.toml that is given with --config"
        ) from error
    return found


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    """The ids of the run's `byte` tokenizer, from transformers' own parts.

    Not ByT5Tokenizer, though its ids of bytes are these: it ends each text with an end of sequence,
    which a model that continues texts must not see, and takes a text's `</s>` for one.
    """
    special = ("<pad>", "</s>", "<unk>")
    spelled = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    # No token is a character, so each falls back to its UTF-8 bytes.
    bytes_only = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(spelled)},
            merges=[],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    bytes_only.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bytes_only,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
