"""The stream rules, for every output stream of every block that a solver can hold."""

from types import SimpleNamespace

from amaranth import *
from amaranth.asserts import AnySeq
from amaranth.lib.wiring import In

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.sdram_parts import part
from tern_fpga.hw.array.accumulate import TernaryAccumulate
from tern_fpga.hw.array.array import ArrayUnit
from tern_fpga.hw.array.codes import ColumnLoader
from tern_fpga.hw.array.drain import SumDrain
from tern_fpga.hw.common.divide import Divide
from tern_fpga.hw.common.exact_sum import Absmax, ExactSum
from tern_fpga.hw.common.gearbox import Gearbox
from tern_fpga.hw.control.fetch import ProgramMemory
from tern_fpga.hw.control.host import HostRegisters
from tern_fpga.hw.control.scheduler import Scheduler
from tern_fpga.hw.control.scoreboard import Scoreboard
from tern_fpga.hw.control.sequencer import Sequencer
from tern_fpga.hw.link.frames import FrameSender
from tern_fpga.hw.link.memory import MemoryBytes
from tern_fpga.hw.memory.memory import Bursts, MemoryArbiter
from tern_fpga.hw.memory.sdr.segments import Segments
from tern_fpga.hw.memory.transfer import (
    TransferUnit,
    VectorJobs,
    VectorLoader,
    VectorRows,
    VectorStorer,
)
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.hw.sample.sampler import Sampler
from tern_fpga.hw.vector.fetch import VectorFetch
from tern_fpga.hw.vector.memory import VectorMemory
from tern_fpga.hw.vector.store import VectorStore
from tern_fpga.hw.vector.vector import VectorUnit
from tests.campaigns.formal.bench import Proof


__all__ = ["PROOFS", "SMALL"]


SMALL = Config(memory_bytes=1 << 12, lanes=10, vector_lanes=1, significand=8, exponent=5,
               registers=16, register_elements=16, code_registers=4, accumulator_rows=16,
               prefetch_words=64, program_words=16)


def _everything(make, lawful=None, *, constant=(), open_=("read",), silent=()):
    """Offer anything on all inputs, take from all outputs at any time, and ask for the rules.

    ``constant``: inputs that do not change; ``open_``: outputs that are always taken, as their
    blocks ask; ``silent``: outputs that never offer anything.
    """
    def describe(b):
        block, ports = b.block("block", make()), {}
        for path, member, port in block.signature.flatten(block):
            name = "_".join(map(str, path))
            if path[-1] in ("payload", "valid", "ready"):
                ports.setdefault(path[:-1], {})[path[-1]] = (member.flow, port)
            elif member.flow is In:
                choose = b.constant if name in constant else b.any
                b.m.d.comb += Value.cast(port).eq(choose(name, len(Value.cast(port))))
        for path, parts in ports.items():
            name = "_".join(map(str, path))
            port = SimpleNamespace(**{part: signal for part, (_, signal) in parts.items()})
            if parts["valid"][0] is In:
                b.feed(name, port)
                continue
            b.stream_rules(name, port)
            if name in silent:
                b.promise(f"{name}_is_silent", ~port.valid)
            elif path[-1] in open_:
                b.m.d.comb += port.ready.eq(1)
                b.reach(f"{name}_offers", port.valid)
            else:
                b.drain(name, port)
                b.reach(f"{name}_waits", port.valid & ~port.ready)
        if lawful is not None:
            lawful(b, block)
    return describe


def _freed(b, bursts):
    """Only words that were asked for make room."""
    asked = Signal(16)
    taken = bursts.o.valid & bursts.o.ready
    b.m.d.sync += asked.eq(asked - bursts.freed + Mux(taken, bursts.o.payload.words, 0))
    b.assume(bursts.freed <= asked)


def _emit(b, sampler):
    """An ``emit`` stays until the tokens were taken, after the last row."""
    waits = b.past(sampler.emit & ~(sampler.tokens.valid & sampler.tokens.ready))
    b.assume(~waits | sampler.emit)
    b.assume(~(b.first & sampler.emit))
    found = sampler.found.any()
    late  = b.past(found)
    b.assume(~(sampler.emit & (sampler.i.valid | found | late | b.past(late))))


def _start(b, store):
    """A plan starts when the one before is done, and stays."""
    plan = Cat(Value.cast(store.plan), store.slot)
    b.assume(~(store.start & store.busy))
    b.assume(~store.busy | (plan == b.past(plan)))


def _counted(*fields, stream="i"):
    """Fields of an instruction that are at least 1."""
    def lawful(b, block):
        for field in fields:
            b.assume(getattr(block, stream).p[field] != 0)
    return lawful


class _AnySums(TernaryAccumulate):
    """Stands for TernaryAccumulate, which has a proof of its own: any sums at any time."""
    def elaborate(self, platform):
        m = Module()
        held, offer = Signal(), Signal(len(Value.cast(self.o.payload)))
        fresh = AnySeq(len(offer))
        m.d.comb += [
            self.o.valid.eq(held | AnySeq(1)),
            self.o.payload.eq(Mux(held, offer, fresh)),
        ]
        m.d.sync += [held.eq(self.o.valid & ~self.o.ready), offer.eq(self.o.payload)]
        return m


