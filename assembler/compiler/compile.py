"""Compiles a checkpoint into an image."""

from collections.abc import Callable, Iterable, Mapping
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.compiler.expand import Parameter
from tern_fpga.assembler.compiler.layout import Plan, advice, plan
from tern_fpga.assembler.contract import checksum
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import WORD_BITS
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import packing
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.disk import kept_in, read_json, read_json_bytes
from tern_fpga.assembler.files.image import PROGRAM, TOKENIZER, Image, Section, token_ids
from tern_fpga.assembler.files.tokenizer import FileTokenizer
from tern_fpga.assembler.models import registry
from tern_fpga.assembler.models.architecture import Architecture


__all__ = ["GENERATION", "Progress", "no_progress", "compile_model", "check_tensors"]


GENERATION = "generation_config.json"

Progress = Callable[[int, str], object]     # (weights done, name of the next matrix)

_Scales = dict[tuple[int, int], dict[str, float]]    # part and repetition -> matrix -> scale

_ROWS = 4096               # rows of the embedding converted at a time

_WRAPPERS = {              # part of a state dict's names -> the wrapper that inserts it
    "module": "DataParallel or DistributedDataParallel", "_orig_mod": "torch.compile",
    "_forward_module": "DeepSpeed or Fabric", "_fsdp_wrapped_module": "FSDP",
}


def no_progress(done: int, what: str) -> None:
    """For a compilation that reports no progress."""


def _check_names(checkpoint: Checkpoint, expected: Iterable[str]) -> None:
    """Raise TernError if a wrapper has extended the names of the tensors, or 'model.' is missing.

    ``expected``: the names that the model needs.
    """
    longest = max(name.count(".") for name in expected) + 1     # words of a name
    for there in checkpoint.tensors:
        words = [part for part in there.split(".") if part not in _WRAPPERS]
        bare = ".".join(words)
        ends = (".".join(words[-n:]) for n in range(1, min(len(words), longest) + 1))
        name = next((end for end in ends if end in expected), None)
        short = f"model.{bare}"
        if there in expected or name is None and short not in expected:
            continue
        parts = [f"{part!r} of {why}" for part, why in _WRAPPERS.items() if part in
                 there.split(".")]
        if name is None:
            raise TernError(f"{checkpoint.path}: tensor {there} should be {short}: the names lack "
                            f"'model.', as those of a model without its head do; save the whole "
                            f"AutoModelForCausalLM")
        more = bare.removesuffix(name)
        if more:
            parts.append(f"{more!r}")
        raise TernError(f"{checkpoint.path}: tensor {there} should be {name}: the names have "
                        f"{' and '.join(parts)} in them; rename the tensors, or save the state "
                        f"dict of the model inside of the wrapper")


def check_tensors(checkpoint: Checkpoint, model: Architecture) -> None:
    """Raise TernError unless the checkpoint has exactly the tensors of ``model``."""
    expected = model.shapes()
    for name, shape in expected.items():
        tensor = checkpoint.tensors.get(name)
        if tensor is None:
            _check_names(checkpoint, expected)
            raise TernError(f"{checkpoint.path}: tensor {name} is missing in the checkpoint")
        if tensor.shape != shape:
            raise TernError(f"{tensor.path}: tensor {name} has shape {list(tensor.shape)}, but "
                            f"{checkpoint.path.name} asks for {list(shape)}")
    for name, tensor in checkpoint.tensors.items():
        if name not in expected:
            raise TernError(f"{tensor.path}: tensor {name} belongs to no part of the model that "
                            f"{checkpoint.path.name} describes")


def _ends(checkpoint: Checkpoint, vocabulary: int) -> int | list[int] | None:
    """The ids that end a sequence, for the manifest: None, an id, or a list of ids.

    As in transformers, ``generation_config.json`` takes precedence over the config.
    """
    path, value = checkpoint.path, checkpoint.config.get("eos_token_id")
    generation = path.parent / GENERATION
    if os.path.lexists(generation):
        named = read_json(kept_in(generation, path.parent)).get("eos_token_id")
        if named is not None:
            path, value = generation, named
    try:
        ends = token_ids(value, vocabulary)
    except ValueError:
        raise TernError(f"{path}: eos_token_id must be a token from 0 to {vocabulary - 1}, or "
                        f"several, not {value!r}") from None
    return list(ends) if len(ends) > 1 else (*ends, None)[0]


