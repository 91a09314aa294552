"""A peephole over the operations of a part: norms in front of codes disappear into them.

``norm(a, gain)`` is a times a gain and a scalar. The scalar does not change the codes of a vector,
so it is applied to the sums instead, and the gain is multiplied by that of the matrix. What a norm
costs then is a sum of squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tern_fpga.assembler.models.program import Codes, Mul, Norm, Operation


__all__ = ["NormedCodes", "fused"]


@dataclass(frozen=True)
class NormedCodes(Operation):
    """out = int8 codes of ``RMSNorm(RMSNorm(a, outer) * b, inner)``, for the product with
    ``matrix``. ``outer`` None: no outer norm; ``b`` None: no factor. Of the operands, ``a`` becomes
    available last."""
    out: str
    a: str
    b: str | None
    outer: str | None
    inner: str
    matrix: str

    READS = ("a", "b")

    def __str__(self) -> str:
        value = f"norm({self.a}, {self.outer})" if self.outer else self.a
        value += f" * {self.b}" if self.b else ""
        return f"{self.out} = codes of norm({value}, {self.inner})"


def _of_norms(operations: Sequence[Operation], at: int) -> NormedCodes | None:
    """What operation ``at``, Codes, is together with the norms in front of it."""
    codes = operations[at]
    assert isinstance(codes, Codes)

    def defined(name: str, before: int) -> tuple[int, Operation | None]:
        """The operation that gives a value what operation ``before`` reads, and its number."""
        return next(((n, operations[n]) for n in reversed(range(before))
                     if operations[n].out == name), (before, None))

    first, inner = defined(codes.a, at)
    if not isinstance(inner, Norm):
        return None
    value, factor, outer = inner.a, None, None
    n, op = defined(value, first)
    if isinstance(op, Mul) and op.out not in op.reads:
        first, value, factor = n, op.a, op.b
        n, op = defined(value, first)
    if isinstance(op, Norm) and op.out not in op.reads:
        first, value, outer = n, op.a, op.gain
    # The codes are computed where `at` is, so the operands must still be what they were.
    operands = {value, factor} - {None}
    if any(op.out in operands for op in operations[first:at]):
        return None
    return NormedCodes(codes.out, value, factor, outer, inner.gain, codes.matrix)


def fused(operations: Sequence[Operation], needed: Sequence[str] = ()) -> list[Operation]:
    """The operations with every norm that can be part of codes there, and without operations whose
    results are not used any more. ``needed``: values that are used after the last operation."""
    out = [op if not isinstance(op, Codes) else _of_norms(operations, n) or op
           for n, op in enumerate(operations)]
    kept: list[Operation] = []
    live = set(needed)
    for op in reversed(out):
        # Only what fusing leaves behind is removed: norms and products.
        if isinstance(op, Norm | Mul) and op.out not in live:
            continue
        if op.out is not None:
            live.discard(op.out)
        live.update(op.reads)
        kept.append(op)
    return kept[::-1]
