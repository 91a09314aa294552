"""A board's netlist at its pins, in real time: PLL, I/O cells, SDRAM and serial line.

:class:`PinBoard` takes Verilog of what ships and never imports ``hw`` or ``boards``. Two libraries
of Verilator, the core and the host link, do not depend on pins and clocks and are compiled once;
the rest of the netlist, its *shell*, is compiled in seconds. Time is in picoseconds, and every
clock has the frequency and phase that the parameters of the PLL give it.
"""

from dataclasses import dataclass


__all__ = ["Netlist", "Part"]


@dataclass(frozen=True)
class Part:
    """A module that is compiled on its own.

    Parameters
    ----------
    verilog : str
        With the module and all below it.
    module : str
        Its name there.
    ports : tuple[(str, int, bool)]
        Name, width in bits, and whether it is an input.
    """
    verilog: str
    module: str
    ports: tuple[tuple[str, int, bool], ...]


@dataclass(frozen=True)
class Netlist:
    """What :func:`boards.flow.prepare` wrote for a board, as simulators read it.

    Parameters
    ----------
    verilog : str
        Of module ``top`` and all below it but the parts.
    parts : dict[str, Part]
        By the name of the module that is missing in ``verilog``.
    pll : dict[str, int or str]
        Parameters of the EHXPLLL; attributes behind a ``*``.
    constraints : str
        The LPF file.
    digest : str
        That ``prepare`` returned.
    """
    verilog: str
    parts: dict[str, Part]
    pll: dict[str, int | str]
    constraints: str
    digest: str
