"""The MatMul-free language model as a trainable network, with the published checkpoints' names.

Training is quantisation-aware. The forward pass computes with ternary weights and int8 activations.
The backward pass treats both roundings as the identity (straight-through estimator; Bengio et al.,
arXiv 1308.3432). See ``docs/training.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tern_fpga.models.scan import scan


__all__ = ["Shape", "MatMulFreeLM"]


States = Sequence[torch.Tensor | None]          # of each layer: (batch, hidden); None: zeros

EPS = 1e-6


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. Multiples of 80 in ``hidden`` and ``intermediate`` use all lanes."""
    vocab: int
    hidden: int
    layers: int
    intermediate: int

    def config(self) -> dict[str, object]:
        """The contents of ``config.json`` in the published format."""
        return {
            "model_type": "hgrn_bit", "architectures": ["HGRNBitForCausalLM"],
            "vocab_size": self.vocab, "hidden_size": self.hidden,
            "num_hidden_layers": self.layers, "intermediate_size": self.intermediate,
            "hidden_ratio": 4, "num_heads": 1, "expand_ratio": 1, "use_short_conv": False,
            "use_lower_bound": True, "hidden_act": "swish", "rms_norm_eps": EPS,
            "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0,
        }


def _straight_through(value: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """``rounded`` in the forward pass, with the gradient of ``value`` in the backward pass."""
    return value + (rounded - value).detach()


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.weight


class BitLinear(nn.Module):
    """RMSNorm, int8 absmax quantisation per token, ternary weights with one scale.

    (..., columns) -> (..., rows) bfloat16.
    """
    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))
        self.norm = RMSNorm(columns)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        scale = 127 / y.abs().amax(-1, keepdim=True).clamp_min(1e-5)
        y = _straight_through(y, (y * scale).round().clamp(-128, 127) / scale)
        s = self.weight.abs().mean().clamp_min(1e-5)
        w = _straight_through(self.weight, (self.weight / s).round().clamp(-1, 1) * s)
        return F.linear(y.to(torch.bfloat16), w.to(torch.bfloat16))


class Attention(nn.Module):
    """The MLGRU token mixer (arXiv 2406.02528, section 3.3)."""
    def __init__(self, d: int) -> None:
        super().__init__()
        self.i_proj, self.f_proj, self.g_proj, self.o_proj = (BitLinear(d, d) for _ in range(4))
        self.g_norm = RMSNorm(d)

    def forward(self, n: torch.Tensor, lower_bound: torch.Tensor,
                state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        f = lower_bound + (1 - lower_bound) * torch.sigmoid(self.f_proj(n).float())
        i = F.silu(self.i_proj(n).float()) * (1 - f)
        if state is not None:
            i = torch.cat((i[:, :1] + f[:, :1] * state[:, None], i[:, 1:]), 1)
        h = scan(f, i)
        return self.o_proj(self.g_norm(self.g_proj(n)) * F.silu(h)), h[:, -1]


class MLP(nn.Module):
    """The gated channel mixer. One matrix has the gate rows, then the up rows."""
    def __init__(self, d: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj = BitLinear(d, 2 * intermediate)
        self.down_proj = BitLinear(intermediate, d)

    def forward(self, m: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_proj(m).float().chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(shape.hidden)
        self.attn = Attention(shape.hidden)
        self.mlp_norm = RMSNorm(shape.hidden)
        self.mlp = MLP(shape.hidden, shape.intermediate)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, lower_bound: torch.Tensor,
                state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.attn(self.attn_norm(x), lower_bound, state)
        x = x + self.dropout(y)
        return x + self.dropout(self.mlp(self.mlp_norm(x))), state


class _Body(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(shape.vocab, shape.hidden)
        self.lower_bounds = nn.Parameter(torch.zeros(shape.layers, shape.hidden))
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = RMSNorm(shape.hidden)
        nn.init.normal_(self.embeddings.weight, std=0.02)

    def forward(self, ids: torch.Tensor, states: States) -> tuple[torch.Tensor, list[torch.Tensor]]:
        bounds = self.lower_bounds.softmax(0)
        bounds = bounds.cumsum(0) - bounds[0]
        x = self.dropout(self.embeddings(ids))
        after = []
        for layer, bound, state in zip(self.layers, bounds, states):
            x, state = layer(x, bound, state)
            after.append(state)
        return self.norm(x), after


class MatMulFreeLM(nn.Module):
    """``ids``: (batch, time) int64 -> logits (batch, time, vocab) float32."""
    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape, dropout)
        self.lm_head = BitLinear(shape.hidden, shape.vocab)

    def matrices(self) -> list[str]:
        """Names of the parameters that are ternary in the forward pass."""
        return [f"{name}.weight" for name, module in self.named_modules()
                if isinstance(module, BitLinear)]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.resume(ids, self.start())[0]

    def start(self) -> States:
        """The states before the first token."""
        return [None] * self.shape.layers

    def resume(self, ids: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        """(logits, states after the last token: a (batch, hidden) tensor for each layer)."""
        x, states = self.model(ids, states)
        return self.lm_head(x).float(), states
