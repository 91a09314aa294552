"""Write the Verilog of a core, module ``core``.

    python -m hw verilog --target ulx3s-85f --set positions=4 -o core.v
"""

from dataclasses import fields, replace
import json
import os
from pathlib import Path

from amaranth.back import verilog

from assembler.config import PRESETS, Config, preset
from assembler.errors import TernError
from hw.core import Core


__all__ = ["add_arguments", "run", "machine_arguments", "core_verilog", "chosen_config",
           "read_config", "write"]


def add_arguments(parser):
    machine_arguments(parser)
    parser.add_argument("--gated", action="store_true",
                        help="blocks that rest have clocks of their own: for simulators")


def machine_arguments(parser):
    """What all that write Verilog of a core take."""
    machine = parser.add_mutually_exclusive_group(required=True)
    machine.add_argument("--target", choices=PRESETS, help="preset machine")
    machine.add_argument("--config", type=Path, metavar="FILE",
                         help="JSON object with the parameters of assembler.config.Config")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="change a parameter; may be repeated")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def chosen_config(arguments):
    """The machine that ``--target``, ``--config`` and ``--set`` name; TernError on a mistake."""
    known = [field.name for field in fields(Config)]
    changes = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if name not in known or not equals or not value.lstrip("-").isdigit():
            raise TernError(f"--set takes NAME=NUMBER with NAME one of {', '.join(known)}, "
                            f"not {text!r}")
        changes[name] = int(value)
    if arguments.config is not None:
        return read_config(arguments.config, **changes)
    try:
        return replace(preset(arguments.target), **changes)
    except ValueError as error:
        raise TernError(f"{arguments.target}: {error}") from None


def read_config(path, **changes):
    """The machine of the JSON file ``path``; TernError on a mistake."""
    try:
        return Config(**{**json.loads(path.read_text(encoding="utf-8")), **changes})
    except (OSError, ValueError, TypeError) as error:
        raise TernError(f"{path}: {error}") from None


def core_verilog(config, **options):
    """Verilog text of the core, the same for the same config; ``options`` of :class:`Core`."""
    return verilog.convert(Core(config=config, **options), name="core", emit_src=False)


def write(path, text):
    """Write ``text``; the name appears only when the file is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TernError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def run(arguments):
    write(arguments.output, core_verilog(chosen_config(arguments), gated=arguments.gated))
