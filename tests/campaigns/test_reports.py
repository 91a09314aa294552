"""What was measured is told, whatever becomes of the report about it."""

from dataclasses import replace
import importlib
import json
import re

import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.sim.cli import main
from tern_fpga.sim.commands import numerics, perf, positions, sdram
from tests.campaigns import flips, noise, rates
from tests.compiled import TINY_A


RATES = positions.Rates(8, 1000.0, 125.5, 64, 126.5, 1e6)
RUN   = sdram.Result(read=1000, written=700, span=1004, latency=7, refreshes=3, cycles=4321)
ROWS  = [numerics.Row("m", 12, 6, 9.875, 0.001, 0.99)]
POINT = {"model": "m", "target": "ulx3s-85f", "lanes": 20, "positions": 8, "memory": "part",
         "streams": 1, "cycles": 1e6 / 1.96, "bytes_read": 1e6, "bytes_written": 0, "adds": 5e6,
         "clock_mhz": 100, "peak_bytes": 2e8, "tokens_per_second": 1.0}


@pytest.fixture
def image(tmp_path):
    compile_model(TINY_A, preset("ulx3s-85f"), "ulx3s-85f").save(tmp_path / "image")
    return str(tmp_path / "image")


@pytest.fixture
def point(tmp_path):
    (tmp_path / "point.json").write_text(json.dumps(POINT), encoding="utf-8")
    return str(tmp_path / "point.json")


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Measurements that take no time; their figures are in no page's text."""
    monkeypatch.setattr(sdram, "run_bench", lambda *words, **options: RUN)
    monkeypatch.setattr(positions, "measure", lambda *words, **options: RATES)
    monkeypatch.setattr(numerics, "measure", lambda *words, **options: (64, 9.875, ROWS))
    monkeypatch.setattr(noise, "one_run", lambda config, seed, *, baud: noise.Outcome(
        baud, seed, 17, 4321, None, 0, 5.0))
    monkeypatch.setattr(rates, "PAIRS", rates.PAIRS[:1])
    monkeypatch.setattr(rates, "measure", lambda pair, folder: (4321, replace(
        PERFORMANCE, cycles=4321.0)))
    monkeypatch.setattr(flips, "Campaign", Flips)
    monkeypatch.setattr(flips, "UNSEEN", ())


PERFORMANCE = perf.Performance(**{name: 1.0 for name in perf.Performance.__dataclass_fields__})


class Flips:
    def __init__(self, bits, seed):
        pass

    def flip(self, number, kind):
        return flips.Flip({3: 1})

    def run(self, flip=None):
        return flips.Outcome(1 if flip else None, False)


COMMANDS = {
    "sdram": (main, ["sdram", "--part", "AS4C32M16SB-7", "--report"], "4,321"),
    "positions": (main, ["positions", "IMAGE", "--report"], "1,000"),
    "positions --json": (main, ["positions", "IMAGE", "--json", "--report"], "125.5"),
    "numerics": (main, ["numerics", str(TINY_A), "--text", "POINT", "--report"], "9.875"),
    "roofline": (main, ["roofline", "POINT", "--report"], "98.0%"),
    "noise": (noise.main, ["--runs", "1", "--slow-runs", "0", "-o"], "4321"),
    "rates": (rates.main, ["--reports"], "4,321"),
    "flips": (flips.main, ["--flips", "1", "--patterns", "0", "--bits", "16", "-o"],
              "1 of 1 single bits reported"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_report_that_cannot_be_written_leaves_its_numbers_on_the_terminal(
        name, image, point, tmp_path, monkeypatch, capsys):
    command, words, told = COMMANDS[name]
    out = tmp_path / "out"
    pages = [out / "estimator.md"] if name == "rates" else [out / "page.md"]
    for page in pages:              # a folder that is not empty, where the page should be
        (page / "below").mkdir(parents=True)
    words = [{"IMAGE": image, "POINT": point}.get(word, word) for word in words]
    assert report(command, [*words, str(out if name == "rates" else pages[0])]) == 2
    captured = capsys.readouterr()
    assert told in captured.out
    assert captured.err.splitlines()[-1].startswith(f"error: {pages[0]}: cannot write: ")
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", COMMANDS)
def test_folder_that_is_not_there_is_told_before_the_work(name, image, point, tmp_path, monkeypatch,
                                                          capsys):
    for module, function in ((sdram, "run_bench"), (positions, "measure"), (numerics, "measure"),
                             (noise, "one_run"), (rates, "measure"), (flips, "Campaign")):
        monkeypatch.setattr(module, function, lambda *words, **options: pytest.fail("work"))
    command, words, _ = COMMANDS[name]
    words = [{"IMAGE": image, "POINT": point}.get(word, word) for word in words]
    page = tmp_path / "nowhere" / ("" if name == "rates" else "page.md")
    assert report(command, [*words, str(page)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "no such folder" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["sdram", "positions", "positions --json", "numerics"])
def test_a_failure_half_way_leaves_what_was_measured(name, image, point, monkeypatch, capsys):
    command, words, told = COMMANDS[name]
    module = {"sdram": sdram, "numerics": numerics}.get(name, positions)
    function = "run_bench" if name == "sdram" else "measure"
    works, times = getattr(module, function), []

    def second_fails(*words, **options):
        times.append(1)
        if len(times) > (2 if name == "sdram" else 1):
            raise TernError("half-way")
        return works(*words, **options)

    monkeypatch.setattr(module, function, second_fails)
    words = [{"IMAGE": image, "POINT": point}.get(word, word) for word in words[:-1]]
    place = len(words) if name == "sdram" else 2
    words[place:place] = {"numerics": [str(TINY_A)],
                          "sdram": ["--part", "W9825G6KH-6"]}.get(name, [image])
    assert report(command, words) == 2
    captured = capsys.readouterr()
    assert told in captured.out and captured.err == "error: half-way\n"
    if name.endswith("json"):
        assert len(json.loads(captured.out)) == 1


@pytest.mark.parametrize("words", ["authors FOLDER --report nowhere/x.md",
                                   "board_netlist ulx3s-25f --reports nowhere",
                                   "boards_sim -o nowhere/x.md",
                                   "draws FOLDER --report nowhere/x.md",
                                   "large --report nowhere/x.md"])
def test_what_is_measured_by_hand_asks_for_its_folder_before_the_work(words, tmp_path, monkeypatch,
                                                                     capsys):
    monkeypatch.chdir(tmp_path)
    name, *arguments = words.split()
    assert report(importlib.import_module(f"tests.campaigns.{name}").main, arguments) == 2
    assert re.fullmatch(r"error: nowhere/\S+: no such folder\n", capsys.readouterr().err)
