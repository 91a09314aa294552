"""Train a MatMul-free language model on text.

    python -m tern_fpga.models.train --text FILE --out DIR

Preset, text and seed determine the result. The batch of step n, including its dropout masks,
depends only on the seed and n, so that a run that was killed and resumed gives the same result.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
import hashlib
import json
import math
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text
from safetensors import safe_open
from safetensors.torch import load_file
import torch
from torch.nn import functional as F

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.models import text as texts
from tern_fpga.models.checkpoint import STATE, export, load, settle, write
from tern_fpga.models.network import MatMulFreeLM, Shape
from tern_fpga.models.writing import sample, write_windows


__all__ = ["Recipe", "PRESETS", "train", "perplexity"]


@dataclass(frozen=True)
class Recipe:
    """A model and its training parameters.

    A step takes ``batch`` windows of ``window`` tokens. The learning rate rises to ``rate`` over
    ``warmup`` steps, then falls to 0 with the power ``fall`` of the remaining share of the run.
    Weight decay stops half-way (Ma et al., "The era of 1-bit LLMs: training tips, code and FAQ",
    2024).

    With a teacher, the share ``distil`` of the loss uses the teacher's distribution of the next
    token instead of the text (Hinton et al., arXiv 1503.02531). The share ``synthetic`` of the
    windows is written by the teacher, which continues a few tokens of the text. Without this, the
    model memorises a text of about ten million tokens that it reads tens of times.

    ``dampening``: see :func:`dampen`. Its pull is ``dampening`` times the learning rate, times a
    factor that rises from 0 half-way to 1 at the end. 0 disables it.
    """
    shape: Shape
    steps: int
    batch: int = 128
    window: int = 256
    rate: float = 4e-3
    warmup: int = 200
    fall: float = 1.0
    decay: float = 0.1
    dampening: float = 0.0
    dropout: float = 0.0
    clip: float = 1.0
    seed: int = 1
    distil: float = 0.9
    synthetic: float = 0.0
    rows: int = 250_000    # number of windows that the teacher writes


PRESETS = {
    "toy": Recipe(Shape(vocab=300, hidden=40, layers=2, intermediate=80), steps=60, batch=8,
                  window=32, warmup=10, rows=64),
    "stories-5m": Recipe(Shape(vocab=2048, hidden=320, layers=4, intermediate=880), steps=19500,
                         rate=1.2e-2, warmup=300, decay=0.3, dampening=2.0, synthetic=0.5),
    "stories-30m": Recipe(Shape(vocab=2048, hidden=640, layers=6, intermediate=1760),
                          steps=15000, dampening=1.0, dropout=0.3),
}


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate of ``step``."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    remaining = (recipe.steps - step) / (recipe.steps - recipe.warmup)
    return recipe.rate * remaining ** recipe.fall


def pull_at(recipe: Recipe, step: int) -> float:
    """The pull of :func:`dampen` after ``step``."""
    half = recipe.steps // 2
    progress = max(0, step - half) / (recipe.steps - half)
    return recipe.dampening * rate_at(recipe, step) * progress


@torch.no_grad()
def dampen(matrices: Iterable[torch.Tensor], pull: float) -> None:
    """Move each latent weight towards the value of its trit, by the share ``pull`` of the distance.

    Weights whose optimum is between two trits oscillate at the threshold, and the other weights
    cannot adapt to them (Nagel et al., "Overcoming oscillations in quantization-aware training",
    arXiv 2203.11086). A growing pull settles them one after the other.
    """
    for weight in matrices:
        scale = weight.abs().mean()
        trits = (weight / scale).clamp(-1, 1)
        weight -= pull * scale * (trits - trits.round())


@torch.no_grad()
def perplexity(model: MatMulFreeLM, ids: NDArray[np.uint16], window: int = 256,
               batch: int = 128) -> float:
    """Perplexity over contiguous windows of the whole text, each from a fresh state."""
    model.eval()
    device = next(model.parameters()).device
    starts = np.arange(0, len(ids) - window - 1, window)
    total = 0.0
    for k in range(0, len(starts), batch):
        w = torch.from_numpy(texts.windows(ids, starts[k:k + batch], window).astype(np.int64))
        w = w.to(device)
        loss = F.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten(),
                               reduction="sum")
        total += loss.item()
    model.train()
    return math.exp(total / (len(starts) * window))


def _parameter_groups(model: MatMulFreeLM) -> list[dict[str, Any]]:
    """Parameter groups of the optimiser. Matrices have weight decay; gains, bounds and the
    embedding have none."""
    matrices: list[torch.Tensor] = []
    others: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim == 2 and "embeddings" not in name and "lower" not in name
        (matrices if decays else others).append(parameter)
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def _digest(model: MatMulFreeLM | None) -> str:
    """SHA-256 of a model's weights; "" for None."""
    if model is None:
        return ""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


