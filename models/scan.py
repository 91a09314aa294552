"""The recurrence ``h[t] = f[t] * h[t-1] + i[t]`` over whole sequences, forward and backward."""

import torch


try:
    import triton
    import triton.language as tl
except ImportError:    # CPU builds of PyTorch come without it
    triton = None


__all__ = ["scan"]


def scan(f, i):
    """States of the recurrence, with h = 0 before the first token.

    ``f``, ``i``: (batch, time, width) float32 -> (batch, time, width) float32. On a GPU one
    fused kernel that reads each element once; elsewhere a parallel prefix scan of
    ``log2(time)`` steps (Blelloch, "Prefix sums and their applications", 1990).
    """
    if f.is_cuda and triton is not None:
        return _FusedScan.apply(f, i)
    return _prefix_scan(f, i)


def _prefix_scan(f, i):
    distance = 1
    while distance < f.shape[1]:
        # (f, i) after (f', i') is (f f', f i' + i): combine each element with the one
        # ``distance`` before it; what lies before the first token is the neutral (1, 0).
        before_f = torch.nn.functional.pad(f[:, :-distance], (0, 0, distance, 0), value=1.0)
        before_i = torch.nn.functional.pad(i[:, :-distance], (0, 0, distance, 0))
        f, i = f * before_f, f * before_i + i
        distance *= 2
    return i


if triton is not None:
    @triton.jit
    def _forward_kernel(f_ptr, i_ptr, h_ptr, time, width, BLOCK: tl.constexpr):
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = column < width
        offset = tl.program_id(0).to(tl.int64) * time * width + column
        h = tl.zeros((BLOCK,), tl.float32)
        for _ in range(time):
            f = tl.load(f_ptr + offset, mask=mask, other=0.0)
            i = tl.load(i_ptr + offset, mask=mask, other=0.0)
            h = f * h + i
            tl.store(h_ptr + offset, h, mask=mask)
            offset += width

    @triton.jit
    def _backward_kernel(f_ptr, h_ptr, dh_ptr, df_ptr, di_ptr, time, width, BLOCK: tl.constexpr):
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = column < width
        offset = (tl.program_id(0).to(tl.int64) * time + time - 1) * width + column
        di = tl.zeros((BLOCK,), tl.float32)
        for step in range(time):
            di += tl.load(dh_ptr + offset, mask=mask, other=0.0)
            f = tl.load(f_ptr + offset, mask=mask, other=0.0)
            before = tl.load(h_ptr + offset - width, mask=mask & (step < time - 1), other=0.0)
            tl.store(di_ptr + offset, di, mask=mask)
            tl.store(df_ptr + offset, di * before, mask=mask)
            di = di * f
            offset -= width


class _FusedScan(torch.autograd.Function):
    BLOCK = 64

    @staticmethod
    def forward(ctx, f, i):
        f, i = f.contiguous(), i.contiguous()
        batch, time, width = f.shape
        h = torch.empty_like(i)
        grid = (batch, triton.cdiv(width, _FusedScan.BLOCK))
        _forward_kernel[grid](f, i, h, time, width, BLOCK=_FusedScan.BLOCK)
        ctx.save_for_backward(f, h)
        return h

    @staticmethod
    def backward(ctx, dh):
        f, h = ctx.saved_tensors
        batch, time, width = f.shape
        df, di = torch.empty_like(f), torch.empty_like(f)
        grid = (batch, triton.cdiv(width, _FusedScan.BLOCK))
        _backward_kernel[grid](f, h, dh.contiguous(), df, di, time, width, BLOCK=_FusedScan.BLOCK)
        return df, di
