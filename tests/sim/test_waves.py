"""Waveforms: what is in the files, from which cycle to which, and what the views show."""

from bisect import bisect_right
import re
import resource

import pytest
import pywellen

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.sim import host
from tern_fpga.sim.cli import main
from tern_fpga.sim.rtl import trace, verilate
from tern_fpga.sim.rtl.machine import RtlMachine
from tern_fpga.sim.rtl.waves import Waves
from tests import random_model
from tests.hw.test_counters import SHAPE, TINY
from tests.sim.test_rtl import image_of


PERIOD = 10_000         # picoseconds of a cycle at 100 MHz
WORDS  = host.conversation(TINY, [1, 5], 3)
PC     = "top.harness.top.core.sequencer.pc"
VALID  = "top.harness.tokens__valid"


@pytest.fixture(scope="module", autouse=True)
def headers():
    try:
        verilate.check_fst()
    except TernError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = random_model.write(tmp_path_factory.mktemp("model") / "model",
                                **{**SHAPE, "layers": 2})
    return compile_model(folder, TINY, "sim-tiny")


class File:
    """A file of waveforms, as Surfer's reader has it: bits and values of signals by path."""
    def __init__(self, path):
        wave = pywellen.Waveform(str(path))
        assert str(wave.timescale) == "1ps"
        self._vars = {var.full_name: var for var in wave.all_vars()}
        self.bits  = {name: var.bitwidth for name, var in self._vars.items()}
        self._read = {}

    def changes(self, signal):
        """([time], [value])."""
        if signal not in self._read:
            self._read[signal] = tuple(zip(*self._vars[signal].tv))
        return self._read[signal]

    def cycles(self):
        """Numbers of the cycles, by the clock's rising edges in their middle."""
        return [time // PERIOD for time, value in zip(*self.changes("top.harness.clk"))
                if value and time % PERIOD == PERIOD // 2]

    def at(self, signal, cycle):
        """Value in this cycle, as the rising edge sees it."""
        times, values = self.changes(signal)
        return values[bisect_right(times, cycle * PERIOD) - 1]


def run(image, wanted, words=()):
    """The machine after its run, closed; its counts."""
    machine = RtlMachine(image, waves=wanted)
    machine.send(words)
    machine.run()
    total = machine.total_cycles
    machine.close()
    return total


def test_all_cycles_and_named_signals_are_there(tmp_path):
    image = image_of(TINY, [isa.encode("set", r=3, imm=77), isa.encode("halt")])
    wanted = Waves(tmp_path / "core.vcd")
    total = run(image, wanted)
    file = File(wanted.path)
    assert file.cycles() == list(range(total)) and wanted.cycles == total
    assert file.changes(PC)[1][:2] == (0, 1)
    assert not [name for name in file.bits if re.search(r"\.(\$|port\$)", name)]


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """Waveforms of a run without limits, its cycles, and those in which a token came."""
    wanted = Waves(tmp_path_factory.mktemp("waves") / "whole.fst")
    total = run(model, wanted, WORDS)
    file = File(wanted.path)
    assert file.cycles() == list(range(total))
    came = [cycle for cycle in range(total) if file.at(VALID, cycle)]   # `ready` is always 1
    assert len(came) == 3
    return file, total, came


def test_a_window_is_exact(model, whole, tmp_path):
    every, total, came = whole
    for window, first, last in (
            ({"cycles": (1000, 1999)}, 1000, 1999),
            ({"cycles": (total - 5, total + 100)}, total - 5, total - 1),
            ({"tokens": (1, 1)}, 0, came[0]),
            ({"tokens": (2, 3)}, came[0] + 1, came[2]),
            ({"tokens": (2, 2), "cycles": (0, came[0] + 50)}, came[0] + 1, came[0] + 50)):
        part = Waves(tmp_path / "part.fst", window)
        assert run(model, part, WORDS) == total
        file = File(part.path)
        assert file.cycles() == list(range(first, last + 1)), window
        assert (part.begun, part.cycles) == (first, last + 1 - first)
        assert file.changes("top.harness.clk")[0][0] == first * PERIOD
        for signal in (VALID, PC):
            for cycle in range(first, last + 1):
                assert file.at(signal, cycle) == every.at(signal, cycle), (signal, cycle)


def test_a_window_of_instructions_is_where_the_sequencer_has_them(model, whole, tmp_path):
    every, _, came = whole
    pcs   = {cycle: every.at(PC, cycle) for cycle in range(came[0] + 1, came[1] + 1)}
    wanted = pcs[came[0] + len(pcs) // 3]       # of those that each token executes
    limits = wanted - 1, wanted + 1
    first = next(cycle for cycle, pc in pcs.items() if limits[0] <= pc <= limits[1])
    last  = next(cycle for cycle in range(first, came[1] + 1)
                 if not limits[0] <= pcs[cycle + 1] <= limits[1])
    part  = Waves(tmp_path / "part.fst", {"instructions": limits, "tokens": (2, 2)})
    run(model, part, WORDS)
    assert File(part.path).cycles() == list(range(first, last + 1))
    assert {pcs[cycle] for cycle in range(first, last + 1)} == {wanted - 1, wanted, wanted + 1}


def test_both_formats_say_the_same(model, whole, tmp_path):
    """The same signals, and in each the same values at the same times."""
    window = {"cycles": (2000, 2300)}
    files = []
    for name in ("part.fst", "part.vcd"):
        run(model, Waves(tmp_path / name, window), WORDS)
        files.append(File(tmp_path / name))
    fst, vcd = files
    assert fst.bits == vcd.bits == whole[0].bits
    for signal in fst.bits:
        assert fst.changes(signal) == vcd.changes(signal), signal


def test_blocks_are_chosen_by_name(model, whole, tmp_path):
    every = whole[0]
    wanted = Waves(tmp_path / "part.fst", {"cycles": (0, 99)}, ("drain", "memory", "array.loader"))
    run(model, wanted, WORDS)
    file = File(wanted.path)
    core = "top.harness.top.core."
    inside = (f"{core}array.drain.", f"{core}array.loader.", "top.harness.top.memory.")
    assert set(file.bits) == {
        name for name in every.bits
        if name.startswith(inside) or name == PC or re.fullmatch(r"top\.harness\.\w+", name)}


@pytest.mark.parametrize("blocks, message", [
    (("drains",), "no block 'drains'; there are arbiter, array, "),
    (("rows",), "several blocks are called rows: "), (("",), "no block ''")])
def test_blocks_that_do_not_exist_are_refused(model, blocks, message):
    with pytest.raises(TernError, match=re.escape(message)):
        Waves("core.fst", {}, blocks).check(model)


def test_the_views_show_what_is_there(model, whole, tmp_path):
    every = whole[0]
    for blocks in ((), ("sequencer", "drain")):
        wanted = Waves(tmp_path / "my core.fst", {"cycles": (0, 99)}, blocks)
        run(model, wanted, WORDS)
        file = File(wanted.path)
        wanted.write_views(model)
        gtkwave = (tmp_path / "my core.gtkw").read_text(encoding="utf-8").splitlines()
        shown = [re.fullmatch(r"(top\.\S+?)(?:\[(\d+):0\])?", line)
                 for line in gtkwave if line.startswith("top.")]
        assert all(file.bits[each[1]] == int(each[2] or 0) + 1 for each in shown)
        names = [each[1] for each in shown]
        surfer = (tmp_path / "my core.sucl").read_text(encoding="utf-8").splitlines()
        assert [line.split()[1] for line in surfer if line.startswith("variable_add")] == names
        # Every state machine and every handshake between the core's blocks that was written.
        states = {name for name in file.bits if name.endswith(".fsm_state")}
        assert {name for name in names if name.endswith(".fsm_state")} == states - {
            name for name in states if ".top.memory." in name} and len(states) >= 1
        assert names[:3] == ["top.harness.clk", "top.harness.rst", PC]
        handshakes = {name for name in names if name.endswith("__valid")}
        assert "top.harness.top.core.sequencer.array__valid" in handshakes
        assert ("top.harness.top.core.vector.i__valid" in handshakes) == (not blocks)
    assert f"^1 {tmp_path / 'my core.names'}" in gtkwave
    assert f'[dumpfile] "{wanted.path}"' in gtkwave
    digits = -(-every.bits[PC] // 4)        # as GTKWave shows a value, which is what it looks up
    assert (tmp_path / "my core.names").read_text(encoding="utf-8").splitlines() == [
        f"{pc:0{digits}x} {pc} {name}" for pc, (name, *_) in enumerate(trace.names(model))]
    # Surfer counts items in digits a to p.
    at = [line for line in surfer if line.startswith(("divider_add", "variable_add"))].index(
        f"variable_add {PC}")
    where = surfer.index(f"variable_add {PC}")
    assert surfer[where + 1:where + 4] == [
        f"item_focus {chr(ord('a') + at)}", "item_set_format my core", "item_unfocus"]
    mapping = (tmp_path / ".surfer" / "mappings" / "my core.txt").read_text("utf-8").splitlines()
    assert mapping[:2] == ["Name = my core", f"Bits = {every.bits[PC]}"]
    assert mapping[2:] == [f"{pc} {pc} {name}"
                           for pc, (name, *_) in enumerate(trace.names(model))]


@pytest.mark.parametrize("form", ["fst", "vcd"])
def test_a_full_disk_is_an_error_and_leaves_nothing(model, tmp_path, form):
    """A file that may not grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    machine = RtlMachine(model, waves=Waves(tmp_path / f"core.{form}"))
    machine.send(WORDS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        machine.run()
        with pytest.raises(TernError, match="cannot write: is the disk full"):
            machine.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_perf_writes_waveforms(model, tmp_path, capsys):
    model.save(tmp_path / "image")
    file = tmp_path / "core.fst"
    arguments = ["perf", str(tmp_path / "image"), "--tokens", "1", "--memory", "plain"]
    assert report(main, [*arguments, "--waves", str(file), "--window", "tokens=3", "--window",
                         "cycles=0:999999", "--blocks", "sequencer"]) == 0
    assert "if there were a board of it" in " ".join(capsys.readouterr().out.split())
    assert file.stat().st_size < 2_000_000
    for suffix in (".gtkw", ".sucl", ".names"):
        assert file.with_suffix(suffix).exists()
    file.unlink()
    for wrong, message in (
            (["--waves", str(file), "--window", "tokens=4"], "the run has 3 tokens"),
            (["--waves", str(file), "--window", "cycles=99999999"], "nothing to write: the run has "
             "no cycle in the window cycles=99999999:99999999"),
            (["--waves", str(file), "--window", "instructions=4000"], "no instruction 4000"),
            (["--waves", str(file), "--window", "tokens=2", "--window", "tokens=3"],
             "the same kind twice"),
            (["--waves", str(file), "--blocks", "arrays"], "no block 'arrays'"),
            (["--blocks", "array"], "give --waves"),
            (["--waves", str(tmp_path)], "ends neither in .fst nor in .vcd"),
            (["--waves", str(tmp_path / "no" / "core.fst")], "no such folder"),
            (["--waves", str(file), "--window", "tokens=0"], "from 1 on"),
            (["--waves", str(file), "--window", "cycles=5:4"], "ends before it begins"),
            (["--waves", str(file), "--window", "tokens=-1"], "is not tokens=N")):
        try:
            status = report(main, [*arguments, *wrong])
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr().err
        assert status == 2 and message in said and said.count("\n") == 1, wrong
        assert not file.exists(), wrong
