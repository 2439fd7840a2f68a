"""Rows to sequences of token ids: the same arrays on every node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boltzmann.ports import Pages, Tokenizer


@dataclass(frozen=True, eq=False)
class Batch:
    """The sequences of some pages, `[sequences, sequence_length] int64`."""

    tokens: NDArray[np.int64]


def sequences(tokens: NDArray[np.int64], sequence_length: int, eos: int) -> NDArray[np.int64]:
    """One page's tokens cut into whole sequences, `[n, sequence_length] int64`, n >= 1.

    The tail is dropped. Fewer tokens than one sequence are filled up with `eos`, so that no page
    is without work.

    Raises: ValueError if a sequence has fewer than two tokens, and so none to predict.
    """
    if sequence_length < 2:
        raise ValueError(f"sequence_length is {sequence_length}; it must be at least 2 tokens")
    whole = len(tokens) // sequence_length
    if whole == 0:
        page = np.full((1, sequence_length), eos, dtype=np.int64)
        page[0, : len(tokens)] = tokens
        return page
    return tokens[: whole * sequence_length].reshape(whole, -1)


def page_batch(
    pages: Pages, page_ids: Sequence[int], tokenizer: Tokenizer, sequence_length: int
) -> Batch:
    """The sequences of each page, cut apart from the others', in the order of `page_ids`.

    Raises: DataError from the pages; ValueError if `page_ids` is empty or sequences too short.
    """
    parts = [
        sequences(tokenizer.encode_rows(pages.rows(page)), sequence_length, tokenizer.eos)
        for page in page_ids
    ]
    return Batch(np.concatenate(parts))
