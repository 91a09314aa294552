"""cocotb tests of the checking SDRAM model, its pins driven by hand; see test_sdram_model.py."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

from tests.verilog import parameters


P = parameters()

# RAS#, CAS#, WE#
CODES = {"mode": 0, "refresh": 1, "precharge": 2, "active": 3, "write": 4, "read": 5, "stop": 6,
         "nop": 7}
ALL = 1 << 10
SINGLE = 1 << 9
LATENCY = 3


def mode(length=3, latency=LATENCY, interleaved=0, single=1):
    return single * SINGLE | latency << 4 | interleaved << 3 | length


class Part:
    """The model's pins; commands are set at falling edges and taken with the next rising edge."""
    def __init__(self, dut):
        self.dut = dut
        self.words = []         # word at the pins at each rising edge, or None
        self.before = 0         # rules that other tests broke

    async def start(self):
        self.dut.cke.value, self.dut.dqm.value = 1, 0
        self.dut.dq_o.value, self.dut.dq_oe.value = 0, 0
        self._pins("nop")
        Clock(self.dut.clk, 10, unit="ns").start()
        await FallingEdge(self.dut.clk)

    def _pins(self, command, bank=0, a=0):
        self.dut.command.value = CODES[command]
        self.dut.ba.value, self.dut.a.value = bank, a

    async def cycle(self, command="nop", bank=0, a=0, *, data=None, dqm=0, cke=1):
        self._pins(command, bank, a)
        self.dut.cke.value, self.dut.dqm.value = cke, dqm
        self.dut.dq_oe.value = data is not None
        self.dut.dq_o.value = data or 0
        await ReadOnly()
        word = self.dut.dq_i.value
        if not int(self.dut.driving.value):
            word = None
        elif word.is_resolvable:        # else it is one that was never written
            word = int(word)
        self.words.append(word)
        await FallingEdge(self.dut.clk)
        self._pins("nop")
        self.dut.dq_oe.value = 0

    async def wait(self, cycles):
        for _ in range(cycles):
            await self.cycle()

    async def steps(self, *steps):
        """``(cycles after the last one, command, ...)``."""
        for gap, *step in steps:
            await self.wait(gap - 1)
            options = step.pop() if isinstance(step[-1], dict) else {}
            await self.cycle(*step, **options)

    def broken(self):
        """How many rules were broken in this test, and the last one's name."""
        name = int(self.dut.broken.value).to_bytes(16, "big").lstrip(b"\0").decode()
        return int(self.dut.violations.value) - self.before, name

    async def expect(self, rule, *steps):
        before, _ = self.broken()
        await self.steps(*steps)
        await RisingEdge(self.dut.clk)
        after, name = self.broken()
        await FallingEdge(self.dut.clk)
        got = name if after > before else None
        assert got == rule, f"{rule} expected, {got} found after {steps}"

    async def recover(self, a=None):
        """Everything closed, refreshed, and the mode set."""
        await self.wait(15)
        await self.cycle("precharge", 0, ALL)
        for _ in range(9):
            await self.wait(10)
            await self.cycle("refresh")
        await self.wait(10)
        await self.cycle("mode", 0, mode() if a is None else a)
        await self.wait(3)

    async def set_up(self):
        await self.start()
        await self.recover()
        await self.recover()        # all rows are refreshed, after whatever was before
        self.before += self.broken()[0]