class _State:
    """Weights, optimiser and step on disk, as safetensors and JSON, so that no pickle is read."""
    def __init__(self, out: Path, recipe: Recipe, teacher: MatMulFreeLM | None) -> None:
        self.path = out / STATE
        self.made_by = {"recipe": json.dumps(asdict(recipe), sort_keys=True),
                        "teacher": _digest(teacher)}

    def save(self, step: int, model: MatMulFreeLM, optimizer: torch.optim.Optimizer) -> None:
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        write({k: v.contiguous() for k, v in tensors.items()}, self.path,
              {"step": str(step), **self.made_by})

    def load(self, model: MatMulFreeLM, optimizer: torch.optim.Optimizer) -> int:
        """Load the state and return the next step; 0 if there is no state."""
        if not self.path.exists():
            return 0
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
        for what, value in self.made_by.items():
            if metadata.get(what) != value:
                raise TernError(f"{self.path}: was made with another {what}; use another --out, "
                                f"or remove it to start over")
        tensors = load_file(self.path)
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        state = optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(state)
        return int(metadata["step"])


def _loss(model: MatMulFreeLM, teacher: MatMulFreeLM | None, distil: float,
          windows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the next token, or with a mixture of it and a teacher's distribution."""
    logits = model(windows[:, :-1]).flatten(0, 1)
    loss = F.cross_entropy(logits, windows[:, 1:].flatten())
    if teacher is None:
        return loss
    with torch.no_grad():
        said = teacher(windows[:, :-1]).flatten(0, 1).softmax(-1)
    return (1 - distil) * loss + distil * F.cross_entropy(logits, said)


def _gradients(loss_of: Callable[[torch.Tensor], torch.Tensor], model: MatMulFreeLM,
               windows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of windows (batch, window + 1) that sets the gradients and returns the loss.

    On a GPU it is one CUDA graph, because a step consists of about a thousand kernels, most of
    which take less time than their launch.
    """
    def eager(w: torch.Tensor) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        loss = loss_of(w)
        loss.backward()
        return loss

    if not windows.is_cuda:
        return eager
    fixed = windows.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager(fixed)
    torch.cuda.current_stream().wait_stream(stream)
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = loss_of(fixed)
        loss.backward()

    def replay(w: torch.Tensor) -> torch.Tensor:
        fixed.copy_(w)
        graph.replay()
        return loss

    return replay


def train(recipe: Recipe, train_ids: NDArray[np.uint16], out: Path, *,
          teacher: MatMulFreeLM | None = None, val_ids: NDArray[np.uint16] | None = None,
          device: str = "cpu", compile: bool = False, save_every: int = 1000,
          eval_every: int = 2000, log: Callable[[str], object] = print) -> MatMulFreeLM:
    """Train by ``recipe`` and return the model. If ``out`` holds a state, the run resumes from it.
    The state is kept until the model is exported.

    ``train_ids``, ``val_ids``: (n,) uint16. ``save_every``, ``eval_every``: steps between saved
    states, and between lines with the validation perplexity. ``log`` is called with each line of
    progress. Raises TernError if a text is shorter than a window, or the state belongs to another
    recipe or teacher.
    """
    for name, ids in ("training", train_ids), ("validation", val_ids):
        if ids is not None and len(ids) < recipe.window + 2:
            raise TernError(f"the {name} text has {len(ids)} tokens; a window needs "
                             f"{recipe.window + 2} or more")
    torch.manual_seed(recipe.seed)
    model = MatMulFreeLM(recipe.shape, recipe.dropout).to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=recipe.rate, betas=(0.9, 0.95),
                                  weight_decay=recipe.decay, fused=device == "cuda")
    state = _State(out, recipe, teacher)
    first = state.load(model, optimizer)
    tokens = torch.from_numpy(train_ids.astype(np.int64)).to(device)
    ahead = torch.arange(recipe.window + 1, device=device)
    compiled = torch.compile(_loss) if compile else _loss
    gradients = _gradients(lambda w: compiled(model, teacher, recipe.distil, w), model,
                           tokens[:recipe.batch * (recipe.window + 1)].view(recipe.batch, -1))
    written: torch.Tensor | None = None
    synthetic = 0
    if teacher is not None and recipe.synthetic:
        synthetic = round(recipe.synthetic * recipe.batch)
        began = time.monotonic()
        written = write_windows(teacher, tokens, recipe.rows, recipe.window, seed=recipe.seed)
        log(f"the teacher wrote {written.numel():,} tokens in {time.monotonic() - began:.0f} s")
    started, seen = time.monotonic(), 0
    for step in range(first, recipe.steps):
        draw = np.random.default_rng((recipe.seed, step))
        starts = draw.integers(0, len(train_ids) - recipe.window, recipe.batch)
        w = tokens[torch.from_numpy(starts).to(device)[:, None] + ahead]
        if written is not None and synthetic:
            chosen = torch.from_numpy(draw.integers(0, len(written), synthetic)).to(device)
            w[:synthetic] = written[chosen].long()
        torch.manual_seed(recipe.seed * 1_000_003 + step)    # dropout
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, step)
        optimizer.param_groups[0]["weight_decay"] = (
            recipe.decay if step < recipe.steps // 2 else 0.0)
        loss = gradients(w)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        if pull := pull_at(recipe, step):
            dampen(optimizer.param_groups[0]["params"], pull)
        seen += recipe.batch * recipe.window
        done = step + 1
        if done % 100 == 0 or done == recipe.steps:
            rate = seen / (time.monotonic() - started)
            log(f"step {done}/{recipe.steps}  loss {loss.item():.4f}  {rate:,.0f} tokens/s")
        if val_ids is not None and done % eval_every == 0 and done != recipe.steps:
            log(f"step {done}  validation perplexity "
                f"{perplexity(model, val_ids, recipe.window):.3f}")
        if done % save_every == 0 and done != recipe.steps:
            state.save(done, model, optimizer)
    settle(model)
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE",
                        help=f"UTF-8 text, .xz too; documents end with a line {texts.SEPARATOR}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="where the checkpoint goes; a run that was killed resumes from it")
    parser.add_argument("--val", nargs="+", metavar="FILE", help="text to validate on")
    parser.add_argument("--preset", choices=PRESETS, default="stories-5m")
    parser.add_argument("--teacher", type=Path, metavar="DIR",
                        help="a larger model that was trained on the same text, to learn from")
    for name in ("steps", "seed"):
        parser.add_argument(f"--{name}", type=int, help="instead of the preset's")
    for name in ("rate", "fall", "dampening"):
        parser.add_argument(f"--{name}", type=float, help="instead of the preset's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--prompt", default="Once upon a time", type=terminal.typed,
                        help="of the samples at the end")


def run(args: argparse.Namespace) -> None:
    changes = {k: getattr(args, k) for k in ("steps", "seed", "rate", "fall", "dampening")
               if getattr(args, k) is not None}
    recipe = replace(PRESETS[args.preset], **changes)
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    text = texts.read_text(args.text)
    val_text = texts.read_text(args.val) if args.val else None
    args.out.mkdir(parents=True, exist_ok=True)
    teacher = None
    if args.teacher:
        teacher, tokenizer = load(args.teacher)
        if teacher.shape.vocab != recipe.shape.vocab:
            raise TernError(f"{args.teacher}: has {teacher.shape.vocab} tokens; preset "
                            f"{args.preset} has {recipe.shape.vocab}")
        teacher = teacher.to(args.device).eval().requires_grad_(False)
    else:
        tokenizer = texts.train_tokenizer(text, recipe.shape.vocab)
    ids = texts.encode(tokenizer, text)
    val_ids = texts.encode(tokenizer, val_text) if val_text is not None else None
    def log(line: str) -> None:
        with suppress(OSError, TernError):      # a closed terminal does not end the training
            console.print(line)

    log(f"{args.preset}: {recipe}")
    log(f"{len(text):,} characters, {len(ids):,} tokens")
    model = train(recipe, ids, args.out, teacher=teacher, val_ids=val_ids, device=args.device,
                  compile=args.device == "cuda", log=log)
    export(model, tokenizer, args.out)
    if val_ids is not None:
        console.print(f"validation perplexity {perplexity(model, val_ids, recipe.window):.3f}")
    for seed in range(1, 4):
        console.print(f"--- sample, temperature 0.8, seed {seed}")
        console.print(Text(terminal.shown(sample(model, tokenizer, args.prompt, 120,
                                                 seed=seed))))
    console.print(f"wrote {terminal.markup(args.out)} after {time.monotonic() - started:.0f} s")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tern_fpga.models.train", description=__doc__.splitlines()[0],
        epilog="example: python -m tern_fpga.models.train --text stories.txt --out my-model "
               "--preset toy")
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(report(main))
