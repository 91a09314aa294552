"""The compiler's summary of an image."""

from dataclasses import asdict
from pathlib import Path

from tern_fpga.assembler.compiler.estimate import estimate, memory_of
from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS
from tern_fpga.assembler.contract.formats import TRITS_PER_BYTE
from tern_fpga.assembler.contract.sdram_parts import BOARDS as SDRAM_BOARDS
from tern_fpga.assembler.files.image import PROGRAM, TOKENIZER, Image


__all__ = ["summary"]


_ON_THE_CORE = "embedding, all layers, final norm, LM head, choice of the token"


def _size(n: float) -> str:
    for unit in ("bytes", "KB"):
        if n < 10_000:
            return f"{n:,.0f} {unit}" if unit == "bytes" else f"{n:,.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} MB"


def _memory_map(image: Image) -> list[str]:
    used = sum(s.size for s in image.sections)
    total = image.config.memory_bytes
    lines = [f"memory       {_size(used)} of {_size(total)} ({used / total:.1%})",
             "               word address        bytes  share"]
    for s in image.sections:
        lines.append(f"  {s.name:<12} {s.address:#12x} {s.size:12,} {s.size / used:6.1%}")
    return lines


def summary(image: Image, directory: Path | str) -> list[str]:
    """Lines of text: model, memory, what runs on the core and on the host, predicted speed.

    ``directory``: where the image was written.
    """
    manifest, config = image.manifest, image.config
    model, target = manifest["model"], manifest["target"]
    mlp = f"MLP {model['intermediate_size']}, " if "intermediate_size" in model else ""
    weights = model["ternary_weights"]
    stored = image.section("weights").size
    trits = stored * TRITS_PER_BYTE
    clock = CLOCK_MHZ.get(target, 100)
    plain = asdict(PRESETS.get(target, config))
    changes = [f"{k}={v}" for k, v in asdict(config).items() if plain[k] != v]
    machine = f"{target} with {' '.join(changes)}" if changes else target
    board = []
    if changes and target in SDRAM_BOARDS:
        same = [name for name in SDRAM_BOARDS if PRESETS[name].digest == config.digest]
        board = [f"bitstream    {target} has another machine; make one with this: python -m boards "
                 f"build {target} " + " ".join(f"--set {change}" for change in changes)
                 + (f" (without --set it is {' and '.join(same)})" if same else "")]
    cycles, words = estimate(image)
    together = []
    if config.positions > 1:
        step, _ = estimate(image, live=config.positions)
        together = [f"             {config.positions} streams at a time: "
                    f"{config.positions * clock * 1e6 / step:,.1f} tokens/s in all"]
    states = ("stay in vector registers" if manifest["states_in_registers"]
              else "in memory, loaded and stored by every layer")
    return [
        f"model        {model['type']}: {model['layers']} layers, {model['hidden_size']} wide, "
        f"{mlp}vocabulary {model['vocab_size']}",
        f"parameters   {model['parameters']:,}, of which {weights:,} ternary "
        f"({model['zero_weights'] / weights:.0%} of them zero)",
        f"weights      {8 * stored / weights:.3f} bits each: {8 / TRITS_PER_BYTE} and "
        f"{(trits - weights) / trits:.2%} padding",
        *_memory_map(image),
        f"program      {image.program_length} of {config.program_words} instructions, see "
        f"{PROGRAM}",
        f"states       {states}",
        f"on the core  {_ON_THE_CORE}",
        "on the host  nothing but token ids in and out",
        f"target       {machine}: {config.lanes} lanes, {config.positions} positions, "
        f"{config.memory_bits}-bit memory, digest {config.digest}",
        f"prediction   {cycles:,} cycles a token, {clock * 1e6 / cycles:,.1f} tokens/s at "
        f"{clock} MHz, {words / cycles / memory_of(target).peak:.1%} of the memory's peak (an "
        f"estimate)",
        *together,
        *board,
        f"written      {directory}" + (" (with tokenizer)" if TOKENIZER in image.files else ""),
    ]