# Rule, what leads there, and the command that comes too early when it comes `cycles` after that
# and is legal one cycle later.
EARLY = [
    ("tRCD", [(9, "active", 1)], 2, ("read", 1)),
    ("tRCD", [(9, "active", 1)], 2, ("write", 1, 0, {"data": 1})),
    ("tRP", [(9, "active", 1), (8, "precharge", 1)], 1, ("active", 1)),
    ("tRP", [(9, "active", 1), (8, "precharge", 0, ALL)], 1, ("active", 1)),
    ("tRP", [(9, "active", 1), (8, "precharge", 1)], 1, ("refresh",)),
    ("tRP", [(9, "active", 1), (8, "precharge", 1)], 1, ("mode", 0, mode())),
    ("tRAS", [(9, "active", 2)], 4, ("precharge", 2)),
    ("tRAS", [(9, "active", 2)], 4, ("precharge", 0, ALL)),
    ("tRC", [(9, "active", 2), (5, "precharge", 2)], 3, ("active", 2)),
    ("tRRD", [(9, "active", 2)], 1, ("active", 3)),
    ("tRFC", [(9, "refresh")], 6, ("refresh",)),
    ("tRFC", [(9, "refresh")], 6, ("active",)),
    ("tMRD", [(9, "mode", 0, mode())], 1, ("active", 3)),
    ("tWR", [(9, "active", 3), (6, "write", 3, 0, {"data": 1})], 1, ("precharge", 3)),
    ("tWR", [(9, "active", 3), (6, "write", 3, 0, {"data": 1})], 1, ("precharge", 0, ALL)),
    # Eight words at 3 to 10 cycles after the READ, then one cycle for the pins.
    ("read to write", [(9, "active", 3), (6, "read", 3)], 11, ("write", 3, 0, {"data": 1})),
]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def power_up_is_watched(dut):
    """The first test: the model is new."""
    part = Part(dut)
    await part.start()
    await part.expect("power-up order", (5, "refresh"))
    assert part.broken()[0] == 2    # too early, too
    await part.expect("power-up time", (9, "precharge", 0, ALL))
    await part.wait(P["power_up"])
    await part.expect("power-up order", (9, "active"))
    await part.expect(None, (9, "precharge", 0, ALL))
    await part.expect("power-up order", (9, "mode", 0, mode()))     # only one refresh came


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def early_commands_are_found(dut):
    part = Part(dut)
    await part.set_up()
    for rule, before, cycles, command in EARLY:
        await part.expect(None, *before, (cycles + 1, *command))
        await part.recover()
        await part.expect(rule, *before, (cycles, *command))
        await part.recover()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def other_rules(dut):
    part = Part(dut)
    await part.set_up()
    top = P["row_bits"] - 1
    for rule, *steps in (
            ("row closed", (9, "read", 1)),
            ("row closed", (9, "active", 2), (6, "read", 1)),
            ("row closed", (9, "active", 1), (6, "precharge", 1), (6, "write", 1, 0, {"data": 1})),
            ("row open", (9, "active", 1), (20, "active", 1)),
            ("row open", (9, "active", 1), (20, "refresh")),
            ("row open", (9, "active", 1), (20, "mode", 0, mode())),
            ("auto precharge", (9, "active", 1), (9, "read", 1, ALL)),
            ("tRAS max", (9, "active", 1), (501, "precharge", 1)),
            ("tRAS max", (9, "active", 1), (501, "read", 1)),
            (None, (9, "active", 1), (500, "precharge", 1)),
            ("outside", (9, "active", 1, 1 << top), (9, "read", 1)),
            ("CKE low", (9, "active", 1), (9, "read", 1, 0, {"cke": 0})),
            ("mode register", (9, "mode", 0, mode(latency=1))),
            ("mode register", (9, "mode", 0, mode(length=4))),
            ("mode register", (9, "mode", 0, mode(length=7, interleaved=1))),
            ("mode register", (9, "mode", 0, mode() | 1 << 7)),
            ("mode register", (9, "mode", 1, mode())),
            ("tCK", (9, "mode", 0, mode(latency=2))),
            (None, (9, "active", 1), (9, "write", 1, 0, {"data": 0xff00}), (1, "read", 1),
             (3, "nop", 0, 0, {"data": 0xff00})),
            ("data bus fight", (9, "active", 1), (9, "write", 1, 0, {"data": 0xff00}),
             (1, "read", 1), (3, "nop", 0, 0, {"data": 0x00ff}))):
        await part.expect(rule, *steps)
        await part.recover()
    if P["undriven"]:
        await part.expect("data undefined", (9, "active", 1), (9, "write", 1))


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def refreshes_that_fail_to_come_are_found(dut):
    part = Part(dut)
    await part.set_up()             # its last refresh, and the next interval, 14 cycles ago
    interval = P["refresh_cycles"]
    await part.expect(None, (9 * interval - 30, "refresh"))
    await part.expect(None, (interval - 1, "refresh"))
    await part.expect("tREFI", (interval + 60, "refresh"))
    # Sixteen rows refreshed ahead; the first is due after sixteen intervals.
    await part.recover()
    for _ in range(16):
        await part.expect(None, (8, "refresh"))
    await part.expect(None, (8 * interval, "refresh"))
    await part.expect("tREF", (8 * interval + 130, "refresh"))


