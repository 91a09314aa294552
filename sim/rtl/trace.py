"""Timeline of the RTL for https://ui.perfetto.dev or chrome://tracing.

Each unit has a track, and each instruction is a slice, named after its line of ``program.tasm``. A
slice begins when the instruction has been offered to the unit and the unit has finished its
previous instruction. It ends when the instruction is finished. A matmul has two slices, which run
independently: ``array`` computes its sums, and ``drain`` takes them through scale, registers or
sampler. The track ``weights`` shows the fetch of each `stream`, from the first word to the last. A
counter shows the breakdown of the memory's cycles.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.registers import COUNTERS, GROUPS
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, image as images
from tern_fpga.assembler.files.image import Image


if TYPE_CHECKING:           # it imports this module
    from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["Trace", "QUEUES", "names", "write_names"]


Ints = NDArray[np.integer[Any]]

QUEUES = ("memory", "vector", "array", "drain")     # in the order of the bits of `done`
_LATE = 2                   # cycles by which an event lags its cause
_WINDOW = 256               # cycles that a point of the counter covers
_BITS = {counter.name: bit for bit, counter in enumerate(COUNTERS)}


def _queues(word: int) -> tuple[str, ...]:
    """The queues of :mod:`hw.control.tickets` that take the instruction ``word``; () if it is
    none."""
    try:
        mnemonic, _ = isa.decode(word)
    except ValueError:
        return ()
    return {isa.Unit.CONTROL: (), isa.Unit.MEMORY: ("memory",), isa.Unit.VECTOR: ("vector",),
            isa.Unit.ARRAY: ("array", "drain") if mnemonic == "matmul" else ("drain",)
            }[isa.lookup(mnemonic).unit]


class Trace:
    """Records a machine, from the construction of the record to :meth:`write`.

    Parameters
    ----------
    machine : sim.rtl.machine.RtlMachine
        A new machine, without an instruction in flight.
    image : assembler.files.image.Image
    clock_mhz : float
        Clock that converts cycles to times.

    Raises
    ------
    TernError
        In ``write``: the file cannot be written.
    """
    def __init__(self, machine: RtlMachine, image: Image, *, clock_mhz: float) -> None:
        self.machine, self.image, self.clock_mhz = machine, image, clock_mhz
        self._watches = {name: machine.watch("sequencer", name) for name in (
            "pc", "activity", "done",
            *(f"{queue}__{part}" for queue in QUEUES for part in ("valid", "ready")))}
        self._watches["events"] = machine.watch("counters", "events")

    def _signals(self, *names: str) -> dict[str, Ints]:
        """{name: value in each cycle}, (cycles,) unsigned integers each."""
        changes, end = self.machine.changes, self.machine.total_cycles
        found: dict[str, Ints] = {}
        for name in names:
            own    = changes[changes["watch"] == self._watches[name]]
            at     = np.r_[0, own["cycle"], end].astype(np.int64)
            values = np.r_[np.uint32(0), own["value"]]
            found[name] = np.repeat(values.astype(np.min_scalar_type(values.max())), np.diff(at))
        return found

    def slices(self) -> dict[str, list[tuple[int, int, int]]]:
        """{track: [(first cycle, cycle after the last, number of the instruction)]}."""
        signals = self._signals(*self._watches)
        program, end = self.image.instructions(), self.machine.total_cycles
        fetches = np.flatnonzero(signals["activity"] & 1)   # hw.control.sequencer: the lowest bit
        issued  = [int(pc) for pc in signals["pc"][fetches]]
        words   = [program[pc] if pc < len(program) else 0 for pc in issued]
        tracks  = {"sequencer": list(zip(fetches.tolist(), [*fetches[1:].tolist(), end], issued))}

        done: dict[str, Ints] = {
            queue: np.flatnonzero(signals["done"] >> bit & 1) + 1
            for bit, queue in enumerate(QUEUES)}
        # `done` reports the codes of a matmul. Its sums are complete with its last beat.
        matmuls = [isa.decode(word)[1] for word in words if "array" in _queues(word)]
        done["array"] = _ends(signals["events"] >> _BITS["array_beats"] & 1,
                              [each["rows"] * each["blocks"] for each in matmuls])
        for queue in QUEUES:
            own   = [pc for pc, word in zip(issued, words) if queue in _queues(word)]
            begun = _offers(signals[f"{queue}__valid"], signals[f"{queue}__ready"])
            tracks[queue] = _in_turn(begun, done[queue], own, end)

        opcode  = isa.lookup("stream").opcode
        streams = [(pc, isa.decode(word)[1]["words"]) for pc, word in zip(issued, words)
                   if word >> isa.OPCODE.lo == opcode]
        came  = signals["events"] >> _BITS["weight_words"] & 1
        ends  = _ends(came, [count for _, count in streams])
        first = _ends(came, [count for _, count in streams], first=True) - 1
        tracks["weights"] = _in_turn(first, ends, [pc for pc, _ in streams], end)
        return tracks

    def memory(self) -> Iterator[tuple[int, dict[str, float]]]:
        """(first cycle, {event: share}) of each window of cycles."""
        events = self._signals("events")["events"][_LATE:]
        events = events[:len(events) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
        shares = {name: (events >> _BITS[name] & 1).mean(1) for name in GROUPS["memory"]}
        for n in range(len(events)):
            yield n * _WINDOW, {name: float(share[n]) for name, share in shares.items()}

    def write(self, path: Path) -> None:
        """Write the timeline to the file ``path``, as JSON."""
        called, scale = names(self.image), 1 / self.clock_mhz
        events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "core"}}]
        for number, (track, slices) in enumerate(self.slices().items()):
            events += [
                {"ph": "M", "pid": 1, "tid": number, "name": "thread_name",
                 "args": {"name": track}},
                {"ph": "M", "pid": 1, "tid": number, "name": "thread_sort_index",
                 "args": {"sort_index": number}}]
            for start, stop, pc in slices:
                name, line, place = called[pc] if pc < len(called) else ("halt", None, "")
                events.append({
                    "ph": "X", "pid": 1, "tid": number, "name": name, "ts": start * scale,
                    "dur": (stop - start) * scale,
                    "args": {"pc": pc, "line": line, "place": place, "cycle": start,
                             "cycles": stop - start}})
        events += [{"ph": "C", "pid": 1, "name": "memory", "ts": at * scale, "args": shares}
                   for at, shares in self.memory()]
        disk.write_text(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))


def names(image: Image) -> list[tuple[str, int, str]]:
    """[(text, line, label+offset)] of the program's instructions, from ``program.tasm``."""
    program = image.instructions()
    lines = image.files.get(images.PROGRAM, b"").decode("utf-8", "replace").splitlines()
    try:
        source = text.assemble("\n".join(lines), image.config, images.PROGRAM)
    except TernError:                   # the message does not matter here
        source = None
    if source is None or source.words != program:       # the text is missing or differs
        lines = text.disassemble(program, image.config).splitlines()
        source = text.assemble("\n".join(lines), image.config, "program")
    labels = {pc: label for label, pc in source.labels.items()}
    found: list[tuple[str, int, str]] = []
    label, at = "", 0
    for pc, number in enumerate(source.lines):
        label, at = (labels[pc], pc) if pc in labels else (label, at)
        found.append((_bare(lines[number - 1]), number, f"{label}+{pc - at}"))
    return found


