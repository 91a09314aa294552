"""Reads and writes untrusted files: regular files of a bounded size, inside their folder."""

import codecs
from collections.abc import Callable
import json
import os
from pathlib import Path
import re
import stat
import tempfile
from typing import Any, BinaryIO

from tern_fpga.assembler.errors import TernError


__all__ = ["MODELS", "JSON_BYTES", "size_of", "read", "read_text", "as_text", "read_json_bytes",
           "write", "write_text", "has_folder", "can_be_folder", "parse_json", "read_json",
           "inside", "kept_in", "is_model", "model_name", "foreign"]


MODELS     = ("config.json", "model.json")      # names of the file that describes a model
JSON_BYTES = 32 << 20      # the largest config, index, header or manifest, without indentation
_INDENTED  = 256 << 20     # the largest with indentation
_CHUNK     = 1 << 20
_SPACE     = b" \t\r\n"
_DEPTH     = 100
# What memory and time are spent on: about 140 bytes an object, 250 a name, 60 another entry. The
# largest vocabularies have 2^18 words, and twice as many pairs of pieces to merge.
_MOST = {"objects and lists": (b"{[", 5 << 17), "names": (b":", 1 << 19),
         "entries": (b",", 3 << 19)}


def size_of(path: Path | str) -> int:
    """Bytes of a regular file. Raises TernError for anything else, such as a pipe or a device."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise TernError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise TernError(f"{path}: cannot read: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise TernError(f"{path}: cannot read: is no regular file")
    return status.st_size


def read(path: Path | str, limit: int) -> bytes:
    """All bytes of a regular file. Raises TernError if it has more than ``limit``."""
    if size_of(path) > limit:
        raise TernError(f"{path}: larger than {limit:,} bytes, the most that is read")
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None


def read_text(path: Path | str, limit: int) -> str:
    """The text of a UTF-8 file of at most ``limit`` bytes; see :func:`as_text`."""
    return as_text(read(path, limit), path)


def as_text(data: bytes, name: Path | str) -> str:
    """Decode UTF-8. A byte order mark is dropped, and CR LF becomes LF.

    Raises TernError if the bytes are not UTF-8; the message calls them ``name``.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TernError(f"{name}: is not text: UTF-16, not UTF-8; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TernError(f"{name}: is not text: not UTF-8 at byte {error.start} "
                        f"(0x{data[error.start]:02x})") from None
    return text.replace("\r\n", "\n")


def read_json_bytes(path: Path | str) -> bytes:
    """The bytes of a JSON file, without a byte order mark.

    Indentation is removed from a file larger than JSON_BYTES. Raises TernError as :func:`read`
    does, and if the file is still larger without its indentation.
    """
    size = size_of(path)
    if size <= JSON_BYTES or size > _INDENTED:
        data = read(path, _INDENTED if size > _INDENTED else JSON_BYTES)
        return data.removeprefix(codecs.BOM_UTF8)
    parts: list[bytes] = []
    remaining = JSON_BYTES
    try:
        with open(path, "rb") as file:
            # Each part ends at the end of a line. A JSON string cannot contain a line break.
            while chunk := file.read(_CHUNK):
                line = file.readline(JSON_BYTES)
                parts.append(re.sub(rb"\n[ \t\r\n]+", b"\n", (chunk + line).lstrip(_SPACE)))
                remaining -= len(parts[-1])
                if remaining < 0 or len(line) == JSON_BYTES:
                    raise TernError(f"{path}: larger than {JSON_BYTES:,} bytes without its "
                                    f"indentation, the most that is read")
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    return b"".join(parts).removeprefix(codecs.BOM_UTF8)


def _is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, or the system's name of one such as /dev/stdout.

    Those are written to. Any other link is replaced, because it may have been planted.
    """
    if str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    return os.path.lexists(path) and stat.S_IFMT(os.lstat(path).st_mode) not in (
        stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def write(path: Path | str, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: after an error, the file is as it was before.

    ``data``: bytes, or a function that writes them to an open file. Raises TernError.
    """
    path = Path(path)
    part: str | None = None

    def fill(file: BinaryIO) -> None:
        if callable(data):
            data(file)
        else:
            file.write(data)

    try:
        if _is_device(path):
            with open(path, "wb") as file:
                return fill(file)
        # A new name, under which there cannot be a link.
        handle, part = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            fill(file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)       # mkstemp gives access to the owner only
        os.replace(part, path)
    except OSError as error:
        raise TernError(f"{path}: cannot write: {error.strerror or error}") from None
    finally:
        if part is not None and os.path.exists(part):
            os.unlink(part)


def write_text(path: Path | str, text: str) -> None:
    """Write text in UTF-8, as :func:`write` does."""
    write(path, text.encode("utf-8", "backslashreplace"))


def has_folder(path: Path | str) -> None:
    """Raise TernError if the folder of ``path`` is missing. Call it before long work begins."""
    if not Path(path).absolute().parent.is_dir():
        raise TernError(f"{path}: no such folder")


