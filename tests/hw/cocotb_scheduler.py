"""cocotb bench of the scheduler; see test_scheduler.py."""

from collections import deque
import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import PENALTY_BITS
from tern_fpga.hw.common.signatures import choice_layout, step_layout, tokens_layout
from tern_fpga.sim.golden.sampler import Setting
from tern_fpga.sim.golden.scheduler import Scheduler
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])
ROUNDS = 150


async def send(dut, words):
    """Offer words from the front of ``words`` as long as there are any, without a gap."""
    payload, valid, ready = streams.ports(dut, "messages")
    while True:
        valid.value = bool(words)
        payload.value = words[0] if words else 0
        await ReadOnly()
        taken = int(valid.value) and int(ready.value)
        await FallingEdge(dut.clk)
        if taken:
            words.popleft()


def prompt(rng):
    count = rng.randint(1, CONFIG.positions)
    flags = rng.choice([0, registers.PROMPT_SAMPLE,
                        registers.PROMPT_SAMPLE | registers.PROMPT_ALL, registers.PROMPT_ALL])
    flags |= registers.PROMPT_FRESH * rng.randint(0, 1)
    header = message(MessageKind.PROMPT, rng.randrange(CONFIG.positions), flags | count)
    return [header, *(rng.randrange(1 << 24) for _ in range(count))]


def traffic(rng):
    """Some whole messages; few different tokens, so that stop tokens are met."""
    words = []
    for _ in range(rng.choice([0, 0, 1, 3])):
        slot = rng.randrange(CONFIG.positions)
        words += rng.choice([
            lambda: prompt(rng),
            lambda: [message(MessageKind.GENERATE, slot, rng.choice([0, 1, 2, 5, 0xffffff])),
                     *prompt(rng)],
            lambda: [message(MessageKind.GENERATE, slot, rng.choice([3, 9])), *prompt(rng)],
            lambda: [message(MessageKind.STOP, slot)],
            lambda: [message(MessageKind.STOP_TOKEN, 0, rng.choice([3, 4, 0xffffff]))],
            lambda: [message(MessageKind.TEMPERATURE, slot, rng.randrange(1 << 18)),
                     message(MessageKind.TOP_K, slot, rng.randrange(33))],
            lambda: [message(MessageKind.REPETITION, slot, rng.choice([0, rng.randrange(1 << 24)])),
                     *prompt(rng)],
            lambda: [message(MessageKind.SEED, slot, rng.randrange(1 << 24))],
            lambda: [rng.choice([0, 9, 15]) << registers.KIND_SHIFT | rng.randrange(1 << 28)],
        ])()
    return words


def fields(bits):
    step = step_layout(CONFIG).from_bits(bits)
    return (step.live, step.sample, bool(step.chain), bool(step.fresh), step.slot, step.last,
            tuple(step.tokens[p] for p in range(CONFIG.positions)))


def apply(setting, kind, payload):
    """What a choice that is told does to the slot's setting."""
    match kind:
        case MessageKind.TEMPERATURE:
            setting.inverse = payload
        case MessageKind.SEED:
            setting.seed, setting.count = payload, 0
        case MessageKind.TOP_K:
            setting.top_k = payload
        case MessageKind.REPETITION:
            setting.penalty, setting.reward = divmod(payload, 1 << PENALTY_BITS)
            setting.seen[:] &= not payload
        case MessageKind.PROMPT:
            setting.see(payload)
        case MessageKind.GENERATE:
            setting.see(payload)
            setting.count += 1


async def listen(dut, settings, rng):
    """Apply every choice; forget as slowly as :class:`hw.sample.draw.Draw`, from the third cycle
    on."""
    layout, waits = choice_layout(CONFIG), []
    while True:
        await ReadOnly()
        choice = layout.from_bits(int(dut.choice.value))
        if choice.valid:
            assert not waits and not int(dut.forgetting.value)
            apply(settings[choice.slot], choice.kind, choice.payload)
            if choice.kind == MessageKind.REPETITION and choice.payload:
                waits = [0] + [1] * rng.choice([1, 5, 60])
        await FallingEdge(dut.clk)
        dut.forgetting.value = waits.pop(0) if waits else 0


def told(setting):
    return (setting.inverse, setting.seed, setting.count, setting.top_k, setting.penalty,
            setting.reward, setting.seen.tobytes())


async def run(dut, rng, duty, counts):
    golden, words = Scheduler(CONFIG), deque()
    settings = [Setting() for _ in range(CONFIG.positions)]
    listener = cocotb.start_soon(listen(dut, settings, rng))
    feeder = cocotb.start_soon(send(dut, words))
    def say(new):
        words.extend(new)
        for word in new:
            golden.send(word)

    for _ in range(ROUNDS):
        for _ in range(rng.choice([0, 1, 5])):
            await FallingEdge(dut.clk)
        cut = traffic(rng)
        late = cut[rng.randrange(len(cut)):] if cut and rng.random() < 0.3 else []
        say(cut[:len(cut) - len(late)])
        await FallingEdge(dut.clk)      # `send` offers them
        dut.wanted.value = 1
        expected = golden.next()
        while expected is None:
            counts["waits"] += 1
            while not int(dut.waiting.value) or words:
                assert not int(dut.step__valid.value)
                await FallingEdge(dut.clk)
            for _ in range(rng.choice([1, 20])):
                assert not int(dut.step__valid.value) and int(dut.waiting.value)
                await FallingEdge(dut.clk)
            say(late or [*prompt(rng)])
            late = []
            expected = golden.next()
        taken, = await streams.get(dut, "step", 1, duty=duty, seed=rng.random())
        dut.wanted.value = 0
        assert [told(s) for s in settings] == [told(s) for s in golden.settings]
        say(late)                       # waits, because nothing is taken during a step
        assert fields(taken) == (expected.live, expected.sample, expected.chain, expected.fresh,
                                 expected.slot, expected.last, expected.tokens)
        counts["steps"] += 1
        counts["streams"] += not expected.chain
        if expected.sample or rng.random() < 0.5:
            ids = rng.choices([3, 4, 5, 6, 7, 8, 1 << 23, 0xffffff], k=CONFIG.positions)
            golden.emit(ids)
            offer = tokens_layout(CONFIG).const({"mask": expected.sample, "ids": ids})
            put = cocotb.start_soon(streams.put(dut, "emit", [offer.as_value().value]))
            assert await streams.get(dut, "tokens", len(golden.tokens), duty=duty,
                                     seed=rng.random()) == golden.tokens
            golden.tokens.clear()
            await put
    feeder.cancel()
    listener.cancel()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def steps_and_tokens_equal_golden(dut):
    for name in ("messages", "emit"):
        for port in streams.ports(dut, name)[:2]:
            port.value = 0
    dut.wanted.value = 0
    dut.forgetting.value = 0
    dut.step__ready.value = 0
    dut.tokens__ready.value = 0
    await streams.start(dut)
    for name in ("step", "tokens"):
        cocotb.start_soon(streams.watch(dut, name))
    counts = {"steps": 0, "waits": 0, "streams": 0}
    for seed in GIVEN["seeds"]:
        for duty in (1.0, 0.3):
            # Reset in between: what one run left behind must not show in the next.
            dut.rst.value = 1
            await FallingEdge(dut.clk)
            dut.rst.value = 0
            await run(dut, random.Random(f"{seed} {duty}"), duty, counts)
    assert all(count > 20 for count in counts.values()), counts
