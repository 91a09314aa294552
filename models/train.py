"""Train a MatMul-free language model on text: ``python -m models.train --text FILE --out DIR``.

Everything that decides the result is in the preset, the text and the seed. The batch of step
n, its dropout masks included, depends on the seed and n alone, so that a run resumed after a
kill goes on exactly where it would have been.
"""

import argparse
from dataclasses import asdict, dataclass, replace
import hashlib
import json
import math
import os
from pathlib import Path
import sys
import time

import numpy as np
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
import torch
from torch.nn import functional as F

from assembler.errors import TernError, report
from models import text as texts
from models.network import MatMulFreeLM, Shape


__all__ = ["Recipe", "PRESETS", "train", "perplexity", "sample"]


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained.

    ``batch`` windows of ``window`` tokens a step; the rate rises over ``warmup`` steps to
    ``rate`` and falls linearly to 0; weight decay stops half-way (Ma et al., "The era of 1-bit
    LLMs: training tips, code and FAQ", 2024).
    """
    shape: Shape
    steps: int
    batch: int = 128
    window: int = 256
    rate: float = 4e-3
    warmup: int = 200
    decay: float = 0.1
    dropout: float = 0.0
    clip: float = 1.0
    seed: int = 1


PRESETS = {
    "toy": Recipe(Shape(vocab=300, hidden=40, layers=2, intermediate=80), steps=60, batch=8,
                  window=32, warmup=10),
    "stories-5m": Recipe(Shape(vocab=2048, hidden=240, layers=6, intermediate=800), steps=15000),
    "stories-30m": Recipe(Shape(vocab=2048, hidden=640, layers=6, intermediate=1760), steps=6500,
                          rate=4e-3, dropout=0.1),
}


def rate_at(recipe, step):
    """Learning rate of ``step``: linear up, linear down."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    return recipe.rate * (recipe.steps - step) / (recipe.steps - recipe.warmup)


@torch.no_grad()
def perplexity(model, ids, window=256, batch=128):
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


@torch.no_grad()
def sample(model, tokenizer, prompt, tokens, temperature=0.8, seed=1):
    """A continuation of ``prompt``, drawn with a seed; stops at the end of the document."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    for _ in range(tokens):
        logits = model(torch.tensor([ids[-256:]], device=device))[0, -1].float().cpu()
        drawn = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        if drawn.item() == 0:
            break
        ids.append(drawn.item())
    model.train()
    return tokenizer.decode(ids)


def _parameter_groups(model):
    """Matrices decay; gains, bounds and the embedding do not."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim == 2 and "embeddings" not in name and "lower" not in name
        (matrices if decays else others).append(parameter)
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


class _State:
    """Weights, optimiser and step on disk, as safetensors and JSON: no pickle is ever read."""
    def __init__(self, out):
        self.path = out / "training-state.safetensors"

    def save(self, recipe, step, model, optimizer):
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        temporary = self.path.with_suffix(".tmp")
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary,
                  {"step": str(step), "recipe": json.dumps(asdict(recipe))})
        os.replace(temporary, self.path)

    def load(self, recipe, model, optimizer):
        """The step to go on with, 0 if there is nothing to resume."""
        if not self.path.exists():
            return 0
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
        if json.loads(metadata["recipe"]) != json.loads(json.dumps(asdict(recipe))):
            raise TernError(f"{self.path}: was made with another recipe; use another --out, or "
                             f"remove it to start over")
        tensors = load_file(self.path)
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        state = optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(state)
        return int(metadata["step"])


