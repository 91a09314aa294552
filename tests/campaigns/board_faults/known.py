"""Faults that change nothing that can be seen, and why: by :attr:`Fault.key`."""

__all__ = ["EQUIVALENT"]


_ONE_CLOCK = ("Only boards whose SDRAM has the core's clock get this controller. There `memory` is "
              "the net of `sync`, and both resets end with the same edge, as "
              "tests/boards/test_boards_shell.py shows.")

_RENAMED = ('boards/top.py: return DomainRenamer("memory")(SdramController(config=narrow, '
            "**options)) -> ")

_NAMES = ("Amaranth puts the submodule's name before that of a domain which two submodules share "
          "with the module above; the netlist of a board differs in names of wires alone.")

EQUIVALENT: dict[str, str] = {
    "boards/clocks.py: local=True -> local=False": _NAMES,
    "boards/clocks.py: m.domains.locked = locked = ClockDomain(async_reset=True, local=True) -> "
    "m.domains.locked = locked = ClockDomain(async_reset=True)": _NAMES,
    _RENAMED + "return SdramController(config=narrow, **options)": _ONE_CLOCK,
    _RENAMED + 'return DomainRenamer("sync")(SdramController(config=narrow, **options))':
        _ONE_CLOCK,
}
