# amaranth: UnusedElaboratable=no
"""Every board's clocks, resets, pins, lights and memory port, without core and controller.

What is right for a board is in tests.campaigns.boards_sim, by docs/boards.md, and never comes from
`boards`.
"""

from dataclasses import replace
from fractions import Fraction
import functools
import gc
import random

from amaranth import *
from amaranth.build.res import ResourceManager
import pytest

from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.contract.registers import Status
from tern_fpga.assembler.contract.sdram_parts import PARTS, Timing
from tern_fpga.boards import top
from tern_fpga.boards.parts import BOARDS
from tern_fpga.hw.memory.crossing import memory_side
from tests.boards.shell import FS, Shell, pll_outputs
from tests.campaigns.boards_sim import FACTS


pytest.importorskip("amaranth_boards")


# The boards whose shells differ.
SHELLS = ("ulx3s-25f", "ulx3s-85f-133", "icepi-zero", "icesugar-pro")
HELD = 16                   # cycles of a reset behind the lock

boards = pytest.mark.parametrize("name", SHELLS)
# What was made before is never used, and must be gone when the next test begins.
refusal = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@functools.cache
def shell(name):
    return Shell(name)


def one_pad(board, port):
    (pad,) = board.pads[port]
    return pad


def driven(ctx, pad):
    """Level at a pad that the chip drives; None if it does not."""
    return ctx.get(pad.o) if ctx.get(pad.oe) else None


async def lock(ctx, board):
    board.running = True
    await ctx.delay(1e-7)
    ctx.set(board.lock, 1)


async def out_of_reset(ctx, board):
    await lock(ctx, board)
    for beat, _ in (board.soc.sync, board.sdram.memory):
        while not ctx.get(beat):
            await ctx.changed(beat)


async def edges(ctx, board, signal, count, *, rising=False):
    """Times of the next changes of a signal, in femtoseconds."""
    times = []
    while len(times) < count:
        await (ctx.posedge(signal) if rising else ctx.changed(signal))
        times.append(board.now)
    return times


# Arguments

def test_the_other_sizes_of_a_board_differ_in_their_machine_alone():
    for size in ("85f", "45f", "12f"):
        other = BOARDS[f"ulx3s-{size}"]
        assert replace(other, title="", device="", platform="") == \
            replace(BOARDS["ulx3s-25f"], title="", device="", platform="")
        assert other.platform == f"ulx3s.ULX3S_{size.upper()}_Platform"


@boards
def test_core_and_controller_are_those_of_the_board(name):
    board, config, facts = shell(name), PRESETS[name], FACTS[name]
    assert board.soc.given == {"config": config, "clock_hz": facts.clock_hz, "baud": facts.baud,
                               "name": name}
    assert board.sdram.narrow == memory_side(config, 16)
    given = board.sdram.given
    assert given["power_up_us"] is None
    assert given["clock_mhz"] == pytest.approx(float(facts.memory_hz) / 1e6, rel=1e-12)
    ours = Timing.of(given["part"], given["clock_mhz"], given["cas_latency"])
    for part in PARTS.values():         # what is soldered is not known
        asked = Timing.of(part, given["clock_mhz"], given["cas_latency"])
        for rule in ("rcd", "rp", "ras", "rfc", "rrd", "wr", "mrd"):
            assert getattr(ours, rule) >= getattr(asked, rule), (part.name, rule)
        assert ours.refi <= asked.refi and given["part"].power_up_us >= part.power_up_us
        assert given["part"].words <= part.words and given["part"].t_oh <= part.t_oh
        for cas in (2, 3):
            assert given["part"].t_ck[cas] >= part.t_ck[cas]
            assert given["part"].t_ac[cas] >= part.t_ac[cas]
    assert given["part"].words >= config.memory_bytes // 2


@refusal
def test_another_machine_may_be_asked_for():
    config = replace(PRESETS["ulx3s-25f"], program_words=512)
    found  = {}

    def note(**given):
        found.update(given)
        raise StopIteration

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top, "Soc", note)
        with pytest.raises(StopIteration):
            top.Top(name="ulx3s-25f", board=BOARDS["ulx3s-25f"], config=config).elaborate(None)
    assert found["config"] == config
    gc.collect()


