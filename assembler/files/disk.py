"""Files that a stranger may have written: regular, of a bounded size, where they should be."""

import codecs
import json
import os
from pathlib import Path
import re
import stat
import tempfile

from tern_fpga.assembler.errors import TernError


__all__ = ["MODELS", "JSON_BYTES", "size_of", "read", "read_text", "as_text", "read_json_bytes",
           "write", "write_text", "has_folder", "can_be_folder", "parse_json", "read_json",
           "inside", "kept_in", "is_model", "model_name", "foreign"]


MODELS     = ("config.json", "model.json")      # what describes the model in a folder
JSON_BYTES = 32 << 20      # the largest config, index, header or manifest, without indentation
_INDENTED  = 256 << 20     # and with it
_CHUNK     = 1 << 20
_SPACE     = b" \t\r\n"
_DEPTH     = 100
# What memory and time go to: some 140 bytes an object, 250 a name, 60 another entry. The largest
# vocabularies have 2^18 words, and twice as many pairs of pieces to merge.
_MOST = {"objects and lists": (b"{[", 5 << 17), "names": (b":", 1 << 19),
         "entries": (b",", 3 << 19)}


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
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TernError(f"{name}: is not text: UTF-16, not UTF-8; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TernError(f"{name}: is not text: not UTF-8 at byte {error.start} "
                        f"(0x{data[error.start]:02x})") from None
    return text.replace("\r\n", "\n")


def read_json_bytes(path):
    """The bytes of a JSON file, as :func:`read`, without a byte order mark; what is larger than
    JSON_BYTES comes without its indentation, and must not be larger then."""
    size = size_of(path)
    if size <= JSON_BYTES or size > _INDENTED:
        data = read(path, _INDENTED if size > _INDENTED else JSON_BYTES)
        return data.removeprefix(codecs.BOM_UTF8)
    parts, left = [], JSON_BYTES
    try:
        with open(path, "rb") as file:
            # A part ends with its line: no string holds a line's end.
            while chunk := file.read(_CHUNK):
                line = file.readline(JSON_BYTES)
                parts.append(re.sub(rb"\n[ \t\r\n]+", b"\n", (chunk + line).lstrip(_SPACE)))
                left -= len(parts[-1])
                if left < 0 or len(line) == JSON_BYTES:
                    raise TernError(f"{path}: larger than {JSON_BYTES:,} bytes without its "
                                    f"indentation, the most that is read")
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    return b"".join(parts).removeprefix(codecs.BOM_UTF8)


def _is_device(path):
    """Whether a path is a device or a pipe, or the system's name of one, which are not replaced;
    a link elsewhere is, for a stranger may have planted it."""
    if str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    return os.path.lexists(path) and stat.S_IFMT(os.lstat(path).st_mode) not in (
        stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def write(path, data):
    """All of a file or, on an error, nothing of it. ``data``: bytes, or a function that writes
    them to a file."""
    path, part = Path(path), None

    def fill(file):
        if callable(data):
            data(file)
        else:
            file.write(data)

    try:
        if _is_device(path):
            with open(path, "wb") as file:
                return fill(file)
        # A name that nobody can have put a link under.
        handle, part = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            fill(file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)       # mkstemp gives it to the owner only
        os.replace(part, path)
    except OSError as error:
        raise TernError(f"{path}: cannot write: {error.strerror or error}") from None
    finally:
        if part is not None and os.path.exists(part):
            os.unlink(part)


def write_text(path, text):
    """As :func:`write`, of text in UTF-8."""
    write(path, text.encode("utf-8", "backslashreplace"))


def has_folder(path):
    """TernError if the folder of ``path`` is missing: for before the work, not after it."""
    if not Path(path).absolute().parent.is_dir():
        raise TernError(f"{path}: no such folder")


def can_be_folder(path):
    """TernError if a folder of this name cannot be made and written: for before the work."""
    path = Path(path)
    for place in (path.absolute(), *path.absolute().parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise TernError(f"{path}: cannot write: {place} is no folder")
            if not os.access(place, os.W_OK | os.X_OK):
                raise TernError(f"{path}: cannot write: {place} is not writable")
            return


def _unique(pairs):
    """An object whose names are all different: programs differ in which one they take."""
    out = dict(pairs)
    if len(out) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{twice!r} is there twice")
    return out


def parse_json(data):
    """The value in JSON bytes, of any size that was read; ValueError says what is wrong."""
    for what, (signs, most) in _MOST.items():
        if sum(data.count(sign) for sign in signs) > most:
            raise ValueError(f"more than {most} {what}")
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


def _snapshot(folder):
    """The folder of a repository in a cache of Hugging Face, if ``folder``, which has no links in
    it, is one of its snapshots or in one; else None."""
    for place in (folder, *folder.parents):
        if place.parent.name == "snapshots":
            return place.parent.parent
    return None


def inside(path, folder):
    """Whether ``path`` lies in ``folder`` once all links are followed; a name that no file can
    have lies nowhere.

    Where a cache of Hugging Face keeps the files of a snapshot counts as inside: in ``blobs`` of
    its repository, whose entries may be links to ``blobs`` of the whole cache.
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


def is_model(folder):
    """Whether a folder holds a model, or weights of one."""
    folder = Path(folder)
    return any((folder / name).exists() for name in MODELS) or any(folder.glob("*.safetensors"))


def model_name(path):
    """What to call the model that ``path``, its JSON file, describes: its name on the hub, in a
    cache of Hugging Face; else that of a file of its own name, or that of the folder."""
    path = Path(path)
    folder = path.parent
    try:
        real = Path(os.path.realpath(folder))
    except ValueError:                  # no file has such a name; a manifest may
        real = folder
    repository = _snapshot(real)
    found = repository and _HUB.fullmatch(repository.name)
    if found and found[2].strip("."):   # or it leads out of the folder that it is put into
        return found[2]
    if path.name not in MODELS:
        return path.stem
    if folder.name in ("", ".."):       # which only the file system can name
        folder = real
    return folder.name or "model"


def kept_in(path, folder):
    """The path; TernError if it is not :func:`inside` the folder."""
    if not inside(path, folder):
        raise TernError(f"{path}: leaves the folder {folder}; nothing outside of it is read")
    return path


_FORMS = (              # of files, and what to do
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


def foreign(path):
    """What a regular file is, and what to do, if its first bytes are of a kind that comes instead
    of what is asked for; else None."""
    size_of(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return None
    if head[_TAR[1]:].startswith(_TAR[0]):
        return "a tar archive; unpack it and give its folder"
    return next((what for start, what in _FORMS if head.startswith(start)), None)
