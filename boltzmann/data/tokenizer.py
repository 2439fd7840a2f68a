"""Tokenizers by name: the byte tokenizer, a local folder, or one of the Hugging Face hub."""

from __future__ import annotations

from typing import Any

from boltzmann.errors import DataError
from boltzmann.ports import Tokenizer

_BYTE_OFFSET = 3  # after ByT5's pad (0), end of sequence (1) and unknown (2)


def open_tokenizer(name: str) -> Tokenizer:
    """`byte`, the path of a saved tokenizer, or a hub name.

    Raises: DataError if there is none, or it has no end-of-sequence token.
    """
    return ByteTokenizer() if name == "byte" else _PretrainedTokenizer(name)


class ByteTokenizer:
    """UTF-8 bytes as ids, numbered as `transformers.ByT5Tokenizer(extra_ids=0)` does.

    Made here because importing transformers takes 1.3 s and its encoding is 35 times slower. It
    also keeps text text: ByT5 turns a row that spells `</s>` into the end-of-sequence id.
    """

    vocab_size = 256 + _BYTE_OFFSET
    eos = 1

    def encode(self, text: str) -> list[int]:
        """One id per byte. Raises: DataError if `text` holds a lone surrogate."""
        try:
            return [byte + _BYTE_OFFSET for byte in text.encode()]
        except UnicodeEncodeError as error:
            raise DataError(
                f"a row cannot be written as UTF-8 ({error}): clean the dataset"
            ) from error


class _PretrainedTokenizer:
    """A tokenizer of transformers."""

    def __init__(self, name: str) -> None:
        self._tokenizer = _load(name)
        eos = self._tokenizer.eos_token_id
        if eos is None:
            raise DataError(
                f"the tokenizer {name} has no end-of-sequence token to join rows with: "
                f"set its eos_token and save it again, or name another"
            )
        self.eos = int(eos)
        # Not the count of tokens: ids may have gaps, and a model needs a row for the largest.
        self.vocab_size = max(self._tokenizer.get_vocab().values()) + 1

    def encode(self, text: str) -> list[int]:
        """Token ids of one row, without special tokens, not even where the text spells one."""
        encoded = self._tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,  # rows may be longer than the model the tokenizer was made for takes
        )
        return list(encoded["input_ids"])


def _load(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"the tokenizer {name} cannot be loaded ({reason}): use byte, the path of a saved "
            f"tokenizer, or a hub name this machine can reach"
        ) from error
