"""cocotb benches of the host link with the memory model behind it; see test_link.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.hw.control.host import request_layout
from tern_fpga.sim.golden.link import HostLink
from tern_fpga.sim.rtl import streams
from tests.firmware import board
from tests.verilog import parameters


P = parameters()
CONFIG, DEPTH = Config(**P["config"]), P["depth"]
PATIENCE = 8000             # cycles in which an answer has come
AFTER    = 60               # cycles in which another one would begin to


class Core:
    """What the link sees of a core: registers that keep what is written, queues, memory."""
    def __init__(self, dut, seed):
        draw = random.Random(seed)
        self.dut = dut
        self.registers = {n: draw.getrandbits(32) for n in range(256)}
        self.writes = []
        self.memory = np.frombuffer(draw.randbytes(CONFIG.memory_bytes), np.uint8).copy()
        self.messages, self.tokens = [], []
        board.fill(dut, [int.from_bytes(self.memory[n:n + CONFIG.word_bytes], "little")
                         for n in range(0, len(self.memory), CONFIG.word_bytes)])

    def read(self, address):
        return self.registers[address]

    def write(self, address, value):
        self.registers[address] = value
        self.writes.append((address, value))

    def board_memory(self):
        words = board.contents(self.dut, DEPTH)
        return b"".join(word.to_bytes(CONFIG.word_bytes, "little") for word in words)


async def serve(dut, registers, writes, rng):
    """Background: the core's registers, answering after a while."""
    while True:
        word, = await streams.get(dut, "request", 1, duty=rng.choice([0.2, 1]), seed=rng.random())
        asked = request_layout.from_bits(word)
        if asked.write:
            registers[asked.address] = asked.data
            writes.append((asked.address, asked.data))
        else:
            await streams.put(dut, "response", [registers[asked.address]], duty=0.5,
                              seed=rng.random())


