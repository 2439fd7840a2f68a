"""docs/troubleshooting.md quotes what the program really says, and knows every kind of error."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from boltzmann import errors

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
_GAP = "\0"  # what a sentence names: known when it is said


def quotes() -> list[str]:
    """The sentences in the first column of the tables that begin with "it says"."""
    found, listed = [], False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            listed = False
        elif line.startswith("| it says |"):
            listed = True
        elif listed:
            found += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return found


def sentences() -> list[str]:
    """Every text of the package's source but docstrings, with _GAP for what is filled in."""
    found = []
    for path in sorted((ROOT / "boltzmann").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            text_of(node)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in docstrings
        ]
    return found


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _GAP


def is_said(quote: str, said: list[str]) -> bool:
    """Whether one text has the quote's fixed parts, in order; an ellipsis stands for anything."""
    pattern = re.compile(".*".join(map(re.escape, quote.split("…"))), re.DOTALL)
    return any(pattern.search(text) for text in said)


SAID = sentences()
QUOTES = quotes()


def test_the_page_quotes_most_of_what_there_is_to_quote() -> None:
    assert len(QUOTES) > 100
    assert len(QUOTES) == len(set(QUOTES))


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_sentence_is_in_the_source(quote: str) -> None:
    assert len(quote.replace("…", "").strip()) >= 8, "too little of it is fixed to be found again"
    assert is_said(quote, SAID), "nothing in boltzmann/ says this: mend docs/troubleshooting.md"


@pytest.mark.parametrize(
    "quote", ["hotkey … is not registered on Mars", "is not registered … hotkey (", "no such words"]
)
def test_what_nobody_says_is_found_out(quote: str) -> None:
    assert not is_said(quote, SAID)


def test_every_kind_of_error_is_on_the_page() -> None:
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type)]
    assert [name for name in kinds if f"`{name}`" not in PAGE] == []
