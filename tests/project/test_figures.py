"""README and docs quote figures: each is its report's, or is marked as historical."""

import re

import pytest

from tern_fpga.assembler.errors import TernError
from tests.project.figures import FIGURES, MARK, PAGES, ROOT, figure, filled


# A number that was measured, by its unit; test_boards_build.py has those marked as estimates.
_MEASURED = re.compile(
    r"\d[\d,.]*(?: to \d[\d,.]*)?\s(?:%|tokens/s|cycles/s|cycles a|LUT4|s a token|minutes|s on)")
_DESIGN = re.compile(r"\b(?:100|3|within \d) %")        # all of something; a bound that is asserted

read = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@read
def test_figures_are_those_of_the_reports(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"


def test_a_figure_that_is_no_longer_its_report_s_is_seen():
    name = next(iter(FIGURES))
    assert filled(f"<!--{name}-->1<!--/--> so") == f"<!--{name}-->{figure(name)}<!--/--> so"
    with pytest.raises(TernError, match="no figure 'nothing'"):
        filled("<!--nothing-->1<!--/-->")


def loose(text):
    """Measured numbers of a page that are neither a report's nor marked with a dagger."""
    text = re.sub(r"`[^`\n]*`|^    [^\n]*$", "", MARK.sub("", text), flags=re.M)
    return [match[0] for match in _MEASURED.finditer(text)
            if not re.match(r"\s?†| \(estimate\)", text[match.end():])
            and not _DESIGN.search(match[0])]


@read
def test_no_measured_figure_is_typed(page):
    assert not loose(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text, found", [
    ("reaches 98.4 % of it", ["98.4 %"]), ("98.4 % † of it", []), ("all 100 %", []),
    ("`98 %` in code", []), ("<!--flips.flips-->98 %<!--/-->", []),
    ("in 476 s on one H100", ["476 s on"]), ("12 minutes of a core", ["12 minutes"]),
    ("594,782 cycles a token", ["594,782 cycles a"]), ("168 tokens/s", ["168 tokens/s"]),
])
def test_what_counts_as_typed(text, found):
    assert loose(text) == found
