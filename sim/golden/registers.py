"""Golden model of the register files and of the vectors stored in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space


__all__ = ["Registers"]


class Registers:
    """Vector, code and scalar registers.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    v : (registers, positions, register_elements) float64
        The uniform vector at register r is this array, flattened in this order, from r on.
    q : (code_registers, positions, register_elements) int8
    s : (32, positions) float64

    Raises
    ------
    ValueError
        An operand reaches beyond the last register.
    """
    def __init__(self, config: Config) -> None:
        self.config = config
        self.v = np.zeros((config.registers, config.positions, config.register_elements))
        self.q = np.zeros((config.code_registers, *self.v.shape[1:]), np.int8)
        self.s = np.zeros((isa.SCALARS, config.positions))

    def _group(self, file: NDArray[Any], letter: str, first: int, n: int) -> NDArray[Any]:
        """View of the registers of ``n`` elements from ``first`` on: (positions, registers,
        elements). ``file``: ``v`` or ``q``."""
        last = first + -(-n // self.config.register_elements)
        if last > len(file):
            raise ValueError(f"{letter}{first} has no {n} elements: the last register is "
                             f"{letter}{len(file) - 1}")
        return file[first:last].transpose(1, 0, 2)

    @staticmethod
    def _set(group: NDArray[Any], positions: Sequence[int], values: NDArray[Any]) -> None:
        """Write exactly the elements of ``values``: (positions, n)."""
        size, n = group.shape[2], values.shape[1]
        whole = n // size
        group[positions, :whole] = values[:, :whole * size].reshape(len(positions), whole, size)
        if n % size:
            group[positions, whole, :n % size] = values[:, whole * size:]

    def uniform(self, number: int, n: int) -> NDArray[np.float64]:
        """View of the uniform vector at register ``number``: (1, n)."""
        start = number * self.config.positions * self.config.register_elements
        if start + n > self.v.size:
            raise ValueError(f"u{number} has no {n} elements")
        return self.v.reshape(1, -1)[:, start:start + n]

    def write_uniform(self, number: int, values: NDArray[np.float64]) -> None:
        """``values``: (1, n)."""
        self.uniform(number, values.shape[1])[:] = values

    def scalar(self, number: int) -> NDArray[np.float64]:
        """View of a scalar register: (positions,)."""
        if number >= isa.SCALARS:
            raise ValueError(f"there is no s{number}")
        return self.s[number]

    def read(self, operand: Operand, n: int, positions: Sequence[int]) -> NDArray[np.float64]:
        """Values of an operand: (positions, n), or a shape that broadcasts to it."""
        if operand.space == Space.V:
            group = self._group(self.v, "v", operand.number, n)[positions]
            # Not -1, which fails on no positions, as there are before the first step.
            return group.reshape(len(positions), group.shape[1] * group.shape[2])[:, :n]
        if operand.space == Space.U:
            return self.uniform(operand.number, n)
        return self.scalar(operand.number)[positions, None]

    def write(self, operand: Operand, positions: Sequence[int],
              values: NDArray[np.float64]) -> None:
        """Write exactly the elements of ``values``, (positions, n), to an operand in v or s;
        other spaces are ignored."""
        if operand.space == Space.S:
            self.scalar(operand.number)[positions] = values[:, 0]
        elif operand.space == Space.V:
            group = self._group(self.v, "v", operand.number, values.shape[1])
            self._set(group, positions, values)

    def write_codes(self, number: int, positions: Sequence[int], codes: NDArray[np.int8]) -> None:
        """``codes``: (positions, n) int8."""
        self._set(self._group(self.q, "q", number, codes.shape[1]), positions, codes)

    def read_codes(self, number: int, n: int, positions: Sequence[int]) -> NDArray[np.int8]:
        """(positions, n) int8; fewer columns where the vector's padding lies beyond the last
        register."""
        last = number + -(-n // self.config.register_elements)
        group = self.q[number:last].transpose(1, 0, 2)[positions]
        return group.reshape(len(positions), -1)[:, :n]
