"""Tokenizers, batches, and the page loaded ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from boltzmann.data.batches import page_batch, sequences
from boltzmann.data.bundled import BundledPages
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import ByteTokenizer, open_tokenizer
from boltzmann.errors import DataError
from boltzmann.ports import Tokenizer

BYTES = ByteTokenizer()
BYT5 = ByT5Tokenizer(extra_ids=0)


def save_tokenizer(folder: Path, **special: str) -> str:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["hello world, the quick brown fox"] * 20, trainer)
    make: Any = PreTrainedTokenizerFast  # transformers leaves its arguments untyped
    make(tokenizer_object=raw, model_max_length=8, **special).save_pretrained(folder)
    return str(folder)


def assert_rows_as_one_by_one(tokenizer: Tokenizer, rows: Sequence[str]) -> None:
    together = tokenizer.encode_rows(rows)
    assert together.dtype == np.int64
    assert together.tolist() == [
        number for row in rows for number in (*tokenizer.encode(row), tokenizer.eos)
    ]


class TestByteTokenizer:
    # Three characters cannot spell one of ByT5's special tokens, the shortest being </s>.
    @given(st.text(max_size=3))
    def test_ids_are_those_of_byt5(self, text: str) -> None:
        assert BYTES.encode(text) == BYT5.encode(text, add_special_tokens=False)

    def test_long_text_and_special_ids_are_those_of_byt5(self) -> None:
        text = "\n".join(BundledPages(8).rows(0))
        assert BYTES.encode(text) == BYT5.encode(text, add_special_tokens=False)
        assert BYTES.eos == BYT5.eos_token_id
        assert BYTES.vocab_size == len(BYT5)

    def test_text_cannot_spell_the_end_of_a_row(self) -> None:
        assert BYTES.eos not in BYTES.encode("a</s>b")
        assert len(BYTES.encode("a</s>b")) == 6

    def test_a_lone_surrogate_is_refused(self) -> None:
        with pytest.raises(DataError, match="cannot be written as UTF-8"):
            BYTES.encode("\ud800")
        with pytest.raises(DataError, match="cannot be written as UTF-8"):
            BYTES.encode_rows(["fine", "\ud800"])

    @given(st.lists(st.text(max_size=9), max_size=5))
    def test_rows_together_are_rows_one_by_one(self, rows: list[str]) -> None:
        assert_rows_as_one_by_one(BYTES, rows)

    def test_byte_is_its_name(self) -> None:
        assert isinstance(open_tokenizer("byte"), ByteTokenizer)


class TestSavedTokenizer:
    def test_rows_come_back_and_special_tokens_stay_text(self, tmp_path: Path) -> None:
        tokenizer = open_tokenizer(save_tokenizer(tmp_path, eos_token="<|end|>"))
        raw = RawTokenizer.from_file(str(tmp_path / "tokenizer.json"))
        text = "hello <|end|> world, " * 4
        ids = tokenizer.encode(text)
        pieces = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
        tokens = [raw.id_to_token(number) or "" for number in ids]
        assert "".join(tokens) == "".join(piece for piece, _ in pieces)
        assert tokenizer.eos == raw.token_to_id("<|end|>")
        assert tokenizer.eos not in ids
        assert tokenizer.vocab_size == raw.get_vocab_size() > max(ids)

    def test_rows_together_are_rows_one_by_one(self, tmp_path: Path) -> None:
        tokenizer = open_tokenizer(save_tokenizer(tmp_path, eos_token="<|end|>"))
        rows = ["hello <|end|> world", "", "the quick brown fox " * 50, "déjà vu"]
        for some in (rows, rows[1:2], []):
            assert_rows_as_one_by_one(tokenizer, some)

    def test_threads_may_share_it(self, tmp_path: Path) -> None:
        tokenizer = open_tokenizer(save_tokenizer(tmp_path, eos_token="<|end|>"))
        pages = [["hello world, the quick brown fox " * 40] * (page % 3 + 1) for page in range(24)]
        alone = [tokenizer.encode_rows(rows).tolist() for rows in pages]
        with ThreadPoolExecutor(8) as threads:
            together = [ids.tolist() for ids in threads.map(tokenizer.encode_rows, pages)]
        assert together == alone

    def test_without_an_end_token_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no end-of-sequence token"):
            open_tokenizer(save_tokenizer(tmp_path))

    def test_what_is_no_tokenizer_is_refused(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken"
        save_tokenizer(broken, eos_token="<|end|>")
        for content in ("{", "{}"):
            (broken / "tokenizer.json").write_text(content)
            with pytest.raises(DataError, match="cannot be loaded"):
                open_tokenizer(str(broken))
        for name in (tmp_path, tmp_path / "none"):
            with pytest.raises(DataError, match=f"the tokenizer {name} cannot be loaded"):
                open_tokenizer(str(name))


class ListedPages:
    """Pages from a list; a page that is None cannot be read. Says which pages were asked for."""

    def __init__(self, pages: Sequence[Sequence[str] | None]) -> None:
        self._pages = pages
        self.asked = [threading.Event() for _ in pages]

    @property
    def count(self) -> int:
        return len(self._pages)

    def rows(self, page: int) -> Sequence[str]:
        self.asked[page].set()
        rows = self._pages[page]
        if rows is None:
            raise DataError(f"page {page} is damaged")
        return rows


class MeetingPages(ListedPages):
    """The first `meeting` pages asked for are given when all of them have been asked for."""

    def __init__(self, pages: Sequence[Sequence[str] | None], meeting: int) -> None:
        super().__init__(pages)
        self._left = meeting
        self._lock = threading.Lock()
        self._met = threading.Event()

    def rows(self, page: int) -> Sequence[str]:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._met.set()
        if not self._met.wait(30):
            raise DataError(f"page {page} waited alone")
        return super().rows(page)


def alone(pages: ListedPages, *ids: int) -> list[object]:
    """Each page's tokens, cut to sequences of 3 without any prefetching."""
    return [page_batch(pages, (page,), BYTES, 3).tokens.tolist() for page in ids]