def write_names(image: Image, waves: Path, bits: int | None = None) -> None:
    """Write the names of instructions beside the file ``waves``: a translate filter file of
    GTKWave for the hexadecimal values of ``core.sequencer.pc``. ``bits``: width of that signal,
    which may be narrower than in Amaranth."""
    digits = ((bits or image.config.program_words.bit_length()) + 3) // 4
    lines = [f"{pc:0{digits}x} {pc} {name}" for pc, (name, *_) in enumerate(names(image))]
    disk.write_text(waves.with_suffix(".names"), "\n".join(lines) + "\n")


def _bare(line: str) -> str:
    """A line of assembly without its comment, and with single spaces."""
    return " ".join(line.partition(";")[0].split())


def _offers(valid: Ints, ready: Ints) -> Ints:
    """Cycles in which each instruction was first offered to its unit."""
    offered, taken = valid.astype(bool), (valid & ready).astype(bool)
    return np.flatnonzero(offered & ~(np.r_[False, offered[:-1] & ~taken[:-1]]))


def _ends(happens: Ints, counts: list[int], *, first: bool = False) -> Ints:
    """Cycle after the last event (or the ``first``) of each item, where item n takes ``counts[n]``
    events. Items that have not had this event are left out."""
    at    = np.flatnonzero(happens) + 1 - _LATE
    total = np.cumsum(counts, dtype=np.int64)
    index: Ints = total - counts if first else total - 1
    return at[index[index < len(at)]]


def _in_turn(begun: Ints, done: Ints, instructions: list[int],
             end: int) -> list[tuple[int, int, int]]:
    """Slices of a unit that executes one instruction after the other. An unfinished one lasts to
    ``end``."""
    slices: list[tuple[int, int, int]] = []
    free = 0
    for n, start in enumerate(begun[:len(instructions)].tolist()):
        start = max(start, free)
        free  = int(done[n]) if n < len(done) else end
        slices.append((start, free, instructions[n]))
    return slices
