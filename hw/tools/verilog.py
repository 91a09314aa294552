"""Write the Verilog of a core, module ``core``.

    python -m hw verilog --target ulx3s-85f --set positions=4 -o core.v
"""

from dataclasses import fields
import gc
from pathlib import Path
import warnings

from amaranth.back import verilog
from amaranth.hdl import UnusedElaboratable

from tern_fpga.assembler.console import machines
from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.hw.core import Core


__all__ = ["add_arguments", "run", "machine_arguments", "core_verilog", "chosen_config",
           "read_config", "Refused", "made"]


class Refused(TernError):
    """The requested hardware cannot be made."""


def add_arguments(parser):
    machine_arguments(parser)
    parser.add_argument("--gated", action="store_true",
                        help="blocks that rest have clocks of their own: for simulators")


def machine_arguments(parser):
    """Arguments of every command that writes Verilog of a machine."""
    machine = parser.add_mutually_exclusive_group(required=True)
    machine.add_argument("--target", choices=PRESETS, help="preset machine")
    machine.add_argument("--config", type=Path, metavar="FILE",
                         help="JSON object with the parameters of tern_fpga.Config")
    machines.add_set(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def chosen_config(arguments):
    """The machine that ``--target``, ``--config`` and ``--set`` name; TernError on a mistake."""
    if arguments.config is not None:
        return read_config(arguments.config, **machines.changes(arguments.set))
    return machines.chosen(arguments.target, arguments.set)


def read_config(path, **changes):
    """The machine of the JSON file ``path``; TernError on a mistake."""
    found = disk.read_json(path)
    if unknown := set(found) - {field.name for field in fields(Config)}:
        raise TernError(f"{path}: no parameter {min(unknown)!r}; there are "
                        f"{', '.join(field.name for field in fields(Config))}")
    try:
        return Config(**{**found, **changes})
    except (ValueError, TypeError) as error:
        raise TernError(f"{path}: {error}") from None


def made(make):
    """Result of ``make()``; a ValueError of the hardware becomes :class:`Refused`, in one line."""
    why = None
    with warnings.catch_warnings():
        try:
            return make()
        except ValueError as error:
            why = str(error)
            # Amaranth warns about components that were never elaborated when they are collected.
            warnings.simplefilter("ignore", UnusedElaboratable)
        gc.collect()
    raise Refused(why)


def core_verilog(config, **options):
    """Verilog text of the core, always the same for a config; ``options`` are those of
    :class:`Core`.
    """
    # Source attributes would make the text depend on the folder of this checkout.
    return verilog.convert(Core(config=config, **options), name="core", emit_src=False)


def run(arguments):
    config = chosen_config(arguments)
    disk.write_text(arguments.output, made(lambda: core_verilog(config, gated=arguments.gated)))
