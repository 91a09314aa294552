# amaranth: UnusedElaboratable=no
"""The SDRAM controller at the pins of checking models: rate, data, and every rule kept.

The million words of each part are ``make sdram``; these are shorter runs of the same bench.
"""

from dataclasses import replace
from fractions import Fraction
import gc
from types import SimpleNamespace

from amaranth.back import verilog
from amaranth.lib import io
import pytest

from tern_fpga.assembler.contract.config import CLOCK_MHZ, SDRAM_MHZ, Config, preset
from tern_fpga.assembler.contract.registers import GROUPS
from tern_fpga.assembler.contract.sdram_parts import PARTS, SDRAM_BITS, Timing, part
from tern_fpga.assembler.errors import TernError
from tern_fpga.boards.parts import BOARDS
from tern_fpga.boards.sdram import BoardSdram
from tern_fpga.boards.top import Top
from tern_fpga.hw.memory.crossing import FastSdram
from tern_fpga.hw.memory.sdr.sdram import SdramController
from tern_fpga.sim import host
from tern_fpga.sim.commands import perf, sdram
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl import hardware, sdram_parts
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.verilog import icarus, run_verilog


CONFIG = preset("ulx3s-85f")
FAST   = replace(CONFIGS["narrow"], memory_bits=32, lanes=20)


@pytest.mark.parametrize("name, clock, cas", [("AS4C32M16SB-7", "100", 2),
                                              ("W9825G6KH-6", "133", 2),
                                              ("IS42S16160G-7", "143", 3)])
def test_rate_and_data(name, clock, cas):
    read = sdram.run_bench(name, clock, cas, random=False, words=100_000, fill=1 << 17)
    assert read.rate > 0.985
    runs = [sdram.run_bench(name, clock, cas, random=True, words=200_000, fill=1 << 17, seed=seed)
            for seed in (1, 2)]
    assert all(run.read + run.written >= 200_000 for run in runs)
    assert min(run.latency for run in runs) == cas + 11         # an open row, nothing else to do


def controller(name="MT48LC16M16A2-75", clock_mhz=400 / 3, timing=None, **options):
    """Verilog of a controller; ``timing``: values that are not those of the part."""
    made = SdramController(config=CONFIG, part=part(name), clock_mhz=clock_mhz, **options)
    made.timing = replace(made.timing, **(timing or {}))
    return verilog.convert(made, name="sdram_controller", emit_src=False)


def bench(text, name="MT48LC16M16A2-75", clock_mhz=400 / 3, cas=3, **options):
    return sdram.bench_sources(name, clock_mhz, cas, fill=1 << 15, controller=text, **options)


@icarus
def test_whole_power_up():
    """As on a board: the time that the part asks for before its first command."""
    sources = bench(controller(), power_up_us=100)
    for random, words in ((0, 5000), (1, 24_000)):
        run_verilog(sources, "sdram_bench", "cocotb_sdram", "icarus", random=random, words=words,
                    seed=3)


VENDOR = """
module mt48lc16m16a2(Dq, Addr, Ba, Clk, Cke, Cs_n, Ras_n, Cas_n, We_n, Dqm);
    inout  [15:0] Dq;
    input  [12:0] Addr;
    input  [1:0]  Ba, Dqm;
    input         Clk, Cke, Cs_n, Ras_n, Cas_n, We_n;
    tern_sdram #(`TERN_PART) part(
        Dq, Addr, Ba, Clk, Cke, Cs_n, Ras_n, Cas_n, We_n, Dqm);
endmodule
"""


@icarus
def test_a_vendor_s_model_fits():
    """Ports, in Micron's order and by name, and nothing that only our model has."""
    sources = bench(controller(power_up_us=2, clock_mhz=100), clock_mhz=100, cas=2, power_up_us=2)
    sources["sdram_bench.v"] = "`define TERN_MODEL mt48lc16m16a2\n" + sources["sdram_bench.v"]
    sources["vendor.v"] = VENDOR
    run_verilog(sources, "sdram_bench", "cocotb_sdram", "icarus", random=1, words=20_000, seed=4)


@icarus
def test_two_parts_side_by_side():
    config = Config(memory_bits=32, memory_bytes=1 << 26, lanes=20)
    text = verilog.convert(SdramController(config=config, part=part("W9825G6KH-6"), clock_mhz=100,
                                           power_up_us=2), name="sdram_controller", emit_src=False)
    sources = bench(text, "W9825G6KH-6", 100, 2, config=config, power_up_us=2)
    run_verilog(sources, "sdram_bench", "cocotb_sdram", "icarus", random=1, words=20_000, seed=5)


