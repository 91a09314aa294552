"""What random programs reached: instructions, operands, hazards, steps, stalls and states."""

from collections import Counter
import functools

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Stat
from tern_fpga.assembler.contract.registers import COUNTERS
from tern_fpga.hw.control.tickets import UNIT_INSTRUCTIONS, Queue, accesses_of


__all__ = ["Coverage", "DISTANCES", "HAZARDS", "state_names"]


# Classes of the distance between the two instructions of a hazard, in unit instructions.
DISTANCES = {"1": 1, "2-4": 4, "5-16": 16, "17-64": 64, "65+": 1 << 60}


def _letter(value):
    return "vus_"[value.space] + "+x" * value.indexed


def _expected_operands():
    found = []
    for instr in isa.INSTRUCTIONS:
        for name, letters in instr.spaces:
            for letter in letters:
                found.append((instr.mnemonic, name, letter))
                if letter in "vu":
                    found.append((instr.mnemonic, name, letter + "+x"))
        if isa.STAT in instr.fields:
            found += [(instr.mnemonic, "stat", stat.name) for stat in Stat]
    return tuple(found)


def _expected_hazards():
    """(kind, producer, consumer) that the tables allow, in the same queue too."""
    uses = {queue: set() for queue in Queue}            # {(file, writes)}
    for instr in UNIT_INSTRUCTIONS:
        for field, writes, queue in accesses_of(instr):
            letters = (dict(instr.spaces)[field.name] if field.kind == "operand"
                       else "q" if field.kind == "code" else "s")
            uses[queue] |= {(letter, writes) for letter in letters.replace("u", "v")
                            if letter != "_"}
    kinds = {"RAW": (True, False), "WAR": (False, True), "WAW": (True, True)}
    return tuple((kind, one, other) for kind, (first, second) in kinds.items()
                 for one in Queue for other in Queue
                 if {f for f, w in uses[one] if w is first}
                 & {f for f, w in uses[other] if w is second})


OPERANDS = _expected_operands()
HAZARDS = _expected_hazards()
STEPS = (
    "prompt, fresh", "prompt, chained", "prompt of 1 token", "prompt of all positions",
    "samples none", "samples the last", "samples all",
    "streams: 1", "streams: some", "streams: all",
)
BRANCHES = tuple((mnemonic, way) for mnemonic, ways in (
    ("jump", ("ahead", "back")), ("bnz", ("back", "ahead", "on")), ("bns", ("ahead", "on")))
    for way in ways)
CHOICES = ("greedy", "temperature", "top-k", "penalty", "greedy beside drawn")
LENGTHS = ("1", "less than a row", "whole rows", "a part row", "a register", "several registers")


