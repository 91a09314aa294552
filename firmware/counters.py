"""Where the cycles of a board go while it works.

    python -m firmware counters --port /dev/ttyUSB0 --seconds 2

Shares of the cycles that the running program took in that time, by unit. Nothing is stopped.
"""

import argparse
from collections.abc import Mapping

from tern_fpga.assembler.contract.registers import GROUPS, counted, register
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware import port
from tern_fpga.firmware.board import Board


__all__ = ["add_arguments", "run", "lines"]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 30:         # so that no counter wraps
        raise ValueError
    return value


_seconds.__name__ = "number of seconds up to 30"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    port.add_arguments(parser)
    parser.add_argument("--seconds", type=_seconds, default=1.0, metavar="S",
                        help="time to watch (default: 1)")


def lines(counts: Mapping[str, int]) -> list[str]:
    """Lines of text for counters by name."""
    cycles = counts["cycles"]
    text = [f"{cycles:,} cycles, {counts['instructions']:,} instructions"]
    for unit, names in GROUPS.items():
        text += ["", unit]
        text += [f"{counts[name] / cycles:8.2%}  {register(name).summary}" for name in names]
    return text


def run(args: argparse.Namespace) -> int:
    """Print the shares of the cycles; returns the exit status."""
    if args.port == port.SIM:
        raise TernError(f"--port {port.SIM} starts a board that runs no program; `python -m sim "
                        f"perf DIR` shows the counters of a simulated core")
    line = port.SerialPort(args.port, args.baud)
    try:
        board = Board(line)
        before = board.counters()
        line.sleep(args.seconds)
        after = board.counters()
    finally:
        line.close()
    counts = counted(before, after)
    if not counts["cycles"]:
        raise TernError(f"{args.port}: no program runs on the board; start one with `python -m "
                        f"firmware chat`")
    print("\n".join(lines(counts)))
    return 0
