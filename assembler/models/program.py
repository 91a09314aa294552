"""Layer programs: what a model computes, as a few operations over named values.

A value is a vector per token. A parameter has the name of its tensor in the checkpoint, without
``.weight``; in a part that repeats, the name is relative to the part's prefix.
:mod:`assembler.compiler.lower` turns the operations into instructions in the order of the program,
so this order is also the schedule: after each matrix comes vector work on the results of the matrix
before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar


__all__ = ["FUNCTIONS", "Operation", "Embed", "Norm", "Codes", "Linear", "Map", "Lerp",
           "Complement", "Mul", "Add", "Scan", "Part", "LayerProgram"]


@dataclass(frozen=True)
class Operation:
    """``out`` = a function of other values.

    ``READS``: the fields that name these values. ``TEXT``: the operation in a comment of the
    program, with its fields in braces.
    """
    out: str | None

    READS: ClassVar[tuple[str, ...]] = ()
    TEXT: ClassVar[str]

    def __str__(self) -> str:
        return self.TEXT.format(**vars(self))

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values that the operation reads."""
        names = (getattr(self, field) for field in self.READS)
        return tuple(name for name in names if name is not None)


@dataclass(frozen=True)
class Embed(Operation):
    """out = the row of ``table`` that belongs to the token."""
    out: str
    table: str

    TEXT = "{out} = row of {table}"


@dataclass(frozen=True)
class Norm(Operation):
    """out = RMSNorm(a), times ``gain``."""
    out: str
    a: str
    gain: str

    READS = ("a",)
    TEXT = "{out} = norm({a}, {gain})"


@dataclass(frozen=True)
class Codes(Operation):
    """out = int8 codes of a, scaled to its largest magnitude, for the product with ``matrix``."""
    out: str
    a: str
    matrix: str

    READS = ("a",)
    TEXT = "{out} = codes of {a}"


@dataclass(frozen=True)
class Linear(Operation):
    """out = rows ``start`` to ``stop`` of ``matrix`` times ``codes``, rescaled. ``out`` None: the
    result is the logits."""
    codes: str
    matrix: str
    start: int
    stop: int

    READS = ("codes",)

    def __str__(self) -> str:
        rows = f"{self.matrix}[{self.start}:{self.stop}]"
        return f"{self.out or 'logits'} = {rows} {self.codes}"


FUNCTIONS = ("sigmoid", "silu")


@dataclass(frozen=True)
class Map(Operation):
    """out = function(a); ``function`` is one of FUNCTIONS."""
    out: str
    function: str
    a: str

    READS = ("a",)
    TEXT = "{out} = {function}({a})"


@dataclass(frozen=True)
class Lerp(Operation):
    """out = floor + (1 - floor) * a, where ``floor`` is a parameter."""
    out: str
    a: str
    floor: str

    READS = ("a",)
    TEXT = "{out} = lerp({floor}, 1, {a})"


@dataclass(frozen=True)
class Complement(Operation):
    """out = 1 - a."""
    out: str
    a: str

    READS = ("a",)
    TEXT = "{out} = 1 - {a}"


@dataclass(frozen=True)
class Mul(Operation):
    """out = a * b."""
    out: str
    a: str
    b: str

    READS = ("a", "b")
    TEXT = "{out} = {a} * {b}"


@dataclass(frozen=True)
class Add(Operation):
    """out = a + b."""
    out: str
    a: str
    b: str

    READS = ("a", "b")
    TEXT = "{out} = {a} + {b}"


@dataclass(frozen=True)
class Scan(Operation):
    """out = decay * state + a, and the new value of ``state`` is out. Each repetition of a part
    has such a state for each stream."""
    out: str
    decay: str
    a: str
    state: str = "state"

    READS = ("decay", "a")
    TEXT = "{out} = {state} = {decay} * {state} + {a}"


