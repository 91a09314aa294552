"""One program on both machines."""

import numpy as np

from tern_fpga.assembler.contract.registers import GROUPS
from tern_fpga.sim.commands.lockstep import Lockstep
from tern_fpga.sim.rtl.machine import Hang, RtlMachine
from tests.campaigns.programs.trace import Trace


__all__ = ["Outcome", "compare", "first_difference"]


_IDLE = 200_000             # cycles without a word on any port: longer than any loop drawn here
_CYCLES = 4_000             # of an instruction, on the average, at the very most
_FORGET = 1 << 15           # ... of a repetition penalty


class Outcome:
    """What came of a program.

    Members
    -------
    difference : str or None
        Between the machines.
    counters : dict
        The RTL's.
    states : dict
        By state machine: the states that it was in.
    """
    def __init__(self):
        self.difference, self.counters, self.states = None, {}, {}


def _unlike(name, ours, theirs):
    if np.array_equal(ours, theirs):
        return None
    place = tuple(int(n) for n in np.argwhere(ours != theirs)[0])
    return f"{name}{list(place)}: rtl {ours[place]}, golden {theirs[place]}"


def compare(program, trace, *, options=None, watch=False):
    """Run ``program`` on the RTL as ``trace`` ran it on the golden machine: an :class:`Outcome`.

    ``trace``: a :class:`tests.campaigns.programs.trace.Trace` that has run. ``watch``: note states,
    too.
    """
    golden, out, pace = trace.golden, Outcome(), program.pace
    rtl = RtlMachine(program.image(), seed=pace.seed, latency=pace.latency, gap=pace.gap,
                     busy=pace.busy, **(options or {}))
    try:
        machines = [path for path in sorted(rtl.state_machines) if watch]
        for path in machines:
            rtl.watch(*path)
        most = _CYCLES * (trace.executed + 10) + _FORGET * sum(map(len, program.send))
        for words, wanted in zip(program.send or ((),), trace.status):
            rtl.send(words)
            try:
                status = rtl.run(idle=_IDLE, cycles=most)
            except (Hang, RuntimeError) as error:
                out.difference = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
                return out
            if status != wanted:
                out.difference = f"status: rtl {status}, golden {wanted}"
                return out
        rtl.settle()
        out.counters = rtl.counters
        out.difference = _compare(rtl, golden, out.counters)
        if machines:
            changes = rtl.changes
            out.states = {path: {0} | set(changes["value"][changes["watch"] == n].tolist())
                          for n, path in enumerate(machines)}
    finally:
        rtl.close()
    return out


def _compare(rtl, golden, counters):
    if rtl.tokens != golden.tokens:
        return f"tokens: rtl {_hex(rtl.tokens)}, golden {_hex(golden.tokens)}"
    for name in "vqs":
        found = _unlike(name, getattr(rtl, name), getattr(golden, name))
        if found:
            return found
    for name in ("r", "pc", "saturated"):
        ours, theirs = getattr(rtl, name), getattr(golden, name)
        if ours != theirs:
            return f"{name}: rtl {ours}, golden {theirs}"
    for name in ("instructions", "load_words", "store_words", "array_beats"):
        ours, theirs = counters[name], golden.counters[name]
        if ours != theirs:
            return f"counter {name}: rtl {ours}, golden {theirs}"
    for group, names in GROUPS.items():
        if sum(counters[name] for name in names) != counters["cycles"]:
            return f"counters of the {group} do not add up"
    # Weights are fetched ahead; a stream that no matmul took to its end is whole or not.
    if rtl.sums not in golden.weights.sums_ahead():
        return f"checksum of the weights: rtl {rtl.sums}, golden {golden.sums}"
    return _unlike("memory byte ", rtl.memory[:len(golden.memory)], golden.memory)


def _hex(words):
    return " ".join(f"{word:08x}" for word in words)


def first_difference(program):
    """After which instruction the machines differ, one at a time: a text, or None."""
    pace = program.pace
    pair = Lockstep(program.image(), seed=pace.seed, latency=pace.latency, gap=pace.gap,
                    busy=pace.busy)
    try:
        for words in program.send or ((),):
            pair.send(words)
            difference = pair.run()
            if difference:
                return str(difference)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        pair.rtl.close()
    return None


def run(program, **options):
    """:func:`compare` with a trace of its own."""
    return compare(program, Trace(program).run(), **options)
