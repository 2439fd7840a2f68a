"""Tokenizers by name: the byte tokenizer, a local folder, or one of the Hugging Face hub."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        return [byte + _BYTE_OFFSET for byte in _utf8(text)]

    def encode_rows(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """See `boltzmann.ports.Tokenizer.encode_rows`; 30 times as fast as row by row.

        Raises: DataError if a row holds a lone surrogate.
        """
        encoded = [_utf8(row) for row in rows]
        ids = np.frombuffer(b"\0".join([*encoded, b""]), np.uint8).astype(np.int64) + _BYTE_OFFSET
        ends = np.cumsum([len(row) + 1 for row in encoded], dtype=np.int64) - 1
        ids[ends] = self.eos
        return ids


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"a row cannot be written as UTF-8 ({error}): clean the dataset") from error


class _PretrainedTokenizer:
    """A tokenizer of transformers."""

    def __init__(self, name: str) -> None:
        self._tokenizer = _load(name)
        # transformers changes the tokenizer's settings on each call, which may not happen while
        # another thread encodes; the cores are busy with one call's rows anyway.
        self._one_call = threading.Lock()
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
        return list(self._encoded(text))

    def encode_rows(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """See `boltzmann.ports.Tokenizer.encode_rows`: the library spreads rows over the cores,
        unless TOKENIZERS_PARALLELISM is false.
        """
        if not rows:
            return np.zeros(0, dtype=np.int64)
        end = [self.eos]
        encoded = self._encoded(list(rows))
        return np.concatenate([np.array([*ids, *end], dtype=np.int64) for ids in encoded])

    def _encoded(self, text: str | list[str]) -> Any:
        with self._one_call:
            encoded = self._tokenizer(
                text,
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # rows may be longer than the model it was made for takes
            )
        return encoded["input_ids"]


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
