"""Traces and waveforms: every instruction that was issued, on its unit's track, in its turn."""

from itertools import pairwise
import json

import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.errors import report
from tern_fpga.sim import host
from tern_fpga.sim.cli import main
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl import trace
from tern_fpga.sim.rtl.machine import RtlMachine
from tests import random_model
from tests.hw.test_counters import SHAPE, TINY
from tests.sim.test_rtl import image_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = random_model.write(tmp_path_factory.mktemp("model") / "model", **SHAPE)
    return compile_model(folder, TINY, "sim-tiny")


def issued(image, words):
    """Numbers of the instructions that the golden machine executes, the last one waits."""
    golden = Machine(image)
    golden.send(words)
    found = [golden.pc]
    while golden.step() == "running":
        found.append(golden.pc)
    return found


def test_every_instruction_has_its_slice(model):
    words = host.conversation(TINY, [1, 5], 2)
    machine = RtlMachine(model, seed=3, latency=20, gap=50, busy=30)
    record = trace.Trace(machine, model, clock_mhz=100)
    machine.send(words)
    assert machine.run() == "waiting"
    machine.clock(2000)
    tracks, program = record.slices(), model.instructions()
    units = [isa.lookup(isa.decode(word)[0]) for word in program]
    expected = issued(model, words)
    assert [pc for *_, pc in tracks["sequencer"]] == expected
    for track, mine in {
            "memory":  lambda i: i.unit is isa.Unit.MEMORY,
            "vector":  lambda i: i.unit is isa.Unit.VECTOR,
            "array":   lambda i: i.mnemonic == "matmul",
            "drain":   lambda i: i.unit is isa.Unit.ARRAY,
            "weights": lambda i: i.mnemonic == "stream"}.items():
        assert [pc for *_, pc in tracks[track]] == [pc for pc in expected if mine(units[pc])]
    for track, slices in tracks.items():
        assert all(start < stop for start, stop, _ in slices), track
        assert all(stop <= start for (_, stop, _), (start, *_) in pairwise(slices)), track
    # What a unit has was fetched before, a result is drained after its sums began.
    fetched = dict(zip(("memory", "vector"), ([], [])))
    for start, _, pc in tracks["sequencer"]:
        for track in fetched:
            if units[pc].unit.value == track:
                fetched[track].append(start)
    for track, starts in fetched.items():
        assert all(a < b for a, (b, *_) in zip(starts, tracks[track], strict=True))
    matmuls = [each for each in tracks["drain"] if units[each[2]].mnemonic == "matmul"]
    assert all(a[1] < b[1] for a, b in zip(tracks["array"], matmuls, strict=True))
    shares = [sum(point.values()) for _, point in record.memory()]
    assert shares[10:] == pytest.approx([1] * len(shares[10:]))


def test_perf_writes_a_trace(model, tmp_path, capsys):
    model.save(tmp_path)
    file = tmp_path / "trace.json"
    assert report(main, ["perf", str(tmp_path), "--tokens", "1", "--trace", str(file)]) == 0
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(tracks.values()) == ["sequencer", *trace.QUEUES, "weights"]
    slices = [event for event in events if event["ph"] == "X"]
    program = model.files["program.tasm"].decode().splitlines()
    for event in slices:
        line = program[event["args"]["line"] - 1].partition(";")[0]
        assert event["name"].split() == line.split()
        assert event["ts"] == pytest.approx(event["args"]["cycle"] / 100)
    expected = issued(model, host.conversation(TINY, [1], 3))
    assert len([event for event in slices if tracks[event["tid"]] == "sequencer"]) == len(expected)
    capsys.readouterr()
    full = tmp_path / "full"        # a folder that is not empty, where the file should be
    (full / "below").mkdir(parents=True)
    assert report(main, ["perf", str(tmp_path), "--tokens", "1", "--trace", str(full)]) == 2
    out, err = capsys.readouterr()
    assert "cycles a token" in out and err.startswith(f"error: {full}: cannot write: ")
    assert report(main, ["perf", str(tmp_path), "--trace", str(tmp_path / "no" / "x")]) == 2


def test_names_without_a_text_are_disassembled(tmp_path):
    image = image_of(TINY, [isa.encode("set", r=1, imm=5), isa.encode("bnz", r=1, target=1),
                            isa.encode("const", dst=isa.Operand(isa.Space.S, 3),
                                       value=int(TINY.float.encode(1.5)))])
    assert trace.names(image) == [("set r1, 5", 1, "+0"), ("bnz r1, L1", 3, "L1+0"),
                                  ("const s3, 1.5", 4, "L1+1")]
    trace.write_names(image, tmp_path / "core.vcd")
    assert (tmp_path / "core.names").read_text(encoding="utf-8").splitlines()[:2] == [
        "000 0 set r1, 5", "001 1 bnz r1, L1"]
