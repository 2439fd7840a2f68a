"""The documentation's links lead somewhere, and operators are told every word of `status`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from boltzmann.app.status import phase_of
from boltzmann.protocol.clock import WindowClock

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for place, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / place if place else page
        assert target.exists(), f"{page.name} links to {place}, which is not there"
        assert not anchor or anchor in anchors(target), f"{place} has no heading #{anchor}"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"(docs/{p.name})" not in readme] == []


def test_operators_are_told_every_phase_of_a_window() -> None:
    clock = WindowClock(train_blocks=4, exchange_blocks=8)
    blocks = range(clock.open(3), clock.open(4))
    phases = {phase_of(clock, 3, block)[0] for block in blocks}
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert len(phases) == 6
    assert [phase for phase in phases if f"| `{phase}` |" not in page] == []
