"""The image: the contents of a machine's memory before the first step.

A directory:

``image.bin``
    Header (magic ``TERNIMG`` and 0, version, config digest, program address and length, number
    of sections), section table, CRC-32 of both; then the bytes of the sections.
``manifest.json``
    The config, the address of each section and tensor, the register of each named value, and the
    line of ``program.tasm`` of each instruction.
``program.tasm``, ``tokenizer.json``
    The program as text; the tokenizer, if the model has one.

A section without bytes is memory that the program writes before it reads (states).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
import json
import os
from pathlib import Path
import shutil
import struct
import tempfile
from typing import Any
import zlib

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.contract import isa, registers
from tern_fpga.assembler.contract.checksum import WeightCheck
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, manifest as manifests


__all__ = ["Section", "Image", "load", "check_folder", "token_ids", "BINARY", "MANIFEST",
           "PROGRAM", "TOKENIZER"]


BINARY, MANIFEST = "image.bin", "manifest.json"
PROGRAM, TOKENIZER = "program.tasm", "tokenizer.json"

_MAGIC = b"TERNIMG\0"
_HEADER = struct.Struct("<8sI8sIII")        # magic, version, digest, program address, length, n
_ENTRY = struct.Struct("<24sQQQI")          # name, address in words, bytes, file offset, CRC-32
_CRC = struct.Struct("<I")
_NO_DATA = 0                                # file offset of a section without bytes
_MAX_SECTIONS = 64
_INSTRUCTION  = isa.WORD_BITS // 8


def token_ids(value: object, vocabulary: int) -> tuple[int, ...]:
    """Token ids of a config entry (None, an id, or a list of ids) as a tuple.

    The order is kept and duplicates are dropped. Raises ValueError if an id is outside of the
    vocabulary.
    """
    named: list[Any] = value if isinstance(value, list) else [value]
    ids = [n for n in named if n is not None]
    if not all(type(n) is int and 0 <= n < vocabulary for n in ids):
        raise ValueError(f"{value!r} is outside of the vocabulary, 0 to {vocabulary - 1}")
    return tuple(dict.fromkeys(ids))


def check_folder(directory: Path | str) -> None:
    """Raise TernError if an image in this folder would overwrite the tokenizer of something else.

    Commands also call it before the work begins.
    """
    directory = Path(directory)
    if os.path.lexists(directory / TOKENIZER) and not os.path.lexists(directory / BINARY):
        raise TernError(f"{directory}: holds the {TOKENIZER} of something that is no image; "
                        f"name another folder")


@dataclass(frozen=True)
class Section:
    """A stretch of memory.

    Parameters
    ----------
    name : str
        At most 24 bytes of ASCII.
    address : int
        First memory word.
    size : int
        Bytes; whole words.
    data : (size,) uint8, or None
        Contents before the first step; None if the program writes the section before it reads it.
    """
    name: str
    address: int
    size: int
    data: npt.NDArray[np.uint8] | None = None


@dataclass
class Image:
    """A program, its parameters and their addresses.

    ``manifest``: what ``manifest.json`` holds beside the members. ``files``: name -> bytes of
    further files of the directory.
    """
    config: Config
    sections: list[Section]
    program_address: int
    program_length: int
    manifest: dict[str, Any] = field(default_factory=dict)      # JSON; files.manifest checks it
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def words(self) -> int:
        """Memory words from address 0 to the end of the last section."""
        return max((s.address + s.size // self.config.word_bytes for s in self.sections),
                   default=0)

    def memory(self) -> npt.NDArray[np.uint8]:
        """Memory before the first step: (words * word_bytes,) uint8, from address 0."""
        out = np.zeros(self.words * self.config.word_bytes, np.uint8)
        for section in self.sections:
            if section.data is not None:
                start = section.address * self.config.word_bytes
                out[start:start + section.size] = section.data
        return out

    def section(self, name: str) -> Section:
        """The section called ``name``; raises KeyError if there is none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)

    def holds(self, name: str) -> bool:
        """Whether there is a section of this name that is not empty."""
        return any(section.name == name and section.size for section in self.sections)

    def model(self) -> tuple[int, tuple[int, ...]]:
        """(vocabulary size, ids that end a sequence) of the compiled model.

        Raises
        ------
        TernError
            The manifest does not describe a model.
        """
        try:
            vocabulary = self.manifest["model"]["vocab_size"]
            ends = self.manifest["model"].get("eos_token_id")
        except (KeyError, TypeError, AttributeError):
            vocabulary, ends = None, None
        if type(vocabulary) is not int or not 1 <= vocabulary <= 1 << registers.PAYLOAD_BITS:
            raise TernError(f"{MANIFEST}: does not describe a model; compile it again")
        try:
            return vocabulary, token_ids(ends, vocabulary)
        except ValueError:
            raise TernError(f"{MANIFEST}: eos_token_id {ends!r} is outside of the vocabulary"
                            ) from None

    def told(self, *path: str) -> Any:
        """The manifest's value under these keys, such as ``"model", "source"``.

        Raises TernError if there is none.
        """
        value: Any = self.manifest
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            raise TernError(f"{MANIFEST}: does not say {'.'.join(path)}; compile the model again")
        return value

    def weight_check(self) -> WeightCheck:
        """The :class:`assembler.contract.checksum.WeightCheck` of this image.

        Hand-written programs may set ``weight_streams`` to None in the manifest; then nothing is
        checked.

        Raises
        ------
        TernError
            The manifest has no ``weight_streams``, or they are damaged.
        """
        if "weight_streams" not in self.manifest:
            raise TernError(f"{MANIFEST}: does not say weight_streams, so weights that come wrong "
                            f"from memory would not be noticed; compile the model again")
        try:
            return WeightCheck(self.manifest["weight_streams"])
        except ValueError as error:
            raise TernError(f"{MANIFEST}: {error}; compile the model again") from None

    def instructions(self) -> list[int]:
        """The words of the program, as a list of 128-bit integers."""
        start = self.program_address * self.config.word_bytes
        size = _INSTRUCTION * self.program_length
        for section in self.sections:
            offset = start - section.address * self.config.word_bytes
            if section.data is not None and 0 <= offset <= section.size - size:
                data = bytes(section.data[offset:offset + size])
                return [int.from_bytes(data[i:i + _INSTRUCTION], "little")
                        for i in range(0, size, _INSTRUCTION)]
        return []

    def save(self, directory: Path | str) -> None:
        """Write the directory. Existing files are replaced only after all new ones are complete.

        Raises
        ------
        TernError
            The directory cannot be written.
        """
        directory = Path(directory)
        check_folder(directory)
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
            try:
                self._write(part)
                directory.mkdir(exist_ok=True)
                for name in sorted(os.listdir(part), key=lambda name: name == MANIFEST):
                    os.replace(part / name, directory / name)
                for name in {PROGRAM, TOKENIZER} - set(self.files):
                    (directory / name).unlink(missing_ok=True)      # of the image before
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            raise TernError(f"{directory}: cannot write the image: "
                            f"{error.strerror or error}") from None

    @classmethod
    def load(cls, directory: Path | str, config: Config | None = None) -> "Image":
        """See :func:`load`."""
        return load(directory, config)

    def _write(self, directory: Path) -> None:
        entries: list[tuple[Section, int, int]] = []            # section, file offset, CRC-32
        offset = _HEADER.size + _ENTRY.size * len(self.sections) + _CRC.size
        for section in self.sections:
            if section.data is None:
                entries.append((section, _NO_DATA, 0))
            else:
                entries.append((section, offset, zlib.crc32(section.data.data)))
                offset += section.size
        head = _HEADER.pack(_MAGIC, registers.VERSION, bytes.fromhex(self.config.digest),
                            self.program_address, self.program_length, len(self.sections))
        for section, place, crc in entries:
            head += _ENTRY.pack(section.name.encode("ascii"), section.address, section.size,
                                place, crc)
        with open(directory / BINARY, "wb") as file:
            file.write(head + _CRC.pack(zlib.crc32(head)))
            for section in self.sections:
                if section.data is not None:
                    file.write(np.ascontiguousarray(section.data).data)
        manifest = {
            "version": registers.VERSION,
            "digest": self.config.digest,
            "config": asdict(self.config),
            "program": {"address": self.program_address, "length": self.program_length},
            "sections": [{"name": s.name, "address": s.address, "bytes": s.size,
                          "crc32": f"{crc:08x}" if place != _NO_DATA else None}
                         for s, place, crc in entries],
        } | {k: v for k, v in self.manifest.items()
             if k not in ("version", "digest", "config", "program", "sections")}
        (directory / MANIFEST).write_text(_to_json(manifest), encoding="utf-8")
        for name, data in self.files.items():
            (directory / name).write_bytes(data)