def _answers(b, transfer):
    """Memory and vector registers do what they were asked and nothing else."""
    port, request, response = transfer.port, transfer.read.request, transfer.read.response
    reads, writes, *_ = b.owed(port, 16)
    rows = Signal(16)           # that are owed
    b.m.d.sync += rows.eq(rows + (request.valid & request.ready)
                          - (response.valid & response.ready))
    b.assume(~port.read.valid | (reads != 0))
    b.assume(~port.write.ready | (writes != 0))
    b.assume(~response.valid | (rows != 0))


_READER = dict(silent=("port_write",))

def _made(block):
    return lambda: block(config=SMALL)


# Component, method, cycles to reach its covers, what its users promise in words and in hardware.
_BLOCKS = {
    "gearbox": ("Gearbox of 3 bits to 2", lambda: Gearbox(in_bits=3, out_bits=2), "always", 8,
                "", {}),
    "arbiter": ("MemoryArbiter", _made(MemoryArbiter), "always", 10, "", {}),
    "program memory": ("ProgramMemory", _made(ProgramMemory), "always", 10, "", _READER),
    "host registers": ("HostRegisters", _made(HostRegisters), "always", 6, "", {}),
    "scheduler": ("Scheduler", _made(Scheduler), "always", 10, "", {}),
    "sampler": ("Sampler", _made(Sampler), "always", 8,
                " if emit stays until the tokens are taken and no row comes behind it",
                dict(lawful=_emit, constant=("mask",))),
    "segments": ("Segments", lambda: Segments(config=SMALL, part=part("AS4C32M16SB-7")), "always",
                 10, "", {}),
    "divide": ("Divide", lambda: Divide(fmt=SMALL.float), "bounded 24", 24, "", {}),
    "exact sum": ("ExactSum", lambda: ExactSum(fmt=SMALL.float, lanes=1), "bounded 60", 60, "",
                  {}),
    "absmax": ("Absmax", lambda: Absmax(fmt=SMALL.float, lanes=2), "bounded 16", 16, "", {}),
    "accumulate": ("TernaryAccumulate", _made(TernaryAccumulate), "bounded 24", 30, "", {}),
    "vector unit": ("VectorUnit", _made(VectorUnit), "bounded 26", 26, "",
                    dict(constant=("step",), open_=("read", "codes", "scalar"))),
    "sequencer": ("Sequencer", _made(Sequencer), "bounded 16", 30, "", _READER),
    "scoreboard": ("Scoreboard", _made(Scoreboard), "bounded 16", 30, "", {}),
    "frame sender": ("FrameSender", FrameSender, "always", 10, "", {}),
    "vector rows": ("VectorRows", _made(VectorRows), "always", 8, "", {}),
    "vector jobs": ("VectorJobs", _made(VectorJobs), "always", 14, "", {}),
    "vector fetch": ("VectorFetch", _made(VectorFetch), "always", 10, "", {}),
    "vector store": ("VectorStore", _made(VectorStore), "always", 10,
                     " if a plan starts when the one before is done, and stays",
                     dict(lawful=_start, open_=("codes", "scalar"))),
    "column loader": ("ColumnLoader", _made(ColumnLoader), "always", 20,
                      " of a lawful instruction", dict(lawful=_counted("rows", "blocks"),
                                                       constant=("step",))),
    "bursts": ("Bursts", lambda: Bursts(config=SMALL, words_bits=8, room=64), "bounded 16", 8,
               " if only words that were asked for are freed", dict(lawful=_freed)),
    "weight stream": ("WeightStream", _made(WeightStream), "bounded 10", 10, "", _READER),
    "memory bytes": ("MemoryBytes", _made(MemoryBytes), "bounded 10", 10, "", {}),
    "vector loader": ("VectorLoader", _made(VectorLoader), "bounded 10", 10, "", _READER),
    "vector storer": ("VectorStorer", _made(VectorStorer), "bounded 14", 24, "",
                      dict(open_=("read",))),
    "transfer unit": ("TransferUnit", _made(TransferUnit), "bounded 30", 30,
                      " if memory and vector registers do what they were asked and nothing else",
                      dict(lawful=_answers, constant=("step",))),
    "array unit": ("ArrayUnit", _made(ArrayUnit), "bounded 32", 30,
                   " of lawful instructions, if TernaryAccumulate does",
                   dict(lawful=_counted("rows", stream="i_drain"),
                        constant=("step", "choice", "logits_enable"),
                        constants={"hw.array.array.TernaryAccumulate": _AnySums})),
    "vector memory": ("VectorMemory", _made(VectorMemory), "bounded 10", 10, "", {}),
    "drain": ("SumDrain", _made(SumDrain), "bounded 26", 30, " of a lawful instruction",
              dict(lawful=_counted("rows"), open_=("rows",),
                   constant=("step", "drawing", "logits_enable"))),
}


def _proof(name, block, make, method, reach, promised, *, constants=None, **users):
    return Proof(f"streams of {name}", f"Every output stream of {block} keeps an offer and its "
                 "payload until it is taken, and makes none out of a reset, whatever comes "
                 f"in{promised}.", _everything(make, **users), method=method, reach=reach,
                 constants=constants or {})


PROOFS = tuple(_proof(name, *parts, **users) for name, (*parts, users) in _BLOCKS.items())
