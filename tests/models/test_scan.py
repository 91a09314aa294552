"""The recurrence over whole sequences against a loop, forward and backward."""

import pytest
import torch

from tern_fpga.models.scan import scan


def loop(f, i):
    """The definition, a token at a time."""
    h, states = torch.zeros_like(i[:, 0]), []
    for t in range(f.shape[1]):
        h = f[:, t] * h + i[:, t]
        states.append(h)
    return torch.stack(states, 1)


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("time", [1, 2, 3, 17, 64, 257])
def test_scan_is_the_loop(time, device):
    generator = torch.Generator().manual_seed(time)
    f = torch.rand(3, time, 5, generator=generator).to(device).requires_grad_()
    i = torch.randn(3, time, 5, generator=generator).to(device).requires_grad_()
    weight = torch.randn(3, time, 5, generator=generator).to(device)
    ours, theirs = scan(f, i), loop(f, i)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((h * weight).sum(), (f, i), allow_unused=True)
                 for h in (ours, theirs)]
    for name, a, b in zip("fi", *gradients):
        if a is not None or time > 1:       # f of the first token has no part in anything
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4), name


def test_long_memory_does_not_overflow():
    """Gates of 1 keep everything, gates of 0 nothing: no division by products of gates."""
    f = torch.cat((torch.ones(1, 200, 2), torch.zeros(1, 100, 2)), 1)
    i = torch.ones(1, 300, 2)
    assert torch.equal(scan(f, i)[0, :, 0], torch.cat((torch.arange(1.0, 201), torch.ones(100))))