def _to_json(manifest: dict[str, Any]) -> str:
    """JSON with one line per list entry, so that it is readable and diffs are local."""
    lines = []
    for key, value in manifest.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join("  " + json.dumps(entry) for entry in value)
            lines.append(f"{json.dumps(key)}: [\n{entries}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _read_header(path: Path,
                 size: int) -> tuple[str, int, int, list[tuple[bytes, int, int, int, int]]]:
    """(digest, program address, program length, entries) of an image file of ``size`` bytes."""
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(_MAGIC):
            what = disk.foreign(path)
            raise TernError(f"{path}: is {what}" if what else
                            f"{path}: not an image file; compile the model again")
        _, version, digest, address, length, count = _HEADER.unpack(head)
        if version != registers.VERSION:
            raise TernError(f"{path}: image version {version}, but this Tern reads version "
                            f"{registers.VERSION}; compile the model again")
        if count > _MAX_SECTIONS:
            raise TernError(f"{path}: damaged header ({count} sections); compile the model again")
        table = file.read(_ENTRY.size * count)
        crc = file.read(_CRC.size)
    if len(crc) < _CRC.size or _CRC.unpack(crc)[0] != zlib.crc32(head + table):
        raise TernError(f"{path}: damaged or truncated header (CRC-32 differs); compile the "
                        f"model again")
    entries = list(_ENTRY.iter_unpack(table))
    for name, _, n, place, _ in entries:
        if place != _NO_DATA and place + n > size:
            raise TernError(f"{path}: truncated: section {_name(name)} ends at byte "
                            f"{place + n}, the file at {size}; compile the model again")
    return digest.hex(), address, length, entries