@icarus
@pytest.mark.parametrize("rule, timing", [("tRP", dict(rp=2)), ("tRFC", dict(rfc=8)),
                                          ("tREFI", dict(refi=1200))])
def test_a_wrong_controller_is_found(rule, timing):
    text = controller(power_up_us=2, timing=timing)
    with pytest.raises(pytest.fail.Exception, match=f"sdram: {rule} broken"):
        run_verilog(bench(text, power_up_us=2), "sdram_bench", "cocotb_sdram", "icarus",
                    random=0, words=12_000, seed=1)


@icarus
@pytest.mark.parametrize("capture, registers, right", [
    (-2, None, False), (-1, None, True), (0, None, True), (4, "posedge", True),
    (2, "negedge", True)])
def test_words_are_taken_while_they_are_there(capture, registers, right):
    """The part's clock inverted, and words 9.4 ns late: tAC of 5.4 ns and 4 ns in the FPGA.

    ``registers``: with registers in I/O cells, that of a word at this edge of the clock.
    """
    text    = controller(clock_mhz=100, power_up_us=2, capture=capture)
    sources = bench(text, clock_mhz=100, cas=2, power_up_us=2)
    defines = "`define TERN_LOOP_NS 9.4\n"
    if registers:
        defines += f"`define TERN_PIN_REGISTERS {registers}\n"
    sources["sdram_bench.v"] = defines + sources["sdram_bench.v"]

    def run():
        run_verilog(sources, "sdram_bench", "cocotb_sdram", "icarus", random=0, words=4000,
                    seed=2)
    if right:
        run()
    else:
        with pytest.raises(pytest.fail.Exception, match="word 0 is"):
            run()


def test_both_tables_of_parts_agree():
    """The controller's table in nanoseconds, the model's in picoseconds."""
    names = {"t_rcd": "tRCD", "t_rp": "tRP", "t_ras": "tRAS", "t_ras_max": "tRAS_MAX",
             "t_rc": "tRC", "t_rfc": "tRFC", "t_rrd": "tRRD", "t_wr": "tWR", "t_mrd": "tMRD"}
    clocks = {"rrd_clocks": ("RRD_CLOCKS", 1), "wr_clocks": ("WR_CLOCKS", 1),
              "mrd_clocks": ("MRD_CLOCKS", 2)}
    assert set(PARTS) == set(sdram_parts.PARTS)
    for name, known in PARTS.items():
        model = sdram_parts.PARTS[name]
        assert (model["ROW_BITS"], model["COL_BITS"]) == (known.row_bits, known.column_bits)
        assert {cas: model[f"tCK{cas}"] for cas in (2, 3)} == {
            cas: round(1000 * ns) for cas, ns in known.t_ck.items()}
        assert model["POWER_UP"] == 1_000_000 * known.power_up_us
        for ours, theirs in names.items():
            assert model[theirs] == round(1000 * getattr(known, ours)), (name, theirs)
        for ours, (theirs, default) in clocks.items():
            assert model.get(theirs, default) == getattr(known, ours), (name, theirs)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("clock_mhz", [50, 100, 400 / 3, 1000 / 7])
def test_cycles_are_as_long_as_the_datasheet_asks(name, clock_mhz):
    known = part(name)
    if clock_mhz > 1000 / known.t_ck[3]:
        with pytest.raises(ValueError, match="does not run at"):
            Timing.of(known, clock_mhz)
        return
    timing, period = Timing.of(known, clock_mhz), 1000 / clock_mhz
    for cycles, ns in ((timing.rcd, known.t_rcd), (timing.rp, known.t_rp),
                       (timing.ras, known.t_ras), (timing.ras + timing.rp, known.t_rc),
                       (timing.rfc, known.t_rfc), (timing.rrd, known.t_rrd),
                       (timing.wr, known.t_wr), (timing.mrd, known.t_mrd)):
        assert cycles * period >= ns - 1e-6
    assert timing.refi * period <= 64e6 / 8192
    assert known.t_ck[timing.cas] <= period + 1e-6


@pytest.mark.parametrize("message, changes", [
    ("does not run at 143 MHz with a CAS latency of 2", dict(clock_mhz=143, cas_latency=2)),
    ("has 16777216 words", dict(config=Config(memory_bytes=1 << 26))),
    ("capture must be at least -2", dict(capture=-3)),
])
def test_what_cannot_be_built_is_refused(message, changes):
    with pytest.raises(ValueError, match=message):
        SdramController(**{"config": CONFIG, "part": part("IS42S16160G-7"), "clock_mhz": 100,
                           **changes})


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match="no SDRAM part 'MT48'; known parts: AS4C32M16SB-7, "):
        part("MT48")


