"""Text and a tokenizer for the data benchmark, from the English that every CPython ships."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

VOCABULARY = 32_000
ROW_BYTES = 4_700  # about what a row of FineWeb-Edu has


def sentences() -> list[str]:
    """All sentences of Python's language reference."""
    text = " ".join(text for _, text in sorted(topics.items()))
    return [found.strip() for found in re.findall(r"[^.]{20,400}\.", text)]


def rows(count: int, seed: int) -> Iterator[str]:
    """Rows of sentences drawn at random: no two alike, so that nothing compresses for nothing."""
    draw, known = random.Random(seed), sentences()
    for _ in range(count):
        row: list[str] = []
        while sum(map(len, row)) < ROW_BYTES:
            row.append(draw.choice(known))
        yield " ".join(row)


def train_tokenizer(folder: Path) -> str:
    """A byte-level BPE of at most VOCABULARY ids, saved for transformers; gives its path."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(sentences(), trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")  # type: ignore[no-untyped-call]
    made.save_pretrained(folder)
    return str(folder)