def _parameter(p: Parameter, repetition: int, prefix: str, model: Architecture,
               checkpoint: Checkpoint, scales: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """The vector of a :class:`assembler.compiler.expand.Parameter`: (elements,) float64."""
    def read(name: str) -> npt.NDArray[np.float64]:
        return checkpoint.whole(name).array().astype(np.float64)

    x = np.full(p.elements, scales[p.matrix] if p.matrix else 1.0)
    for name in p.factors:
        x = x * model.parameter(name, repetition, prefix, read)
    return 1 - x if p.complement else x


class _Memory:
    """The bytes of the sections, written piece by piece, and the manifest's list of tensors."""

    def __init__(self, planned: Plan) -> None:
        self.plan, self.config = planned, planned.config
        self.data = {name: np.zeros(words * self.config.word_bytes, np.uint8)
                     for name, words in planned.sizes.items() if name != "states"}
        self.tensors: list[dict[str, Any]] = []

    def put(self, section: str, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes. ``offset``: memory words from the start of the section."""
        start = offset * self.config.word_bytes
        self.data[section][start:start + len(data)] = data

    def note(self, name: str, section: str, offset: int, size: int, **more: object) -> None:
        """Add a tensor of ``size`` bytes to the manifest; ``more``: further fields of its entry."""
        self.tensors.append({"name": name, "address": self.plan.addresses[section] + offset,
                             "bytes": size, **more})

    def vector(self, name: str, section: str, offset: int, x: npt.NDArray[Any], where: Path) -> int:
        """Write vectors; returns their number of bytes."""
        largest = float(np.abs(x).max())
        if largest > self.config.float.max:
            raise TernError(f"{where}: {name} holds {largest:.3g}, more than the "
                            f"{self.config.float.max:.3g} of the target's float")
        data = packing.pack_vector(x, self.config).reshape(-1)
        self.put(section, offset, data)
        return len(data)

    def sections(self) -> list[Section]:
        return [Section(name, self.plan.addresses[name], words * self.config.word_bytes,
                        self.data.get(name))
                for name, words in self.plan.sizes.items()]


def _embedding(memory: _Memory, checkpoint: Checkpoint, planned: Plan) -> None:
    op = planned.program.embedding
    tensor = checkpoint.whole(f"{op.table}.weight")
    width  = planned.program.lengths[op.out]
    words  = planned.config.vector_words(width)
    row, size = 0, 0
    remaining = np.zeros(0, np.float32)
    # A chunk of the file may end within a row: its remainder is joined to the next chunk.
    for chunk in tensor.chunks():
        remaining = np.concatenate([remaining, chunk])
        while len(remaining) >= width:
            count = min(_ROWS, len(remaining) // width)
            rows = remaining[:count * width].reshape(count, -1)
            remaining = remaining[rows.size:]
            size += memory.vector(tensor.name, "embedding", row * words, rows, tensor.path)
            row += count
    memory.note(tensor.name, "embedding", 0, size, shape=list(tensor.shape), pitch=words)


def _weights(memory: _Memory, checkpoint: Checkpoint, planned: Plan,
             progress: Progress) -> tuple[_Scales, int]:
    """Ternarise and pack all matrices; returns their scales and the number of zero trits."""
    scales: _Scales = {}
    zeros, done = 0, 0
    trits, scale = np.zeros((0, 0), np.int8), 0.0
    held = None                             # tensor whose trits are held
    for matrix in planned.matrices:
        progress(done, matrix.tensor)
        if held != matrix.tensor:
            trits, scale = checkpoint.tensors[f"{matrix.tensor}.weight"].ternary()
            held = matrix.tensor
            zeros += trits.size - int(np.count_nonzero(trits))
            scales.setdefault((matrix.part, matrix.repetition), {})[matrix.name] = scale
        data = packing.tile(trits[matrix.start:matrix.stop], planned.config)
        memory.put("weights", matrix.offset, data)
        memory.note(f"{matrix.tensor}.weight", "weights", matrix.offset, len(data),
                    rows=[matrix.start, matrix.stop], columns=matrix.columns, scale=scale)
        done += (matrix.stop - matrix.start) * matrix.columns
    return scales, zeros


def _parameters(memory: _Memory, checkpoint: Checkpoint, planned: Plan, scales: _Scales) -> None:
    offset = 0
    for number, part in enumerate(planned.program.parts):
        for repetition, prefix in enumerate(part.prefixes):
            for p in planned.lowered.blocks[number]:
                x = _parameter(p, repetition, prefix, planned.model, checkpoint,
                               scales.get((number, repetition), {}))
                size = memory.vector(prefix + p.name, "parameters", offset + p.offset, x,
                                     checkpoint.path)
                derived = {"derived": True} if p.complement else {}
                memory.note(prefix + p.name, "parameters", offset + p.offset, size,
                            elements=p.elements, **derived)
            offset += planned.lowered.pitches[number]


def _streams(memory: _Memory, planned: Plan) -> list[dict[str, Any]]:
    """The program's weight streams: the matrices of all layers, and those of the head."""
    data = memory.data["weights"]
    head = len(planned.program.parts) - 1
    body = next(matrix.offset for matrix in planned.matrices if matrix.part == head)
    size = body * planned.config.word_bytes
    return [checksum.entry("body", body, data[:size].data),
            checksum.entry("head", planned.sizes["weights"] - body, data[size:].data)]


def compile_model(path: Path | str | Checkpoint, config: Config, target: str,
                  progress: Progress = no_progress) -> Image:
    """Compile a checkpoint.

    Parameters
    ----------
    path : path or Checkpoint
        See :class:`assembler.files.checkpoint.Checkpoint`.
    config : Config
    target : str
        Name of the preset on which ``config`` is based, for messages and the manifest.
    progress : callable
        ``progress(weights done, name of the next matrix)``.

    Returns
    -------
    Image
        Its manifest also holds the figures of the summary.

    Raises
    ------
    TernError
        The checkpoint cannot be read or is not supported, or the model does not fit.
    """
    checkpoint = path if isinstance(path, Checkpoint) else Checkpoint(path)
    model = registry.load(checkpoint.config, checkpoint.path)
    check_tensors(checkpoint, model)
    try:
        planned = plan(model, config, checkpoint.path)
    except TernError as error:
        raise TernError(f"{error}: too large for {target}; {advice(model)}") from None
    if planned.bytes > config.memory_bytes:
        raise TernError(f"{checkpoint.path}: needs {planned.bytes:,} bytes and {target} has "
                        f"{config.memory_bytes:,}: {planned.bytes - config.memory_bytes:,} bytes "
                        f"are missing; {advice(model)}")
    program = text.assemble(planned.source, config, PROGRAM)
    memory = _Memory(planned)
    memory.put("program", 0, np.frombuffer(
        b"".join(word.to_bytes(WORD_BITS // 8, "little") for word in program.words), np.uint8))
    progress(0, "embedding")
    _embedding(memory, checkpoint, planned)
    scales, zeros = _weights(memory, checkpoint, planned, progress)
    _parameters(memory, checkpoint, planned, scales)
    weights = sum((m.stop - m.start) * m.columns for m in planned.matrices)
    manifest = {
        "target": target,
        "model": {"type": checkpoint.config["model_type"], "source": str(checkpoint.path),
                  "hidden_size": planned.program.lengths[planned.program.embedding.out],
                  "layers": sum(part.repeats or 0 for part in planned.program.parts),
                  **model.manifest(), "vocab_size": model.vocab,
                  "bos_token_id": checkpoint.config.get("bos_token_id"),
                  "eos_token_id": _ends(checkpoint, model.vocab),
                  "parameters": sum(t.count for t in checkpoint.tensors.values()),
                  "ternary_weights": weights, "zero_weights": zeros},
        "vocab_size": model.vocab,
        "weight_streams": _streams(memory, planned),
        "states_in_registers": planned.lowered.resident,
        "symbols": planned.lowered.symbols,
        "lines": program.lines,
        "tensors": memory.tensors,
    }
    files = {PROGRAM: planned.source.encode()}
    if checkpoint.tokenizer is not None:
        data = read_json_bytes(checkpoint.tokenizer)
        FileTokenizer(data, checkpoint.tokenizer)       # reports a damaged file now
        files[TOKENIZER] = data
    return Image(config, memory.sections(), planned.addresses["program"], len(program.words),
                 manifest, files)