def train(recipe, train_ids, out, *, val_ids=None, device="cpu", compile=False,
          save_every=1000, eval_every=2000, log=print):
    """Train by ``recipe`` and return the model; the state in ``out`` is resumed if there is one.

    ``train_ids``, ``val_ids``: (n,) uint16.
    """
    for name, ids in ("training", train_ids), ("validation", val_ids):
        if ids is not None and len(ids) < recipe.window + 2:
            raise TernError(f"the {name} text has {len(ids)} tokens; a window needs "
                             f"{recipe.window + 2} or more")
    torch.manual_seed(recipe.seed)
    model = MatMulFreeLM(recipe.shape, recipe.dropout).to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=recipe.rate, betas=(0.9, 0.95),
                                  weight_decay=recipe.decay, fused=device == "cuda")
    state = _State(out)
    first = state.load(recipe, model, optimizer)
    forward = torch.compile(model) if compile else model
    tokens = torch.from_numpy(train_ids.astype(np.int64)).to(device)
    ahead = torch.arange(recipe.window + 1, device=device)
    started, seen = time.monotonic(), 0
    for step in range(first, recipe.steps):
        draw = np.random.default_rng((recipe.seed, step))
        starts = draw.integers(0, len(train_ids) - recipe.window, recipe.batch)
        w = tokens[torch.from_numpy(starts).to(device)[:, None] + ahead]
        torch.manual_seed(recipe.seed * 1_000_003 + step)    # dropout
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, step)
        if step == recipe.steps // 2:
            optimizer.param_groups[0]["weight_decay"] = 0.0
        loss = F.cross_entropy(forward(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        seen += recipe.batch * recipe.window
        done = step + 1
        if done % 100 == 0 or done == recipe.steps:
            rate = seen / (time.monotonic() - started)
            log(f"step {done}/{recipe.steps}  loss {loss.item():.4f}  {rate:,.0f} tokens/s")
        if val_ids is not None and done % eval_every == 0 and done != recipe.steps:
            log(f"step {done}  validation perplexity "
                f"{perplexity(model, val_ids, recipe.window):.3f}")
        if done % save_every == 0 and done != recipe.steps:
            state.save(recipe, done, model, optimizer)
    state.path.unlink(missing_ok=True)
    return model


def export(model, tokenizer, out):
    """Write the checkpoint in the published format: config, float32 weights, tokenizer.

    Rounding the weights to bf16 here would move those near a threshold to another trit: it
    took a trained model from perplexity 19 to 23.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    temporary = out / "model.tmp"
    save_file(tensors, temporary, {"format": "pt"})
    os.replace(temporary, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(model.shape.config(), indent=1) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))


def _prepare(recipe, text, out, name, tokenizer=None):
    """Tokens of ``text``, kept in ``out`` under a digest of the text and of the vocabulary."""
    digest = hashlib.sha256(f"{recipe.shape.vocab}\n{text}".encode()).hexdigest()[:16]
    cache, vocabulary = out / f"{name}-{digest}.npy", out / f"{name}-{digest}.tokenizer.json"
    if tokenizer is None:
        if vocabulary.exists():
            tokenizer = Tokenizer.from_file(str(vocabulary))
        else:
            tokenizer = texts.train_tokenizer(text, recipe.shape.vocab)
            tokenizer.save(str(vocabulary))
    if not cache.exists():
        np.save(cache, texts.encode(tokenizer, text))
    return tokenizer, np.load(cache)


def add_arguments(parser):
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE",
                        help=f"UTF-8 text, .xz too; documents end with a line {texts.SEPARATOR}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="where the checkpoint goes; a run that was killed resumes from it")
    parser.add_argument("--val", nargs="+", metavar="FILE", help="text to validate on")
    parser.add_argument("--preset", choices=PRESETS, default="stories-5m")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="tokenised text; default: --out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--prompt", default="Once upon a time", help="of the samples at the end")


def run(args):
    changes = {k: getattr(args, k) for k in ("steps", "seed") if getattr(args, k) is not None}
    recipe = replace(PRESETS[args.preset], **changes)
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    text = texts.read_text(args.text)
    val_text = texts.read_text(args.val) if args.val else None
    cache = args.cache or args.out
    args.out.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer, ids = _prepare(recipe, text, cache, "train")
    val_ids = _prepare(recipe, val_text, cache, "val", tokenizer)[1] if args.val else None
    console.print(f"{args.preset}: {recipe}")
    console.print(f"{len(text):,} characters, {len(ids):,} tokens")
    model = train(recipe, ids, args.out, val_ids=val_ids, device=args.device,
                  compile=args.device == "cuda", log=console.print)
    if val_ids is not None:
        console.print(f"validation perplexity {perplexity(model, val_ids, recipe.window):.3f}")
    export(model, tokenizer, args.out)
    for seed in range(1, 4):
        console.print(f"--- sample, temperature 0.8, seed {seed}")
        console.print(sample(model, tokenizer, args.prompt, 120, seed=seed), markup=False)
    console.print(f"wrote {args.out} after {time.monotonic() - started:.0f} s")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description=__doc__.splitlines()[0],
        epilog="example: python -m models.train --text stories.txt --out my-model --preset toy")
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(report(main))