class Coverage:
    """Counts over programs."""

    def __init__(self):
        self.operands, self.instructions = Counter(), Counter()
        self.hazards, self.lengths = Counter(), Counter()
        self.steps, self.branches, self.choices = Counter(), Counter(), Counter()
        self.counters, self.endings = Counter(), Counter()
        self.states = {}

    def add(self, trace, outcome):
        """Count a program, and what its run on the RTL showed."""
        self.endings[trace.status[-1]] += 1
        self.counters.update(outcome.counters)
        for path, states in outcome.states.items():
            self.states.setdefault(path, set()).update(states)
        uses = {file: {} for file in "vqs"}             # register: {(queue, writes): number}
        number = 0
        for event in trace.events:
            name = event.instruction.mnemonic
            self.instructions[name] += 1
            self._count_operands(trace.config, name, event.operands)
            if name in ("jump", "bnz", "bns"):
                way = "on"
                if event.taken:
                    way = "ahead" if event.operands["target"] > event.pc else "back"
                self.branches[name, way] += 1
            elif name == "next":
                self._count_step(trace.config, event.step)
            self._count_choices(event.choices)
            if event.instruction.unit is not isa.Unit.CONTROL:
                number += 1
                self._count_hazards(uses, event.accesses, number)

    def _count_operands(self, config, name, operands):
        for field, value in operands.items():
            if isinstance(value, Operand):
                self.operands[name, field, _letter(value)] += 1
            elif field == "stat":
                self.operands[name, field, Stat(value).name] += 1
        n = operands.get("n", operands.get("rows"))
        if n is not None:
            lanes, size = config.vector_lanes, config.register_elements
            self.lengths["1" if n == 1 else "less than a row" if n < lanes
                         else "several registers" if n > size
                         else "a register" if n == size
                         else "a part row" if n % lanes else "whole rows"] += 1

    def _count_step(self, config, step):
        if step.chain:
            count = step.last + 1
            self.steps["prompt, fresh" if step.fresh else "prompt, chained"] += 1
            self.steps["prompt of 1 token"] += count == 1
            self.steps["prompt of all positions"] += count == config.positions > 1
            self.steps["samples none"] += not step.sample
            self.steps["samples all"] += step.sample == step.live and count > 1
            self.steps["samples the last"] += step.sample == 1 << step.last
        else:
            streams = step.live.bit_count()
            self.steps["streams: 1" if streams == 1 else "streams: all"
                       if streams == config.positions else "streams: some"] += 1

    def _count_choices(self, choices):
        drawn = {temperature or penalty for temperature, _, penalty in choices}
        for temperature, top_k, penalty in choices:
            self.choices["greedy"] += not (temperature or penalty)
            self.choices["temperature"] += temperature and not top_k
            self.choices["top-k"] += temperature and top_k
            self.choices["penalty"] += penalty
        self.choices["greedy beside drawn"] += len(drawn) > 1

    def _count_hazards(self, uses, accesses, number):
        nearest = {}
        for access in accesses:
            file = uses[access.file]
            for register in range(access.first, access.first + access.count):
                for (queue, wrote), when in file.get(register, {}).items():
                    if wrote or access.writes:
                        kind = ("WAW" if wrote else "WAR") if access.writes else "RAW"
                        key = kind, queue, access.queue
                        nearest[key] = max(nearest.get(key, 0), when)
        for key, when in nearest.items():
            distance = number - when
            self.hazards[*key, next(name for name, most in DISTANCES.items()
                                    if distance <= most)] += 1
        for access in accesses:
            file = uses[access.file]
            for register in range(access.first, access.first + access.count):
                file.setdefault(register, {})[access.queue, access.writes] = number

    def missing(self):
        """What was not reached, as ``{group: [text]}``, without states."""
        return {
            "instructions": [i.mnemonic for i in isa.INSTRUCTIONS
                             if not self.instructions[i.mnemonic]
                             and not (i.mnemonic == "halt" and self.endings["halted"])],
            "operands": [" ".join(key) for key in OPERANDS if not self.operands[key]],
            "lengths": [name for name in LENGTHS if not self.lengths[name]],
            "hazards": [f"{kind} {one.name.lower()} to {other.name.lower()}, {distance} apart"
                        for kind, one, other in HAZARDS for distance in DISTANCES
                        if not self.hazards[kind, one, other, distance]],
            "branches": [" ".join(key) for key in BRANCHES if not self.branches[key]],
            "steps": [name for name in STEPS if not self.steps[name]],
            "choices": [name for name in CHOICES if not self.choices[name]],
            "counters": [c.name for c in COUNTERS if not self.counters[c.name]],
            "endings": [name for name in ("waiting", "halted", "fault") if not self.endings[name]],
        }


@functools.cache
def state_names(config):
    """``{(module, ...): [state, ...]}`` of the core's state machines, from its elaboration."""
    from amaranth.hdl import _ir

    from tern_fpga.hw.core import Core

    core, ports = Core(config=config), {}
    for path, member, value in core.signature.flatten(core):
        way = _ir.PortDirection.Input if member.flow.name == "In" else _ir.PortDirection.Output
        ports["__".join(map(str, path))] = (getattr(value, "as_value", lambda v=value: v)(), way)
    netlist = _ir.build_netlist(_ir.Fragment.get(core, None), ports=ports, name="core")
    found = {}
    for module in netlist.modules:
        for signal, name in module.signal_names.items():
            if name.startswith("fsm_state"):
                states = []
                while len(states) < 1 << len(signal):
                    try:
                        states.append(signal.decoder(len(states)).partition("/")[0])
                    except KeyError:
                        break
                found[*module.name, name] = states
    return found