def can_be_folder(path: Path | str) -> None:
    """Raise TernError if the folder ``path`` cannot be made or written.

    Call it before long work begins.
    """
    path = Path(path)
    for place in (path.absolute(), *path.absolute().parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise TernError(f"{path}: cannot write: {place} is no folder")
            if not os.access(place, os.W_OK | os.X_OK):
                raise TernError(f"{path}: cannot write: {place} is not writable")
            return


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a repeated name: programs differ in what they read."""
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{name!r} is there twice")
            seen.add(name)
    return out


def parse_json(data: bytes) -> Any:
    """The value of JSON text. Raises ValueError, which says what is wrong.

    The number of objects, names and entries is limited, and so is the depth.
    """
    for what, (signs, most) in _MOST.items():
        if sum(data.count(sign) for sign in signs) > most:
            raise ValueError(f"more than {most} {what}")
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Deep values parse, but comparing, printing or writing them again would recurse too deeply.
    level: list[Any] = [[value]]
    for _ in range(_DEPTH + 1):
        level = [child for node in level
                 for child in (node.values() if isinstance(node, dict) else node)
                 if isinstance(child, (dict, list))]
        if not level:
            return value
    raise ValueError(f"nested too deeply: more than {_DEPTH} levels")


def read_json(path: Path | str) -> dict[str, Any]:
    """The object in a JSON file. Raises TernError if the file holds none."""
    if what := foreign(path):
        raise TernError(f"{path}: is {what}")
    try:
        value = parse_json(read_json_bytes(path))
    except TernError:
        raise
    except ValueError as error:
        raise TernError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise TernError(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value


_HUB = re.compile(r"(models|datasets|spaces)--(?:.+--)?(.+)")


def _snapshot(folder: Path) -> Path | None:
    """The repository in a Hugging Face cache that has ``folder`` in one of its snapshots, or None.

    ``folder``: an absolute path without links.
    """
    for place in (folder, *folder.parents):
        if place.parent.name == "snapshots":
            return place.parent.parent
    return None


def inside(path: Path | str, folder: Path | str) -> bool:
    """Whether ``path`` lies in ``folder`` once all links are followed.

    False for a name that no file can have. A Hugging Face cache keeps the files of a snapshot in
    ``blobs`` of the repository, whose entries may be links to ``blobs`` of the whole cache: both
    count as inside.
    """
    folder = Path(os.path.realpath(folder))
    places = [folder]
    repository = _snapshot(folder)
    if repository is not None:
        places.append(repository / "blobs")
        if _HUB.fullmatch(repository.name):
            places.append(repository.parent / "blobs")
    try:
        path = Path(os.path.realpath(path))
    except ValueError:
        return False
    return any(path.is_relative_to(place) for place in places)


def is_model(folder: Path | str) -> bool:
    """Whether a folder holds a model or weights."""
    folder = Path(folder)
    return any((folder / name).exists() for name in MODELS) or any(folder.glob("*.safetensors"))


def model_name(path: Path | str) -> str:
    """A name for the model that the JSON file ``path`` describes.

    In a Hugging Face cache, it is the model's name on the hub. Otherwise it is the stem of the
    file, or the folder's name if the file is called ``config.json`` or ``model.json``.
    """
    path = Path(path)
    folder = path.parent
    try:
        real = Path(os.path.realpath(folder))
    except ValueError:                  # not a valid file name, but a manifest may hold it
        real = folder
    repository = _snapshot(real)
    found = repository and _HUB.fullmatch(repository.name)
    if found and found[2].strip("."):   # "." and ".." would lead out of the output folder
        return found[2]
    if path.name not in MODELS:
        return path.stem
    if folder.name in ("", ".."):       # only the resolved path has the name
        folder = real
    return folder.name or "model"


def kept_in(path: Path, folder: Path | str) -> Path:
    """The path. Raises TernError if it is not :func:`inside` the folder."""
    if not inside(path, folder):
        raise TernError(f"{path}: leaves the folder {folder}; nothing outside of it is read")
    return path


_FORMS = (              # first bytes of a file; what the file is, and what to do
    (b"version https://git-lfs.github.com/", "a pointer of git-lfs and not the file; `git lfs "
     "install` and `git lfs pull` in its folder fetch it"),
    (b"GGUF", "a GGUF file, of weights that are quantised in another way; give the checkpoint that "
     "it was made from, in safetensors"),
    (b"PK\x03\x04", "a zip archive, or a pickle of PyTorch, which can run code when it is read; "
     "give an unpacked folder with safetensors"),
    (b"\x80", "a pickle, which can run code when it is read; give safetensors"),
    (b"\x1f\x8b", "a gzip archive; unpack it and give its folder"),
    (b"BZh", "a bzip2 archive; unpack it and give its folder"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it and give its folder"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it and give its folder"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it and give its folder"),
    (b"\x89HDF", "an HDF5 file; give the checkpoint in safetensors"),
    (b"<", "a page of a web site and not the file; download the file, as `hf download` does"),
)
_TAR = (b"ustar", 257)


def foreign(path: Path | str) -> str | None:
    """What a regular file is, and what to do, if its first bytes show that it is of a known wrong
    kind; else None."""
    size_of(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return None
    if head[_TAR[1]:].startswith(_TAR[0]):
        return "a tar archive; unpack it and give its folder"
    return next((what for start, what in _FORMS if head.startswith(start)), None)
