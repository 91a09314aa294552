"""The trainable network against the float64 model, and its roundings."""

import numpy as np
import pytest
import torch

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.export import export as export_ternary
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.tokenizer import FileTokenizer
from tern_fpga.models import checkpoint, network, text as texts, train
from tern_fpga.sim.commands import perplexity
from tern_fpga.sim.reference import model as reference
from tests.models import toy


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model, tokenizer, ids, folder) after some steps, exported."""
    folder = tmp_path_factory.mktemp("trained")
    tokenizer, ids = toy.tokens()
    model = train.train(toy.RECIPE, ids, folder, log=lambda line: None)
    checkpoint.export(model, tokenizer, folder)
    return model.eval(), tokenizer, ids, folder


def test_logits_are_those_of_the_checkpoint(trained):
    """bf16 products, and codes that change with them, are what differs."""
    model, _, ids, folder = trained
    batch = ids[:8 * 32].reshape(8, 32).astype(np.int64)
    with torch.no_grad():
        ours = model(torch.from_numpy(batch)).numpy()
    expected = reference.load(folder).logits(batch)
    assert np.linalg.norm(ours - expected) < 0.03 * np.linalg.norm(expected)
    assert (ours.argmax(-1) == expected.argmax(-1)).mean() > 0.95


def test_states_go_on_where_they_were(trained):
    model, _, ids, _ = trained
    batch = torch.from_numpy(ids[:2 * 20].reshape(2, 20).astype(np.int64))
    with torch.no_grad():
        whole = model(batch)
        first, states = model.resume(batch[:, :7], model.start())
        second, states = model.resume(batch[:, 7:8], states)
        third, _ = model.resume(batch[:, 8:], states)
    parts = torch.cat((first, second, third), 1)
    assert (parts - whole).norm() < 0.02 * whole.norm()


def test_perplexity_is_that_of_the_simulator(trained):
    """The same windows of the same tokens, and nearly the same number."""
    model, tokenizer, _, folder = trained
    text = toy.story(30, seed=1)
    ids = texts.encode(tokenizer, text)
    ours = FileTokenizer((folder / "tokenizer.json").read_bytes()).encode_documents(text)
    assert ours == ids.tolist()
    inputs, targets = perplexity.windows(np.array(ours), 32)
    score = perplexity.of_reference(folder, inputs, targets)
    expected = train.perplexity(model, np.array(ours, np.uint16), 32)
    assert score.perplexity == pytest.approx(expected, rel=0.01)


def test_packed_copies_are_the_model(trained, tmp_path):
    model, _, ids, folder = trained
    assert export_ternary(Checkpoint(folder), tmp_path / "packed") == []    # all else is bf16
    images = [compile_model(path, preset("ulx3s-85f"), "ulx3s-85f").memory()
              for path in (folder, tmp_path / "packed")]
    assert np.array_equal(*images)
    again, _ = checkpoint.load(tmp_path / "packed")
    batch = torch.from_numpy(ids[None, :32].astype(np.int64))
    with torch.no_grad():
        assert (again.eval()(batch) - model(batch)).norm() < 0.02 * model(batch).norm()


def test_gradients_go_straight_through_the_roundings():
    value = torch.tensor([0.2, 1.7, -0.6], requires_grad=True)
    rounded = network._straight_through(value, value.round())
    assert rounded.tolist() == [0, 2, -1]
    (rounded * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert value.grad.tolist() == [1, 2, 3]


def test_the_forward_pass_is_ternary():
    """Weights that ternarise alike give the same outputs; every one still gets a gradient."""
    torch.manual_seed(0)
    layer = network.BitLinear(40, 20)
    x = torch.randn(4, 40)
    y = layer(x)
    scale = layer.weight.abs().mean().item()
    with torch.no_grad():       # mean|W| stays: it is the scale
        trits = (layer.weight / scale).round().clamp(-1, 1)
        flat = network.BitLinear(40, 20)
        flat.weight.copy_(trits * (scale / trits.abs().mean()))
    assert torch.allclose(flat(x).float(), y.float(), rtol=1e-2, atol=1e-3)
    y.float().square().sum().backward()
    assert (layer.weight.grad != 0).all()


def test_weights_at_their_thresholds_keep_their_trits(tmp_path):
    """Where a long training leaves them: another order of summation would flip these."""
    torch.manual_seed(1)
    model = network.MatMulFreeLM(network.Shape(vocab=300, hidden=40, layers=1, intermediate=80))
    matrices, parameters = model.matrices(), dict(model.named_parameters())
    with torch.no_grad():
        for name in matrices:
            weight = parameters[name]
            near = weight.abs() < weight.abs().mean()
            for _ in range(60):         # to where half of the mean is that of these weights too
                weight[near] = weight[near].sign() * weight.abs().mean() / 2
            weight *= 1 + 1e-7 * torch.randn(weight.shape)
        scales = {name: parameters[name].abs().mean() for name in matrices}
        before = {name: (parameters[name] / scales[name]).round().clamp(-1, 1).numpy()
                  for name in matrices}
    checkpoint.settle(model)
    checkpoint.export(model, toy.tokens()[0], tmp_path)
    tensors = Checkpoint(tmp_path).tensors
    for name in matrices:
        trits, scale = tensors[name].ternary()
        assert np.array_equal(trits, before[name])
        assert scale == pytest.approx(scales[name].item(), rel=1e-5)