class Bench:
    """The board and its golden twin, given the same bytes."""
    async def start(self, dut, seed, **behaviour):
        self.dut = dut
        for name in ("i", "response", "tokens"):
            payload, valid, _ = streams.ports(dut, name)
            payload.value, valid.value = 0, 0
        dut.request__ready.value = dut.messages__ready.value = dut.stopped.value = 0
        await board.prepare(dut, seed=seed, **behaviour)
        self.core = Core(dut, seed)
        self.golden = HostLink(config=CONFIG, clock_hz=P["clock_hz"], name=P["name"],
                               core=self.core)
        self.heard, self.writes = [], []
        rng = random.Random(seed)
        cocotb.start_soon(streams.listen(dut, "o", self.heard))
        cocotb.start_soon(serve(dut, dict(self.core.registers), self.writes, rng))
        for name in ("o", "request"):
            cocotb.start_soon(streams.watch(dut, name))
        self.watch = cocotb.start_soon(streams.watch(dut, "messages"))
        return self

    async def settle(self, count):
        """Wait for ``count`` bytes, and see whether there are more."""
        for _ in range(PATIENCE):
            if len(self.heard) >= count:
                break
            await FallingEdge(self.dut.clk)
        for _ in range(AFTER):
            await FallingEdge(self.dut.clk)

    async def say(self, data):
        """Send bytes; the answers must be the golden ones. Returns their payloads."""
        del self.heard[:]
        expected = self.golden.receive(data)
        await streams.put(self.dut, "i", data)
        await self.settle(len(expected))
        assert bytes(self.heard) == expected, (bytes(self.heard).hex(), expected.hex())
        return [link.decode(frame) for frame in expected.split(link.DELIMITER) if frame]

    async def ask(self, number, code, address=0, operand=0, data=b""):
        """A request and its answer's (status, data)."""
        frame = link.encode(link.request(number & 0xff, code, address, operand, data))
        answer, = await self.say(frame + link.TAIL)
        return Status(answer[1]), answer[link.ANSWER.size:]

    def check(self):
        assert self.core.board_memory() == bytes(self.core.memory)
        assert self.writes == self.core.writes


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def commands_do_as_their_table_says(dut):
    b = await Bench().start(dut, 1, latency=9, gap=60, busy=60)
    words, most = CONFIG.memory_words, link.DATA_BYTES // CONFIG.word_bytes
    assert (await b.ask(0, Code.TOKENS))[0] == Status.CLOSED
    status, answer = await b.ask(250, Code.SYNC, 0x12345678)
    assert answer == bytes.fromhex("78563412") + b.golden.identity
    number = iter(range(251, 1 << 16))
    rng = random.Random(2)
    for count, address in ((1, 0), (most, words - most), (most - 1, 17), (1, words - 1)):
        data = rng.randbytes(count * CONFIG.word_bytes)
        assert (await b.ask(next(number), Code.WRITE_MEMORY, address, count, data))[0] == 0
        assert await b.ask(next(number), Code.READ_MEMORY, address, count) == (0, data)
        assert (await b.ask(next(number), Code.CHECK_MEMORY, address, count))[0] == 0
    await b.ask(next(number), Code.CHECK_MEMORY, 0, words)
    await b.ask(next(number), Code.WRITE_REGISTER, 0x42, 0xdeadbeef)
    assert (await b.ask(next(number), Code.READ_REGISTER, 0x42))[1] == bytes.fromhex("efbeadde")
    for code, address, operand, data in (
            (Code.WRITE_MEMORY, words, 1, bytes(CONFIG.word_bytes)),
            (Code.WRITE_MEMORY, words - 1, 2, bytes(2 * CONFIG.word_bytes)),
            (Code.WRITE_MEMORY, 0xffffffff, 1, bytes(CONFIG.word_bytes)),
            (Code.WRITE_MEMORY, 0, 1, bytes(CONFIG.word_bytes + 1)),
            (Code.WRITE_MEMORY, 0, 2, bytes(CONFIG.word_bytes)),
            (Code.WRITE_MEMORY, 0, 0, b""),
            (Code.READ_MEMORY, 0, most + 1, b""), (Code.READ_MEMORY, 0, 0, b""),
            (Code.READ_MEMORY, 0, 1, b"x"), (Code.CHECK_MEMORY, 1, words, b""),
            (Code.CHECK_MEMORY, 2, 0xffffffff, b""), (Code.READ_REGISTER, 256, 0, b""),
            (Code.WRITE_REGISTER, 256, 0, b""), (Code.MESSAGES, 0, 0, b""),
            (Code.MESSAGES, 0, 1, b"12345678"), (Code.TOKENS, 0, 0, b"x"), (0x09, 0, 0, b""),
            (0xff, 0, 0, b""), (Code.SYNC, 0, 0, b"x")):
        status, _ = await b.ask(next(number), code, address, operand, data)
        assert status == Status.REFUSED, (code, address, operand)
    b.check()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def messages_and_tokens_pass_once(dut):
    b = await Bench().start(dut, 3)
    await b.ask(0, Code.SYNC)
    most = link.DATA_BYTES // 4
    rng = random.Random(4)
    sent = []
    for number in range(1, 7):              # 256 fit, and the core takes none
        data = rng.randbytes(4 * (most if number < 5 else 17))
        status, _ = await b.ask(number, Code.MESSAGES, 0, len(data) // 4, data)
        assert status == (Status.BUSY if number > 4 else Status.OK)
        sent += [data] * (status == 0)
        await b.ask(number, Code.MESSAGES, 0, len(data) // 4, data)         # again
    words = await streams.get(dut, "messages", 240, duty=0.7, seed=5)
    assert b"".join(word.to_bytes(4, "little") for word in words) == b"".join(sent)
    b.core.messages.clear()
    tokens = [rng.getrandbits(32) for _ in range(100)]
    await streams.put(dut, "tokens", tokens, duty=0.7, seed=6)
    b.core.tokens += tokens
    first = await b.ask(7, Code.TOKENS)
    await b.say(b"\x05garbage\0")           # its answer must not displace the kept one
    await b.ask(99, Code.TOKENS)
    assert await b.ask(7, Code.TOKENS) == first and len(first[1]) == 4 * most
    assert len((await b.ask(8, Code.TOKENS))[1]) == 160
    assert (await b.ask(9, Code.TOKENS))[1] == b""
    # STOP drops what waits.
    b.watch.cancel()
    await b.ask(10, Code.MESSAGES, 0, 1, b"abcd")
    await streams.put(dut, "tokens", [1, 2, 3])
    dut.stopped.value = 1
    await FallingEdge(dut.clk)
    dut.stopped.value = 0
    b.core.messages.clear()
    assert (await b.ask(11, Code.TOKENS))[1] == b"" and not int(dut.messages__valid.value)
    await b.ask(12, Code.MESSAGES, 0, 1, b"efgh")
    assert await streams.get(dut, "messages", 1) == [int.from_bytes(b"efgh", "little")]


def valid_request(rng, number):
    code = rng.choice([Code.READ_MEMORY, Code.WRITE_MEMORY, Code.CHECK_MEMORY,
                       Code.READ_REGISTER, Code.WRITE_REGISTER, Code.TOKENS])
    count = rng.choice([1, 3, rng.randrange(1, link.DATA_BYTES // CONFIG.word_bytes + 1)])
    data = rng.randbytes(count * CONFIG.word_bytes) if code == Code.WRITE_MEMORY else b""
    if rng.random() < 0.3:
        data = bytes(len(data))
    address = rng.randrange(CONFIG.memory_words - count) if "MEMORY" in code.name \
        else rng.randrange(256)
    return link.encode(link.request(number & 0xff, code, address, count, data)) + link.TAIL


def spoil(rng, frame):
    """The frame with a few bytes changed, lost or doubled, or something else altogether."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 300)) + b"\0"
    if kind == 1:               # longer than any frame
        return bytes(rng.choice([1, 2, 255]) for _ in range(rng.choice([256, 600]))) + b"\0"
    if kind == 2:
        return link.encode(rng.randbytes(rng.randrange(0, 10))) + b"\0"     # a right CRC, but short
    data = bytearray(frame)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data) - 2)
        match kind:
            case 3 | 4:
                data[at] ^= rng.randrange(1, 256)
            case 5:
                del data[at]
            case 6:
                data.insert(at, data[at])
            case 7:
                data[at] = 0
    return bytes(data) + b"\0"


@cocotb.test(timeout_time=100, timeout_unit="ms")
@cocotb.parametrize(seed=range(2))
async def garbage_changes_nothing_and_sticks_nowhere(dut, seed):
    rng = random.Random(seed)
    b = await Bench().start(dut, seed, latency=5)
    await b.say(rng.randbytes(40) + b"\0")
    number = rng.randrange(256)
    await b.ask(number, Code.SYNC)
    for turn in range(25):
        frame = valid_request(rng, number + 1)
        spoilt = spoil(rng, frame)
        # Frames one by one: several damaged ones at a time make one answer, or more.
        for part in spoilt.split(b"\0"):
            if part:
                await b.say(part + b"\0")
        if turn % 5 == 0:
            b.check()
        await b.say(frame)      # by now expected, or repeated
        number = b.golden._expected - 1
        if rng.random() < 0.3:
            await b.say(valid_request(rng, number + rng.choice([0, 2, 100])))
    b.check()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_window_of_writes_at_once(dut):
    """More than fit: those are reported and not done, and nothing that was accepted is lost."""
    b = await Bench().start(dut, 9, latency=40, busy=200)
    await b.ask(0, Code.SYNC)
    del b.heard[:]
    frames = []
    count = link.DATA_BYTES // CONFIG.word_bytes
    for number in range(1, 41):
        data = random.Random(number).randbytes(link.DATA_BYTES)
        frames.append((number, data))
        await streams.put(dut, "i", link.encode(
            link.request(number, Code.WRITE_MEMORY, number * count, count, data)) + link.DELIMITER)
    await b.settle(1 << 20)
    answers = [link.decode(part) for part in bytes(b.heard).split(link.DELIMITER) if part]
    done = [a[0] for a in answers if a[1] == Status.OK]
    assert done == list(range(1, len(done) + 1)) and link.WINDOW <= len(done) < 40
    assert {a[1] for a in answers} == {Status.OK, Status.ORDER, Status.DAMAGED}
    for number, data in frames[:len(done)]:
        start = number * link.DATA_BYTES
        b.core.memory[start:start + link.DATA_BYTES] = list(data)
    b.check()
