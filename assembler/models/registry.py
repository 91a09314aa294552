"""Architectures by ``model_type``: a new one is a file in this folder and a row here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.models.architecture import Architecture
from tern_fpga.assembler.models.hgrn import Hgrn


__all__ = ["ARCHITECTURES", "check_type", "load"]


ARCHITECTURES: dict[str, type[Architecture]] = {
    each.model_type: each for each in (Hgrn,)
}


def check_type(config: Mapping[str, Any], where: Path | str) -> None:
    """Raise TernError unless the config's ``model_type`` is supported."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise TernError(f"{where}: model_type {kind!r} is not supported; supported: "
                        f"{', '.join(ARCHITECTURES)}")


def load(config: Mapping[str, Any], where: Path | str) -> Architecture:
    """The model that a Hugging Face config describes.

    Raises TernError on anything that is not supported. The message begins with ``where``.
    """
    check_type(config, where)
    return ARCHITECTURES[config["model_type"]].from_config(config, where)