def _name(name: bytes) -> str:
    return name.rstrip(b"\0").decode("ascii", "replace")


def _to_make(directory: Path) -> str:
    """What to type to make the image that this directory lacks."""
    source = next((directory / name for name in disk.MODELS if (directory / name).exists()),
                  directory)
    if source.is_file() and source.name in disk.MODELS or disk.is_model(directory):
        return (f"this is a model and not an image; compile it with `python -m assembler "
                f"{directory}` and give build/{disk.model_name(source)}")
    return f"make it with `python -m assembler MODEL -o {directory}`"


def load(directory: Path | str, config: Config | None = None) -> Image:
    """Read an image and check it.

    Parameters
    ----------
    directory : path
        As written by :meth:`Image.save`.
    config : Config or None
        The machine that is to run the image; None: the one that the image was made for.

    Returns
    -------
    Image
        The data of its sections are read-only memory maps.

    Raises
    ------
    TernError
        A file is missing or damaged, or the image was made for another config.
    """
    directory = Path(directory)
    path, manifest_path = directory / BINARY, directory / MANIFEST
    for place in (path, manifest_path):
        if not os.path.lexists(place):
            raise TernError(f"{place}: no such file; {_to_make(directory)}")
    text = disk.read_json_bytes(disk.kept_in(manifest_path, directory))
    try:
        manifest = disk.parse_json(text)
        stored = Config(**manifest["config"])
        manifests.check(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise TernError(f"{manifest_path}: damaged manifest ({error}); compile the model "
                        f"again") from None
    size = disk.size_of(disk.kept_in(path, directory))
    try:
        digest, address, length, entries = _read_header(path, size)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    if digest != stored.digest:
        raise TernError(f"{path}: made for config {digest}, but {MANIFEST} describes config "
                        f"{stored.digest}; compile the model again")
    if config is not None and config.digest != digest:
        raise TernError(f"{path}: made for config {digest}, but this machine is config "
                        f"{config.digest}; compile the model for this target")
    sections = []
    for padded, start, size, offset, crc in entries:
        name = _name(padded)
        if size % stored.word_bytes or start * stored.word_bytes + size > stored.memory_bytes:
            raise TernError(f"{path}: section {name} leaves the memory of "
                            f"{stored.memory_bytes} bytes; compile the model again")
        data: npt.NDArray[np.uint8] | None = None
        if offset != _NO_DATA:
            data = (np.memmap(path, np.uint8, "r", offset, (size,)) if size
                    else np.zeros(0, np.uint8))
            if zlib.crc32(data.data) != crc:
                raise TernError(f"{path}: section {name} is damaged (CRC-32 differs); "
                                f"compile the model again")
        sections.append(Section(name, start, size, data))
    _check_apart(path, sections, stored)
    image = Image(stored, sections, address, length, manifest)
    if not 1 <= length <= stored.program_words:
        raise TernError(f"{path}: a program of {length} instructions, and the machine holds "
                        f"{stored.program_words}; compile the model again")
    if len(image.instructions()) != length:
        raise TernError(f"{path}: the program leaves its section; compile the model again")
    for name in (PROGRAM, TOKENIZER):
        if os.path.lexists(directory / name):
            image.files[name] = disk.read_json_bytes(disk.kept_in(directory / name, directory))
    return image


def _check_apart(path: Path, sections: Iterable[Section], config: Config) -> None:
    for a, b in pairwise(sorted(sections, key=lambda section: section.address)):
        if a.address + a.size // config.word_bytes > b.address:
            raise TernError(f"{path}: sections {a.name} and {b.name} overlap; compile the model "
                            f"again")
