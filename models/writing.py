"""Text written by a network: samples for readers, or thousands of windows for training."""

from tokenizers import Tokenizer
import torch

from tern_fpga.models.network import MatMulFreeLM


__all__ = ["sample", "write_windows"]


@torch.no_grad()
def sample(model: MatMulFreeLM, tokenizer: Tokenizer, prompt: str, tokens: int,
           temperature: float = 0.8, seed: int = 1) -> str:
    """``prompt`` and the model's continuation of at most ``tokens`` tokens, up to the end of the
    document."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    logits, states = model.resume(torch.tensor([ids], device=device), model.start())
    for _ in range(tokens):
        probabilities = (logits[0, -1].cpu() / temperature).softmax(-1)
        drawn = torch.multinomial(probabilities, 1, generator=generator)
        if drawn.item() == 0:
            break
        ids.append(drawn.item())
        logits, states = model.resume(drawn[None].to(device), states)
    model.train()
    return tokenizer.decode(ids)


@torch.no_grad()
def write_windows(model: MatMulFreeLM, ids: torch.Tensor, rows: int, window: int, *, seed: int,
                  prompt: int = 32, batch: int = 16384) -> torch.Tensor:
    """Windows that start with ``prompt`` tokens of a text and continue with the model's tokens.

    ``ids``: (n,) int64 on the model's device -> (rows, window + 1) int32 on that device, drawn at
    temperature 1. ``seed`` makes the result reproducible on the same device. ``batch``: windows
    that are written at a time.
    """
    device = ids.device
    batch = min(batch, rows)
    resume = torch.compile(model.resume) if ids.is_cuda else model.resume
    generator = torch.Generator(device).manual_seed(seed)
    ahead = torch.arange(prompt, device=device)
    written = torch.empty(rows, window + 1, dtype=torch.int32, device=device)
    for first in range(0, rows, batch):
        n = min(batch, rows - first)
        starts = torch.randint(len(ids) - prompt, (batch, 1), device=device, generator=generator)
        begun = ids[starts + ahead]
        written[first:first + n, :prompt] = begun[:n]
        logits, states = model.resume(begun, model.start())
        for position in range(prompt, window + 1):
            drawn = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=generator)
            written[first:first + n, position] = drawn[:n, 0]
            logits, states = resume(drawn, states)
    return written
