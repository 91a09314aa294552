"""The quickest proofs of ``make formal``, and that its runner notices what is wrong."""

import pytest

from tern_fpga.hw.common.ram import Buffer
from tests.campaigns.formal import __main__ as formal
from tests.campaigns.formal.bench import Fault, Proof
from tests.campaigns.formal.solve import solve


QUICK = [name for name, proof in formal.PROOFS.items() if proof.quick]


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.setattr(formal, "BUILD", tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_quick_proofs_hold(name):
    result = formal.prove(formal.PROOFS[name])
    assert result.good, (result.verdict, result.controls)


def _buffer(b):
    buffer = b.block("buffer", Buffer(shape=1))
    b.feed("i", buffer.i)
    taken = b.drain("o", buffer.o)
    count = b.past(buffer.o.payload)
    b.promise("right", ~b.first | ~buffer.o.valid)
    b.promise("wrong", ~taken | ~count)
    b.reach("never", b.first & taken)


@pytest.mark.parametrize("method", ["always", "bounded 6", "induction 6"])
def test_what_is_wrong_fails_and_is_named(method):
    result = formal.prove(Proof("wrong", "", _buffer, method=method))
    assert not result.good
    assert result.verdict.startswith("FAILS") and ": wrong (" in result.verdict


def test_what_is_never_reached_is_a_failure():
    result = formal.prove(Proof("never", "", _buffer, method="bounded 1", reach=5))
    assert not result.good
    assert result.verdict == "1 cycles" and result.controls == ["NOT REACHED: never"]


@pytest.mark.parametrize("old, new, said", [
    ("offer.eq(", "offer.eq(1 & ", "harmless: NOT FOUND"),
    ("no such text", "", "it must be written again"),
])
def test_a_fault_that_is_not_found_is_a_failure(old, new, said):
    fault  = Fault("harmless", "hw.common.ram:Buffer", old, new)
    result = formal.prove(Proof("fault", "", _fine, faults=(fault,)))
    assert not result.good
    assert said in " ".join([result.verdict, *result.controls])


def _fine(b):
    buffer = b.block("buffer", Buffer(shape=1))
    b.feed("i", buffer.i)
    b.drain("o", buffer.o)
    b.promise("right", ~b.first | ~buffer.o.valid)


def test_a_proof_without_a_control_is_a_failure():
    assert not formal.prove(Proof("alone", "", _fine)).good


def test_time_is_bounded(tmp_path):
    verdict = solve(formal._converted(formal.PROOFS["frame receiver"]), "always", folder=tmp_path,
                    seconds=1)
    assert verdict.holds is None
    assert not (tmp_path / "verdict.json").exists()


def test_verdicts_are_kept(tmp_path):
    text  = formal._converted(Proof("fine", "", _fine))
    first = solve(text, "always", folder=tmp_path, seconds=60)
    (tmp_path / "top.aig").unlink()
    assert first.holds and solve(text, "always", folder=tmp_path, seconds=60) == first
    assert not (tmp_path / "top.aig").exists()
    solve(text, "bounded 2", folder=tmp_path, seconds=60)
    assert (tmp_path / "top.smt2").exists()