def burst(start, length, interleaved, columns):
    """Columns of a burst, in order."""
    size = columns if length == 7 else 1 << length
    if interleaved:
        return [start ^ n for n in range(size)]
    return [start & ~(size - 1) | (start + n) % size for n in range(size)]


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def words_come_in_burst_order(dut):
    part = Part(dut)
    await part.set_up()
    columns = 1 << P["column_bits"]
    await part.cycle("active", 1, 3)
    await part.wait(5)
    for column in range(columns):
        await part.cycle("write", 1, column, data=column * 257 ^ 0x5a00)
    await part.cycle("write", 1, 9, data=0xffff, dqm=0b01)      # the high byte only
    holds = [column * 257 ^ 0x5a00 for column in range(columns)]
    holds[9] = 0xff00 | holds[9] & 0xff
    for length, interleaved, start in ((0, 0, 5), (1, 0, 5), (1, 1, 5), (2, 0, 6), (2, 1, 6),
                                       (3, 0, 11), (3, 1, 11), (7, 0, columns - 3)):
        await part.recover(mode(length, interleaved=interleaved))
        await part.cycle("active", 1, 3)
        await part.wait(5)
        part.words = []
        await part.cycle("read", 1, start)
        await part.wait(3 + columns)
        expected = [holds[column] for column in burst(start, length, interleaved, columns)]
        got = part.words[LATENCY:]
        assert got[:len(expected)] == expected, (length, interleaved)
        assert length == 7 or not any(word is not None for word in got[len(expected):])

    # Cut short: by STOP, by PRECHARGE, by another READ; masked two cycles later by DQM.
    for cut in (("stop",), ("precharge", 1), ("read", 1, 16), ("nop", 0, 0)):
        await part.recover()
        await part.cycle("active", 1, 3)
        await part.wait(5)
        part.words = []
        await part.cycle("read", 1, 8)
        await part.wait(3)
        await part.cycle(*cut, dqm=0b11 if cut[0] == "nop" else 0)
        await part.wait(14)
        first = [None] * LATENCY + holds[8:12]
        rest = {"stop": [], "precharge": [], "read": holds[16:24],
                "nop": holds[12:16]}[cut[0]]
        expected = first + rest
        if cut[0] == "nop":
            expected[6] = None
        expected += [None] * (len(part.words) - len(expected))
        assert part.words == expected, cut
    assert part.broken()[0] == 0, part.broken()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bursts_of_writes(dut):
    part = Part(dut)
    await part.set_up()
    await part.recover(mode(single=0))
    await part.cycle("active", 2, 1)
    await part.wait(5)
    for n in range(8):
        await part.cycle("write" if n == 0 else "nop", 2, 5, data=100 + n)
    await part.cycle("write", 2, 17, data=200)
    await part.cycle("stop")
    await part.wait(3)
    for start, expected in ((0, [103, 104, 105, 106, 107, 100, 101, 102]), (17, [200])):
        part.words = []
        await part.cycle("read", 2, start)
        await part.wait(14)
        assert part.words[LATENCY:LATENCY + len(expected)] == expected
    assert part.broken()[0] == 0
