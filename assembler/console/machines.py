"""The machine that a command line names: a preset, and ``--set``, which changes parameters."""

from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import fields, replace

from tern_fpga.assembler.contract.config import PRESETS, Config, preset
from tern_fpga.assembler.errors import TernError


__all__ = ["add_set", "changes", "chosen"]


def add_set(parser: ArgumentParser, use: str = "change parameters of the target") -> None:
    """The option ``--set NAME=NUMBER ...``; ``use``: its help."""
    parser.add_argument("--set", metavar="NAME=NUMBER", nargs="+", action="extend", default=[],
                        help=f"{use}: --set positions=4 lanes=40, after all other arguments")


def changes(texts: Iterable[str]) -> dict[str, int]:
    """The parameters that entries of ``--set`` name; TernError on a mistake."""
    known = [field.name for field in fields(Config)]
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise TernError(f"--set {text}: is not NAME=NUMBER; an argument that is no part of "
                            f"--set comes before it")
        if name not in known:
            raise TernError(f"--set {text}: no parameter {name!r}; there are {', '.join(known)}")
        try:
            found[name] = int(value, 0)
        except ValueError:
            raise TernError(f"--set {text}: {value!r} is no whole number") from None
    return found


def chosen(target: str, texts: Iterable[str] = ()) -> Config:
    """The preset ``target``, changed by entries of ``--set``; TernError on a mistake."""
    try:
        config = preset(target)
    except (ValueError, TypeError):
        raise TernError(f"no target {target!r}; known targets: {', '.join(PRESETS)}") from None
    texts = list(texts)
    try:
        return replace(config, **changes(texts))
    except TernError:
        raise
    except ValueError as error:
        raise TernError(f"--set {' '.join(texts)}: {error}") from None