@dataclass(frozen=True)
class Part:
    """Operations that run after each other, once for each token.

    ``repeats``: how often, one repetition after the other; None: once, and without a loop.
    ``prefix``: of the names of its tensors, with the number of the repetition in place of ``{}``.
    ``sampled``: runs only when a token is sampled.
    """
    operations: tuple[Operation, ...]
    repeats: int | None = None
    prefix: str = ""
    sampled: bool = False

    @property
    def prefixes(self) -> list[str]:
        """The prefix of each repetition."""
        return [self.prefix.format(n) for n in range(self.repeats or 1)]

    def states(self) -> list[str]:
        """Names of its states, in the order of their use."""
        return list(dict.fromkeys(op.state for op in self.operations if isinstance(op, Scan)))


@dataclass(frozen=True)
class LayerProgram:
    """The operations of a model.

    Parameters
    ----------
    parts : tuple of Part
        In the order in which they run; the last one, and no other, is ``sampled``.
    lengths : dict
        Elements of each value.
    matrices : dict
        Name -> (rows, columns).
    states : dict
        Name -> elements, of one repetition and one stream.
    eps : float
        Of every norm.

    Raises
    ------
    ValueError
        The parts break a rule, or an operation cannot be: the message has both.
    """
    parts: tuple[Part, ...]
    lengths: dict[str, int]
    matrices: dict[str, tuple[int, int]]
    eps: float
    states: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if [part.sampled for part in self.parts] != [False] * (len(self.parts) - 1) + [True]:
            raise ValueError("the last part of a layer program, and no other, is sampled")
        if not any(part.repeats for part in self.parts):
            raise ValueError("a layer program needs a part that repeats")
        if self.head.repeats or self.head.states():
            raise ValueError("the sampled part of a layer program neither repeats nor has states")
        used = [name for part in self.parts for name in part.states()]
        if sorted(used) != sorted(self.states):
            raise ValueError("each state belongs to one part of a layer program")
        known: dict[str, Operation] = {}        # values so far, and what gave them
        for part in self.parts:
            for op in part.operations:
                why = self._mistake(op, known)
                if why:
                    raise ValueError(f"a layer program has {op}: {why}")
                if op.out is not None:
                    known[op.out] = op

    def _mistake(self, op: Operation, known: Mapping[str, Operation]) -> str | None:
        """Why an operation cannot be; ``known``: values before it, and what gave them."""
        for name in (*op.reads, *([op.out] if op.out is not None else [])):
            if name not in self.lengths:
                return f"{name} has no length"
        for name in op.reads:
            if name not in known:
                return f"no operation before it gives {name}"
        lengths = {self.lengths[name] for name in op.reads}
        if isinstance(op, Linear):
            rows, columns = self.matrices.get(op.matrix, (0, 0))
            codes = known[op.codes]
            if getattr(codes, "matrix", None) != op.matrix:
                return f"{op.codes} are no codes for {op.matrix}"
            if not 0 <= op.start < op.stop <= rows:
                return f"{op.matrix} has {rows} rows"
            if lengths != {columns}:
                return f"{op.matrix} has {columns} columns, and {op.codes} {self.lengths[op.codes]}"
            if op.out is not None and self.lengths[op.out] != op.stop - op.start:
                return f"{op.out} has the length {self.lengths[op.out]}"
        elif op.out is not None and lengths - {self.lengths[op.out]}:
            return f"lengths differ: {', '.join(f'{n} {self.lengths[n]}' for n in op.reads)}, " \
                   f"{op.out} {self.lengths[op.out]}"
        if isinstance(op, Map) and op.function not in FUNCTIONS:
            return f"functions are {', '.join(FUNCTIONS)}"
        if isinstance(op, Scan) and self.states[op.state] != self.lengths[op.out]:
            return f"{op.state} has the length {self.states[op.state]}"
        return None

    @property
    def embedding(self) -> Embed:
        """The operation that reads the table of tokens."""
        table, = (op for part in self.parts for op in part.operations if isinstance(op, Embed))
        return table

    @property
    def head(self) -> Part:
        """The part that runs when a token is sampled."""
        return self.parts[-1]

    def linears(self) -> Iterator[tuple[int, int, str, Linear]]:
        """Every product with rows of a matrix, in the order in which they run: the numbers of part
        and repetition, the prefix, and the operation."""
        for number, part in enumerate(self.parts):
            for repetition, prefix in enumerate(part.prefixes):
                for op in part.operations:
                    if isinstance(op, Linear):
                        yield number, repetition, prefix, op
