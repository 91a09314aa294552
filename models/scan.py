"""The recurrence ``h[t] = f[t] * h[t-1] + i[t]`` over whole sequences, forward and backward."""

from typing import Any

import torch


try:
    import triton
    import triton.language as tl
except ImportError:    # CPU builds of PyTorch lack it
    triton = None


__all__ = ["scan"]


def scan(f: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    """States of the recurrence, with h = 0 before the first token.

    ``f``, ``i``: (batch, time, width) float32 -> (batch, time, width) float32. On a GPU, this is
    one fused kernel that reads each element once. Otherwise, it is a parallel prefix scan of
    ``log2(time)`` steps (Blelloch, "Prefix sums and their applications", 1990).
    """
    if f.shape[1] == 1:
        return i
    if f.is_cuda and triton is not None:
        return _FusedScan.apply(f, i)
    return _prefix_scan(f, i)


def _prefix_scan(f: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    distance = 1
    while distance < f.shape[1]:
        # (f, i) after (f', i') is (f f', f i' + i). Combine each element with the one ``distance``
        # before it; elements before the first token are the neutral (1, 0).
        before_f = torch.nn.functional.pad(f[:, :-distance], (0, 0, distance, 0), value=1.0)
        before_i = torch.nn.functional.pad(i[:, :-distance], (0, 0, distance, 0))
        f, i = f * before_f, f * before_i + i
        distance *= 2
    return i


if triton is not None:
    @triton.jit
    def _after(f, i, later_f, later_i):
        return f * later_f, i * later_f + later_i

    @triton.jit
    def _forward_kernel(f_ptr, i_ptr, h_ptr, time, width, STEPS: tl.constexpr,
                        BLOCK: tl.constexpr):
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        step = tl.arange(0, STEPS)
        start = tl.program_id(0).to(tl.int64) * time * width
        carry = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, time, STEPS):
            t = (first + step)[:, None]
            offset = start + t * width + column[None, :]
            mask = (t < time) & (column < width)[None, :]
            f = tl.load(f_ptr + offset, mask=mask, other=1.0)
            i = tl.load(i_ptr + offset, mask=mask, other=0.0)
            f, h = tl.associative_scan((f, i), 0, _after)
            h += f * carry[None, :]
            tl.store(h_ptr + offset, h, mask=mask)
            carry = tl.sum(tl.where(step[:, None] == STEPS - 1, h, 0.0), 0)

    @triton.jit
    def _backward_kernel(f_ptr, h_ptr, dh_ptr, df_ptr, di_ptr, time, width, STEPS: tl.constexpr,
                         BLOCK: tl.constexpr):
        # di[t] = dh[t] + f[t+1] * di[t+1] is the same recurrence in reverse, and
        # df[t] = di[t] * h[t-1].
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        step = tl.arange(0, STEPS)
        start = tl.program_id(0).to(tl.int64) * time * width
        carry = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, time, STEPS):
            t = (time - 1 - first - step)[:, None]
            offset = start + t * width + column[None, :]
            mask = (t >= 0) & (column < width)[None, :]
            f = tl.load(f_ptr + offset + width, mask=mask & (t < time - 1), other=1.0)
            dh = tl.load(dh_ptr + offset, mask=mask, other=0.0)
            h = tl.load(h_ptr + offset - width, mask=mask & (t > 0), other=0.0)
            f, di = tl.associative_scan((f, dh), 0, _after)
            di += f * carry[None, :]
            tl.store(di_ptr + offset, di, mask=mask)
            tl.store(df_ptr + offset, di * h, mask=mask)
            carry = tl.sum(tl.where(step[:, None] == STEPS - 1, di, 0.0), 0)


class _FusedScan(torch.autograd.Function):
    TILE = {"STEPS": 64, "BLOCK": 32}

    @staticmethod
    def forward(ctx: Any, f: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        f, i = f.contiguous(), i.contiguous()
        batch, time, width = f.shape
        h = torch.empty_like(i)
        grid = (batch, triton.cdiv(width, _FusedScan.TILE["BLOCK"]))
        _forward_kernel[grid](f, i, h, time, width, **_FusedScan.TILE)
        ctx.save_for_backward(f, h)
        return h

    @staticmethod
    def backward(ctx: Any, dh: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, h = ctx.saved_tensors
        batch, time, width = f.shape
        df, di = torch.empty_like(f), torch.empty_like(f)
        grid = (batch, triton.cdiv(width, _FusedScan.TILE["BLOCK"]))
        _backward_kernel[grid](f, h, dh.contiguous(), df, di, time, width, **_FusedScan.TILE)
        return df, di
