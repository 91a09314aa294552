"""What ships, simulated at the pins of its board.

    python -m tests.boards_sim                          every board, as shipped (long)
    python -m tests.boards_sim ulx3s-25f --small        one, with a small core

:func:`check` is for tests, also for those that put faults into ``boards``.
"""

from assembler.config import Config


__all__ = ["SMALL", "small", "netlist", "check"]


_SMALL = dict(memory_bytes=1 << 25, vector_lanes=1, registers=16, register_elements=16,
              code_registers=4, accumulator_rows=16, prefetch_words=64, program_words=64)
SMALL = {16: Config(memory_bits=16, lanes=10, **_SMALL),
         32: Config(memory_bits=32, lanes=20, **_SMALL)}


def small(name):
    """A small machine whose memory port is as wide as that of the board ``name``."""
    raise NotImplementedError


def netlist(name, *, board=None, config=None, whole=False):
    """What :func:`boards.flow.prepare` makes of a board, ready to be simulated.

    Parameters
    ----------
    name : str
        Of :data:`boards.parts.BOARDS`.
    board : boards.parts.Board or None
        None: that of the name.
    config : assembler.config.Config or None
        None: :func:`small`. With the preset's and ``whole`` it is the netlist of the bitstream.
    whole : bool
        Elaborate core and host link too (20 s and more), as for a bitstream. Else both are black
        boxes for ``prepare``, and come from :mod:`hw` by themselves, from the cache.

    Returns
    -------
    sim.pins.Netlist
    """
    raise NotImplementedError


def check(name, *, board=None, config=None, whole=False, thorough=False, figures=None):
    """Complaints about a board, one line each; [] if all is well.

    Prepares the netlist of ``name`` with the modules ``boards.*`` as they are now in this process,
    so that a fault may be patched in or be in the sources; simulates it at its pins: clocks before
    and after the lock, resets, power-up of the SDRAM by the strictest rules of all parts, set-up
    and hold of its pins and the time at which its words are there, serial line, lights, upload,
    memory and one token of the golden machine, lost and found oscillator.

    A fault that stops the build (an exception of elaboration, Yosys or Verilator) is a complaint,
    too. A dead board costs no more than a good one: silence ends a check after 1 ms of the board's
    time. Nothing is raised but for a machine's own failure.

    Parameters
    ----------
    name, board, config, whole
        See :func:`netlist`. What is right for the board stands in this module by its name and
        never comes from ``boards``.
    thorough : bool
        All of ``python -m firmware selftest``, and an upload of 8 KB.
    figures : dict or None
        Gets what was measured at the pins: ``core_mhz``, ``memory_mhz``, ``phase`` in degrees,
        ``baud``, ``cycles``.
    """
    raise NotImplementedError
