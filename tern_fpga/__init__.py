"""Ternary language models on small FPGAs.

    import tern_fpga

    image   = tern_fpga.compile("models/stories-5m", "ulx3s-85f")
    machine = tern_fpga.Machine(image)              # or engine="rtl": the core's Verilog
    for text in machine.generate("Once upon a time", 64, temperature=0.6, seed=1):
        print(text, end="", flush=True)

See :mod:`tern_fpga.interface`.
"""

import importlib


__all__ = ["Config", "Image", "Machine", "Sampling", "TernError", "compile", "load"]


def __getattr__(name: str) -> object:
    # Imported on demand: the host's commands work without a simulator, and only a command that
    # needs a missing library reports it.
    if name in __all__:
        return getattr(importlib.import_module("tern_fpga.interface"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