@refusal
@pytest.mark.parametrize("clock, sdram_clock, fits", [
    (100, Fraction(400, 3), True), (50, 100, True), (50, Fraction(400, 3), False),
    (40, 100, False)])
def test_an_sdram_faster_than_the_core_takes_its_words_is_refused(clock, sdram_clock, fits):
    """The core of ulx3s-85f-133 takes 32 bits a cycle, the SDRAM has 16."""
    board = replace(BOARDS["ulx3s-85f-133"], clock=clock, sdram_clock=sdram_clock)
    if fits:
        assert Shell("ulx3s-85f-133", board).sdram.given["clock_mhz"] == float(sdram_clock)
    else:
        with pytest.raises(ValueError, match="16 bits at .* MHz from the SDRAM are more than 32 "
                                             f"bits at {clock} MHz, which the core takes"):
            Shell("ulx3s-85f-133", board)
    gc.collect()


# Clocks

@boards
def test_clocks_have_their_frequency_phase_and_constraint(name):
    board, facts = shell(name), FACTS[name]
    hz = {"CLKOS": facts.clock_hz, "CLKOS2": facts.memory_hz, "CLKOS3": facts.memory_hz}
    assert {port: (each.hz, each.phase) for port, each in board.pll.items()
            if port != "CLKOP"} == \
        {port: (hz[port], facts.shift % 360 if port == "CLKOS2" else 0)
         for port in (("CLKOS", "CLKOS2") if facts.memory_hz == facts.clock_hz else hz)}
    assert board.pll["CLKOP"].phase == 0
    asked = {id(signal): hz for signal, hz in
             ResourceManager.iter_signal_clock_constraints(board.platform)}
    assert asked == {id(board.outputs[port]): float(each.hz) for port, each in board.pll.items()
                     if port != "CLKOP"}

    async def bench(ctx):
        pad = one_pad(board, f"{board.platform.default_clk}_0__io")
        for level in (0, 1, 0):
            ctx.set(pad.i, level)
            assert ctx.get(board.clki) == level
        board.running = True            # and no lock: clocks do not wait for the end of a reset
        memory = board.sdram.memory[1]
        for tick, rate in ((board.soc.sync[1], facts.clock_hz), (memory, facts.memory_hz),
                           (board.sdram.port_side[1], facts.clock_hz)):
            times = await edges(ctx, board, tick, 9)
            assert times[-1] - times[0] == pytest.approx(8 * FS / rate, abs=10)
        for _ in range(2):
            (begun,) = await edges(ctx, board, memory, 1)
            pad = one_pad(board, "sdram_0__clk__io")
            times = await edges(ctx, board, pad.o, 9, rising=True)
            assert driven(ctx, pad) == 1
            assert times[-1] - times[0] == pytest.approx(8 * FS / facts.memory_hz, abs=10)
            period = FS / facts.memory_hz
            assert (times[0] - begun) % period * 360 / period \
                == pytest.approx((180 + facts.shift) % 360, abs=0.01)
            await out_of_reset(ctx, board)

    board.simulate(bench)


def test_a_pll_that_is_not_modelled_is_refused():
    """Each setting of it has been looked up, in ecppll or in Lattice's notes."""
    pll = shell("ulx3s-25f")._pll
    levels = {port: getattr(value, "value", None) for port, (value, _) in pll.ports.items()}
    levels = {port: value if isinstance(value, int) else None for port, value in levels.items()}
    right  = {"parameters": pll.parameters, "attributes": pll.attrs, "ports": levels}
    pll_outputs(25_000_000, **right)
    for kind, values in right.items():
        for key, value in values.items():
            if value is not None:
                others = [value + 1] if isinstance(value, int) else ["no such"]
                for changed in (*({**values, key: other} for other in others),
                                {name: each for name, each in values.items() if name != key}):
                    try:
                        found = pll_outputs(25_000_000, **{**right, kind: changed})
                    except AssertionError:
                        continue
                    assert found != shell("ulx3s-25f").pll, (kind, key)


# Resets

