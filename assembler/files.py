"""Files that a stranger may have written: regular, of a bounded size, where they should be."""

import codecs
import json
import os
from pathlib import Path
import stat
import tempfile

from assembler.errors import TernError


__all__ = ["JSON_BYTES", "size_of", "read", "read_text", "as_text", "write", "has_folder",
           "parse_json", "read_json", "inside", "kept_in"]


JSON_BYTES = 16 << 20      # the largest config, index, header or manifest that is read
_DEPTH     = 100
_BRACKETS  = 1 << 19       # objects and lists in it: each takes some 60 times its two bytes


def size_of(path):
    """Bytes of a regular file; TernError if it is none, as a pipe or a device is."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise TernError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise TernError(f"{path}: cannot read: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise TernError(f"{path}: cannot read: is no regular file")
    return status.st_size


def read(path, limit):
    """All bytes of a regular file; TernError if it has more than ``limit``."""
    if size_of(path) > limit:
        raise TernError(f"{path}: larger than {limit:,} bytes, the most that is read")
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None


def read_text(path, limit):
    """The text of a UTF-8 file of at most ``limit`` bytes, its lines ended by newlines alone; see
    :func:`as_text`."""
    return as_text(read(path, limit), path)


def as_text(data, name):
    """Bytes as text: a byte order mark is no part of it, and CR LF ends a line as LF does.

    Raises TernError, which calls the bytes ``name``, if they are not UTF-8.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
        if data.startswith(mark):
            raise TernError(f"{name}: is {encoding}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TernError(f"{name}: is not UTF-8 text (byte {error.start} is "
                        f"0x{data[error.start]:02x})") from None
    return text.replace("\r\n", "\n")


def write(path, data):
    """All of a file or, on an error, nothing of it. ``data``: bytes, or a function that writes
    them to a file."""
    path, part = Path(path), None
    try:
        # A name that nobody can have put a link under.
        handle, part = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)       # mkstemp gives it to the owner only
        os.replace(part, path)
    except OSError as error:
        raise TernError(f"{path}: cannot write: {error.strerror}") from None
    finally:
        if part is not None and os.path.exists(part):
            os.unlink(part)


def has_folder(path):
    """TernError if the folder of ``path`` is missing: for before the work, not after it."""
    if not Path(path).absolute().parent.is_dir():
        raise TernError(f"{path}: no such folder")


def _unique(pairs):
    """An object whose names are all different: programs differ in which one they take."""
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return out


def parse_json(data):
    """The value in JSON bytes, of any size that was read; ValueError says what is wrong."""
    if data.count(b"{") + data.count(b"[") > _BRACKETS:
        raise ValueError(f"more than {_BRACKETS} objects and lists")
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [[value]]           # what is read can also be compared, shown and written
    for _ in range(_DEPTH + 1):
        level = [child for node in level
                 for child in (node.values() if isinstance(node, dict) else node)
                 if isinstance(child, (dict, list))]
        if not level:
            return value
    raise ValueError(f"nested too deeply: more than {_DEPTH} levels")


def read_json(path):
    """The object in a JSON file; TernError if there is none."""
    try:
        value = parse_json(read(path, JSON_BYTES))
    except TernError:
        raise
    except ValueError as error:
        raise TernError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise TernError(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value


def inside(path, folder):
    """Whether ``path`` lies in ``folder`` once all links are followed; a name that no file can
    have lies nowhere.

    Where Hugging Face's cache links a snapshot to its ``blobs`` folder counts as inside.
    """
    folder = Path(os.path.realpath(folder))
    places = [folder]
    if folder.parent.name == "snapshots":
        places.append(folder.parent.parent / "blobs")
    try:
        path = Path(os.path.realpath(path))
    except ValueError:
        return False
    return any(path.is_relative_to(place) for place in places)


def kept_in(path, folder):
    """The path; TernError if it is not :func:`inside` the folder."""
    if not inside(path, folder):
        raise TernError(f"{path}: leaves the folder {folder}; nothing outside of it is read")
    return path