class TestBatches:
    def test_each_row_is_followed_by_the_end_token(self) -> None:
        assert BYTES.encode_rows(["ab", "", "c"]).tolist() == [100, 101, 1, 1, 102, 1]

    @given(st.lists(st.integers(0, 300)), st.integers(2, 9))
    def test_sequences_are_the_tokens_in_order(self, tokens: list[int], length: int) -> None:
        cut = sequences(np.array(tokens, dtype=np.int64), length, eos=1)
        assert cut.dtype == np.int64
        if len(tokens) < length:
            assert cut.tolist() == [tokens + [1] * (length - len(tokens))]
        else:
            assert cut.shape == (len(tokens) // length, length)
            assert cut.flatten().tolist() == tokens[: cut.size]

    def test_a_sequence_of_one_token_predicts_nothing(self) -> None:
        with pytest.raises(ValueError, match="at least 2 tokens"):
            sequences(np.array([1, 2, 3]), 1, eos=1)

    def test_pages_are_cut_apart(self) -> None:
        pages = ListedPages([["abcd"], ["efghijk", "l"], ["m"]])
        batch = page_batch(pages, (1, 2), BYTES, 4)
        text = [[104, 105, 106, 107], [108, 109, 110, 1], [112, 1, 1, 1]]
        assert batch.tokens.tolist() == text


class TestPrefetch:
    PAGES = (["ab"], ["cdef"], ["gh"], ["ij"])

    def test_it_yields_each_pages_batch_in_order(self) -> None:
        pages = ListedPages(self.PAGES)
        with Prefetch(pages, BYTES, 3, (2, 0, 1)) as batches:
            loaded = list(batches)
        assert [batch.tokens.tolist() for batch in loaded] == alone(pages, 2, 0, 1)

    def test_no_pages_give_no_batches(self) -> None:
        with Prefetch(ListedPages(self.PAGES), BYTES, 3, ()) as batches:
            assert list(batches) == []

    def test_exactly_one_page_is_loaded_ahead(self) -> None:
        pages = ListedPages(self.PAGES)
        taken: list[int] = []

        def ids() -> Iterator[int]:
            for page in range(4):
                taken.append(page)
                yield page

        with Prefetch(pages, BYTES, 3, ids()) as batches:
            assert pages.asked[0].wait(30)
            assert taken == [0]
            next(batches)
            assert pages.asked[1].wait(30)  # while the caller still has page 0
            assert taken == [0, 1]
        assert not pages.asked[2].is_set()

    def test_trouble_with_a_page_is_raised_at_its_turn(self) -> None:
        pages = ListedPages([["ab"], None, ["cd"]])
        with Prefetch(pages, BYTES, 3, range(3)) as batches:
            assert [next(batches).tokens.tolist()] == alone(pages, 0)
            assert pages.asked[1].wait(30)
            with pytest.raises(DataError, match="page 1 is damaged"):
                next(batches)

    def test_several_pages_are_loaded_at_once_and_come_in_order(self) -> None:
        pages = MeetingPages(self.PAGES, meeting=3)
        with Prefetch(pages, BYTES, 3, (2, 0, 3, 1), ahead=3) as batches:
            # Each of the first three waits for the other two: one after the other would never end.
            loaded = [batch.tokens.tolist() for batch in batches]
        assert loaded == alone(pages, 2, 0, 3, 1)

    def test_no_more_pages_than_asked_for_are_loaded_ahead(self) -> None:
        taken: list[int] = []

        def ids() -> Iterator[int]:
            for page in (0, 1, 2, 3):
                taken.append(page)
                yield page

        with Prefetch(ListedPages(self.PAGES), BYTES, 3, ids(), ahead=2) as batches:
            assert taken == [0, 1]
            next(batches)
            assert taken == [0, 1, 2]

    def test_trouble_waits_for_its_turn_with_many_ahead(self) -> None:
        pages = ListedPages([["ab"], ["cd"], None, ["ef"]])
        with Prefetch(pages, BYTES, 3, range(4), ahead=4) as batches:
            assert [next(batches).tokens.tolist() for _ in range(2)] == alone(pages, 0, 1)
            for _ in range(2):
                with pytest.raises(DataError, match="page 2 is damaged"):
                    next(batches)

    def test_its_thread_ends_with_it(self) -> None:
        before = set(threading.enumerate())
        with Prefetch(ListedPages(self.PAGES), BYTES, 3, range(4)) as batches:
            next(batches)
            assert set(threading.enumerate()) > before
        assert set(threading.enumerate()) == before
        with pytest.raises(StopIteration):
            next(batches)