@boards
@pytest.mark.parametrize("side", ["core", "memory", "port"])
def test_every_domain_is_reset_until_the_pll_has_locked(name, side):
    board  = shell(name)
    beat, tick = {"core": board.soc.sync, "memory": board.sdram.memory,
                  "port": board.sdram.port_side}[side]
    period = 1 / FACTS[name].clock_hz

    async def bench(ctx):
        await ctx.delay(100 * period)
        assert not ctx.get(beat)                # configured, and no clock yet
        board.running = True
        await ctx.delay(100 * period)
        assert not ctx.get(beat)                # a clock, and no lock yet
        for _ in range(3):
            ctx.set(board.lock, 1)
            board.running = True
            count = 0
            while not ctx.get(beat) or count == 0:
                await ctx.changed(tick)
                count += 1
                assert not ctx.get(beat) or count > HELD, "no reset, or a short one"
                assert count < 4 * HELD, "reset for ever"
            # The edge behind the last one of HELD ends the reset, and the next one sees that.
            assert count == HELD + 2
            await ctx.delay(100 * period)
            assert ctx.get(beat) & 2
            # The oscillator is lost for a moment: no edge of a clock tells of it.
            board.running = False
            await ctx.delay(3 * period)
            ctx.set(board.lock, 0)
            await ctx.delay(period)

    board.simulate(bench)


# Pins

@boards
def test_serial_line_and_held_pins(name):
    board = shell(name)
    rx, tx = one_pad(board, "uart_0__rx__io"), one_pad(board, "uart_0__tx__io")

    async def bench(ctx):
        draw = random.Random(1)
        for moment in range(3):                 # also before the clocks are there
            for _ in range(20):
                levels = draw.choice([0, 1]), draw.choice([0, 1])
                ctx.set(rx.i, levels[0])
                ctx.set(board.soc.tx, levels[1])
                await ctx.delay(1e-9)
                assert (ctx.get(board.soc.rx), driven(ctx, tx)) == levels
                assert all(driven(ctx, one_pad(board, f"{port}__io")) == 1
                           for port in FACTS[name].high)
            if moment == 0:
                await lock(ctx, board)
            else:
                await ctx.delay(1e-6)

    board.simulate(bench)


@boards
def test_lights_say_what_they_mean(name):
    board, facts = shell(name), FACTS[name]
    used = {f"{port}__io": meaning for port, meaning in facts.lights.items()}
    assert {port for port in board.pads if "led" in port} == set(used)

    async def lit(ctx):
        """Meanings of the LEDs that are lit in the next cycles."""
        found = set()
        for _ in range(20):
            await ctx.changed(board.soc.sync[1])
            found |= {meaning for port, meaning in used.items()
                      if driven(ctx, one_pad(board, port)) == 1}
        assert all(driven(ctx, one_pad(board, port)) is not None for port in used)
        return found

    async def bench(ctx):
        soc, status = board.soc, board.soc.status
        await out_of_reset(ctx, board)
        assert await lit(ctx) == set()
        levels = {"link": (soc.active, 1), "ready": (board.sdram.ready, 1),
                  **{bit.name.lower(): (status, bit) for bit in Status}}
        for meaning, (signal, value) in levels.items():
            ctx.set(signal, value)
            assert await lit(ctx) == {meaning} & set(used.values())
            ctx.set(signal, 0)
            await lit(ctx)
        assert await lit(ctx) == set()
        strobes = {"memory": soc.busy, "token": soc.token}
        seen = set()
        for meaning, signal in strobes.items():     # of one cycle, and shown longer
            await ctx.changed(soc.sync[1])
            ctx.set(signal, 1)
            await ctx.changed(soc.sync[1])
            ctx.set(signal, 0)
            seen |= {meaning} & set(used.values())
            for _ in range(2):
                assert await lit(ctx) == seen
        ctx.set(soc.stopped, 1)
        for signal, value in levels.values():
            ctx.set(signal, value)
        ctx.set(status, -1)
        assert await lit(ctx) == set(used.values()) - {"heartbeat"}

    board.simulate(bench)


# Memory

@boards
def test_the_memory_port_reaches_the_controller(name):
    board = shell(name)
    core, memory = board.soc.memory, board.sdram.port
    down = [("command.valid", "command.payload", "write.valid", "write.payload", "read.ready")]
    up   = [("command.ready", "write.ready", "read.valid", "read.payload")]

    def value(port, path):
        for word in path.split("."):
            port = getattr(port, word)
        return Value.cast(port)

    async def bench(ctx):
        draw = random.Random(2)
        for _ in range(10):
            for source, sink, (paths,) in ((core, memory, down), (memory, core, up)):
                sent = {path: draw.getrandbits(len(value(source, path))) for path in paths}
                for path, bits in sent.items():
                    ctx.set(value(source, path), bits)
                assert {path: ctx.get(value(sink, path)) for path in paths} == sent

    board.simulate(bench)