def test_boards_are_measured_with_their_controller():
    assert perf.chosen_memory("icepi-zero") == "icepi-zero"
    assert perf.memory_name("icepi-zero") == "W9825G6KH-6"
    assert perf.chosen_memory("icepi-zero", "plain") is None
    assert perf.chosen_memory("sim-tiny") is None
    assert perf.chosen_memory("sim-tiny", "IS42S16160G-7") == "IS42S16160G-7"
    with pytest.raises(TernError, match="sim-tiny has no SDRAM"):
        perf.chosen_memory("sim-tiny", "sdram")


class _Platform:
    """Gives pads of any name and part to the buffers that Top makes itself."""
    def request(self, name, *, dir):
        pads = {part: io.SimulationPort("o", 1, name=f"{name}_{part}")
                for resource, part in (pair for board in BOARDS.values() for pair in board.high)
                if resource == name}
        return SimpleNamespace(**pads)


def options_of(controller):
    """Those of :class:`hw.memory.sdr.sdram.SdramController`, and the core's config behind a
    crossing."""
    core, inner = None, controller
    if isinstance(controller, FastSdram):
        core, inner = controller.crossing.config, controller.controller
    return inner.config, inner.part, inner.timing, inner.capture, inner.pause, core


# What is made and never used must be gone when the next test begins.
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.platform])
def test_boards_are_simulated_with_the_controller_that_ships(name):
    board    = BOARDS[name]
    shipped  = Top(name=name, board=board).elaborate(_Platform()).submodules.sdram
    measured = BoardSdram(board=board, config=preset(name)).sdram
    options  = options_of(shipped)
    assert options == options_of(measured)
    _, part, timing, capture, _, core = options
    slowest = {rule: max(getattr(each, rule) for each in PARTS.values())
               for rule in ("t_rcd", "t_rp", "t_ras", "t_rc", "t_rfc", "t_rrd", "t_wr", "t_mrd")}
    assert {rule: getattr(part, rule) for rule in slowest} == slowest
    assert timing.cas == 3 and capture == board.capture + 4
    # The clocks of the rows are those with which images are measured and estimated.
    assert (CLOCK_MHZ[name], SDRAM_MHZ[name]) == (board.clock, board.memory_clock)
    assert (core is None) == (board.clock == board.memory_clock)
    assert board.sdram_bits == SDRAM_BITS
    with pytest.raises(ValueError, match=f"the SDRAM of {name} runs at"):
        sdram_parts.memory_sources(preset(name), name, clock_mhz=90, depth=1 << 20)
    del shipped, measured, options, core
    gc.collect()


def test_the_controller_that_is_measured_has_registers_at_its_pins():
    """From the bench's side: CAS latency 3, and a cycle each way more than a bare controller; and
    rows of the larger part only as far as those of the smallest."""
    text = hardware.verilog(CONFIG, "sdram", "ulx3s-85f", "--power-up-us", 20, package="boards")
    options = dict(random=True, words=100_000, fill=1 << 17, seed=2, controller=text)
    found = sdram.run_bench("AS4C32M16SB-7", "100", 3, **options,
                            USED_COL_BITS=sdram_parts.USED_COL_BITS)
    assert found.latency == 3 + 11 + 2
    bare = hardware.verilog(CONFIG, "sdram", "--part", "AS4C32M16SB-7", "--power-up-us", 20)
    with pytest.raises(RuntimeError, match="sdram: outside broken"):
        sdram.run_bench("AS4C32M16SB-7", "100", 3, **{**options, "controller": bare},
                        USED_COL_BITS=sdram_parts.USED_COL_BITS)


@pytest.mark.parametrize("config, memory, mhz", [
    (preset("sim-tiny"), "ulx3s-85f", None), (FAST, "ulx3s-85f-133", None),
    (FAST, "AS4C32M16SB-7", Fraction(400, 3))])
def test_the_core_makes_the_same_tokens_from_an_sdram(config, memory, mhz):
    """Of the core's clock and width, and faster and narrower."""
    image    = compiled(TINY_A, config)
    messages = host.conversation(config, [1, 77, 42], 4)
    golden   = Machine(image)
    rtl      = RtlMachine(image, memory=memory, sdram_mhz=mhz)
    golden.send(messages)
    rtl.send(messages)
    assert golden.run() == rtl.run() == "waiting"
    rtl.settle()
    assert rtl.tokens == golden.tokens
    assert (rtl.memory[:len(golden.memory)] == golden.memory).all()
    counters = rtl.counters
    assert sum(counters[name] for name in GROUPS["memory"]) == counters["cycles"]
    assert 0.01 < rtl.refresh_cycles / counters["cycles"] < 0.02
    assert counters["memory_late"] > 0.01 * counters["cycles"]
