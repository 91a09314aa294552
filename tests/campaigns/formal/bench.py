"""What a proof says about a block: free inputs, assumptions, promises, and faults to be found."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
import importlib
import inspect
import re

from amaranth import *
from amaranth.asserts import AnyConst, AnySeq
from amaranth.back import rtlil
from amaranth.hdl import Assert, Cover
from amaranth.lib import memory

from tern_fpga.hw.common.ram import BlockRam


__all__ = ["Bench", "Fault", "Proof", "netlist"]


@dataclass(frozen=True)
class Fault:
    """A deliberate one: ``old`` in the source of ``module.cls`` (once) becomes ``new``."""
    what: str
    place: str              # "module:Class", below tern_fpga
    old: str
    new: str

    @contextmanager
    def applied(self):
        """The class has the fault while this lasts; LookupError if its text is no longer there."""
        name, _, owner = self.place.partition(":")
        module = importlib.import_module(
            name if name.startswith("amaranth.") else f"tern_fpga.{name}")
        text = inspect.getsource(getattr(module, owner))
        if text.count(self.old) != 1:
            raise LookupError(f"{self.place} has {self.old!r} {text.count(self.old)} times: "
                              f"it must be written again")
        space = dict(vars(module))
        exec(compile(text.replace(self.old, self.new), f"<{self.place} with a fault>", "exec"),
             space)
        broken = {key: value for key, value in vars(space[owner]).items()
                  if key == "elaborate" or key.startswith("_") and not key.startswith("__")}
        whole  = {key: vars(getattr(module, owner))[key] for key in broken}
        try:
            for key, value in broken.items():
                setattr(getattr(module, owner), key, value)
            yield
        finally:
            for key, value in whole.items():
                setattr(getattr(module, owner), key, value)


@dataclass(frozen=True)
class Proof:
    """One claim about a block.

    Parameters
    ----------
    name : str
    shows : str
        What is proved, in one sentence.
    bench : callable
        Takes a :class:`Bench` and says it in hardware.
    method : str
        ``"always"``: for any number of cycles, by property directed reachability (ABC). With
        ``"always merged"``, registers that are always equal become one before: right where the
        bench has a copy of what the block should do.
        ``"induction N"``: the same by induction over N cycles (Yices); right for pipelines.
        ``"bounded N"``: for the first N cycles after power-up, without another reset (Yices).
    limits : str
        What it does not show.
    faults : tuple of Fault
        Each must be found.
    reach : int
        Cycles within which all that the bench calls ``reach`` must have happened; 0: nothing.
    constants : dict
        ``{"module.NAME": value}``: constants of the hardware that are smaller than in truth.
    quick : bool
        Part of ``make test``.
    """
    name: str
    shows: str
    bench: object
    method: str = "always"
    limits: str = ""
    faults: tuple = ()
    reach: int = 0
    constants: dict = field(default_factory=dict)
    quick: bool = False


class Bench(Elaboratable):
    """A circuit around a block whose inputs the solver chooses.

    With ``resets``, reset may come in any cycle, again and again; it leaves the block's memories
    and its registers without a reset as they are.
    """
    def __init__(self, describe, *, resets):
        self.describe = describe
        self.clock    = ClockDomain("sync", reset_less=not resets)
        self.ports    = [self.clock.clk, *([self.clock.rst] if resets else [])]

    def elaborate(self, platform):
        self.m = m = Module()
        m.domains.sync = self.clock
        self.assumed, self.promised, self.reached = [], {}, {}
        self.first = Signal(init=1)         # the first cycle after a reset
        m.d.sync += self.first.eq(0)
        self.describe(self)

        kept = Signal(init=1)               # what was assumed was so, since the reset
        now  = Signal()
        m.d.comb += now.eq(kept & Cat(self.assumed).all())
        m.d.sync += kept.eq(now)
        for promise in self.promised.values():
            m.d.comb += Assert(~now | promise)
        for condition in self.reached.values():
            m.d.comb += Cover(now & condition)
        return m

    def block(self, name, component):
        """Add a submodule."""
        self.m.submodules[name] = component
        return component

    def named(self, name, value):
        """``value`` as a signal, to be seen in traces."""
        signal = Signal(Shape.cast(value.shape()), name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def any(self, name, shape=1):
        """Something else in each cycle."""
        return self.named(name, AnySeq(Shape.cast(shape)))

    def constant(self, name, shape=1):
        """Anything, but the same for ever."""
        return self.named(name, AnyConst(Shape.cast(shape)))

    def past(self, value, init=0):
        """``value`` in the cycle before; ``init`` in the first after a reset."""
        before = Signal(Shape.cast(value.shape()), init=init)
        self.m.d.sync += before.eq(value)
        return before

    def sticky(self, condition):
        """Whether ``condition`` was true in a cycle before this, since the reset."""
        seen = Signal()
        self.m.d.sync += seen.eq(seen | condition)
        return seen

    def assume(self, condition):
        self.assumed.append(Value.cast(condition).any())

    def promise(self, name, condition):
        self.promised[name] = Value.cast(condition).any()

    def reach(self, name, condition):
        """The condition must be reachable: what is proved is about something."""
        self.reached[name] = Value.cast(condition).any()

    def feed(self, name, port, payload=None):
        """Offer anything (or ``payload``) at any time on an input stream, and hold each offer.

        Returns "an offer is taken".
        """
        given = Value.cast(port.payload)
        fresh = self.any(f"{name}_payload", len(given)) if payload is None else payload
        waits = self.past(port.valid & ~port.ready)
        offer = self.past(given)
        self.m.d.comb += [
            port.valid.eq(waits | self.any(f"{name}_valid")),
            given.eq(Mux(waits, offer, fresh)),
        ]
        return self.named(f"{name}_taken", port.valid & port.ready)

    def drain(self, name, port):
        """Take from an output stream at any time; returns "an offer is taken"."""
        self.m.d.comb += port.ready.eq(self.any(f"{name}_ready"))
        return self.named(f"{name}_taken", port.valid & port.ready)

    def owed(self, port, bits):
        """Words that the memory at a :class:`hw.common.signatures.MemoryPort` owes, and that are
        owed to
        it, until it had them; "a command is taken" and "a word to write is taken"."""
        command = port.command.p
        taken   = port.command.valid & port.command.ready
        reads, writes = Signal(bits), Signal(bits)
        came = port.read.valid & port.read.ready
        went = port.write.valid & port.write.ready
        self.m.d.sync += [
            reads.eq(reads + Mux(taken & ~command.write, command.words, 0) - came),
            writes.eq(writes + Mux(taken & command.write, command.words, 0) - went),
        ]
        return reads, writes, taken, went

    def stream_rules(self, name, port):
        """The rules of :mod:`sim.rtl.streams` for an output stream, and no offer out of a reset."""
        payload = Value.cast(port.payload)
        waits   = self.past(port.valid & ~port.ready)
        self.promise(f"{name}_offer_stays", ~waits | port.valid)
        self.promise(f"{name}_payload_stays", ~waits | (payload == self.past(payload)))
        self.promise(f"{name}_none_after_reset", ~(self.first & port.valid))


_UNDEFINED = "undefined"        # name of memories without initial values


def _block_ram(self, platform):
    """:class:`hw.common.ram.BlockRam` that returns anything where its docstring says
    "undefined", and
    that holds anything after power-up."""
    m = Module()
    m.submodules[_UNDEFINED] = rows = memory.Memory(shape=self.shape, depth=self.depth, init=[])
    write = rows.write_port(granularity=1 if self.masked else None)
    read  = rows.read_port(domain="comb")
    m.d.comb += [
        write.addr.eq(self.write_address),
        write.data.eq(self.write_data),
        write.en.eq(self.write_enable),
        read.addr.eq(self.read_address),
    ]
    row   = Signal(self.shape, reset_less=True)
    clash = Value.cast(self.write_enable).any() & (self.write_address == self.read_address)
    with m.If(self.read_enable):
        m.d.sync += row.eq(Mux(clash, AnySeq(len(Value.cast(row))), Value.cast(read.data)))
    m.d.comb += self.read_data.eq(row)
    return m


@contextmanager
def _replaced(constants):
    """Names of modules have other values while this lasts."""
    places = {}
    for path, value in constants.items():
        module, _, name = path.rpartition(".")
        places[importlib.import_module(f"tern_fpga.{module}"), name] = value
    whole  = {place: getattr(*place) for place in places}
    try:
        for place, value in places.items():
            setattr(*place, value)
        yield
    finally:
        for place, value in whole.items():
            setattr(*place, value)


def netlist(proof, fault=None):
    """RTLIL of a proof's bench, module ``top``; assertions and covers have their names."""
    whole = BlockRam.elaborate
    BlockRam.elaborate = _block_ram
    try:
        with _replaced(proof.constants), fault.applied() if fault else nullcontext():
            bench = Bench(proof.bench, resets=not proof.method.startswith("bounded"))
            text  = rtlil.convert(bench, name="top", emit_src=False, ports=bench.ports)
    finally:
        BlockRam.elaborate = whole
    text  = re.sub(rf'cell \$meminit_v2 \S+\n +parameter \\MEMID "\\\\{_UNDEFINED}"\n.*?\n +end\n',
                   "", text, flags=re.DOTALL)
    names = iter([*bench.promised, *bench.reached])
    return re.sub(r"cell \$check \S+", lambda _: f"cell $check \\the.{next(names)}", text)