@boards
def test_pins_of_the_sdram_are_registers_of_its_clock(name):
    """Level for level: the pads of low active pins have the levels of pins called `_n`."""
    board, pins = shell(name), shell(name).sdram.pins
    pads  = {"cke": "clk_en", "cs_n": "cs", "ras_n": "ras", "cas_n": "cas", "we_n": "we",
             "ba": "ba", "a": "a", "dqm": "dqm", "dq_o": "dq"}
    pads  = {pin: board.pads[f"sdram_0__{port}__io"] for pin, port in pads.items()}

    def levels(ctx, pin):
        return sum(ctx.get(pad.o) << n for n, pad in enumerate(pads[pin]))

    async def bench(ctx):
        draw, tick = random.Random(3), board.sdram.memory[1]
        await out_of_reset(ctx, board)
        for _ in range(20):
            sent = {pin: draw.getrandbits(len(getattr(pins, pin))) for pin in pads}
            for pin, bits in sent.items():
                ctx.set(getattr(pins, pin), bits)
            drives, word = draw.choice([0, 1]), draw.getrandbits(16)
            ctx.set(pins.dq_oe, drives)
            driving = ctx.get(pads["dq_o"][0].oe)
            for n, pad in enumerate(pads["dq_o"]):
                ctx.set(pad.i, word >> n & 1)
            await ctx.changed(tick)
            assert {pin: levels(ctx, pin) for pin in pads} == sent
            assert all(ctx.get(pad.oe) for pin in pads if pin != "dq_o" for pad in pads[pin])
            assert [ctx.get(pad.oe) for pad in pads["dq_o"]] == [drives] * 16
            assert driving or ctx.get(pins.dq_i) == word

    board.simulate(bench)


@boards
@pytest.mark.parametrize("delay_ns", [1.8, 6.2])
def test_words_are_taken_while_the_slowest_part_holds_them(name, delay_ns):
    """3 to 5 ns are estimated from the register of the SDRAM's clock to the register of its words,
    tAC not included, and 1.2 ns more or less must not matter."""
    board   = shell(name)
    pins    = board.sdram.pins
    given   = board.sdram.given
    period  = FS / FACTS[name].memory_hz
    cas     = given["cas_latency"]
    t_ac    = max(part.t_ac[cas] for part in PARTS.values())
    t_oh    = min(part.t_oh for part in PARTS.values())
    late    = Fraction(given["capture"], 2)
    assert late.denominator == 1
    seen    = []

    async def watch(ctx):
        while True:
            await ctx.changed(board.sdram.memory[1])
            seen.append((board.now, ctx.get(pins.dq_i)))

    async def bench(ctx):
        def at_pads(word):
            for n, pad in enumerate(board.pads["sdram_0__dq__io"]):
                ctx.set(pad.i, word >> n & 1)

        await out_of_reset(ctx, board)
        tick = board.sdram.memory[1]
        ctx.set(pins.dq_oe, 0)
        await ctx.changed(tick)
        begun = board.now
        ctx.set(pins.cs_n, 0)
        await ctx.changed(tick)
        ctx.set(pins.cs_n, 1)
        while True:
            await ctx.posedge(one_pad(board, "sdram_0__clk__io").o)
            if not ctx.get(one_pad(board, "sdram_0__cs__io").o):
                break
        there = board.now + (cas - 1) * period + FS * (t_ac + delay_ns) / 10 ** 9
        gone  = board.now + cas * period + FS * (t_oh + delay_ns) / 10 ** 9
        at_pads(0xdead)
        await ctx.delay(float(there - board.now) / FS)
        at_pads(0x600d)
        await ctx.delay(float(gone - there) / FS)
        at_pads(0xdead)
        await ctx.delay(float(5 * period) / FS)
        # A register of the controller has at an edge what the pins' registers hold since the last.
        taken = begun + (cas + late) * period
        (word,) = [word for time, word in seen if abs(time - taken) < period / 4]
        assert word == 0x600d

    board.simulate(bench, watch)
