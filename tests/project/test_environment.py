"""Programs of this project in a Python that has nothing but its standard library."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from tern_fpga.assembler import errors


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", ["assembler", "sim", "firmware", "boards", "hw"])
def test_a_missing_environment_is_named_with_what_to_type(package):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-S", "-m", package, "--help"], cwd=ROOT,
                          env=environment, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: the package ")
    assert "type: . " in done.stderr or "type: pip install -e " in done.stderr


def test_what_to_type_depends_on_whether_there_is_an_environment(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(errors, "_ROOT", tmp_path)
    error = ModuleNotFoundError(name="rich.console")
    assert errors.missing(error) == 2
    assert "type: pip install rich, or tern-fpga with " in capsys.readouterr().err
    (tmp_path / "pyproject.toml").touch()
    assert errors.missing(error) == 2
    assert f"type: pip install -e {tmp_path}\n" in capsys.readouterr().err
    (tmp_path / ".venv").mkdir()
    assert errors.report(lambda _: (_ for _ in ()).throw(error)) == 2
    assert f"type: . {tmp_path}/.venv/bin/activate\n" in capsys.readouterr().err
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))     # it is, and is not whole
    errors.missing(error)
    assert f"type: pip install -e {tmp_path}\n" in capsys.readouterr().err


def test_a_module_of_ours_that_is_missing_is_a_defect():
    with pytest.raises(ModuleNotFoundError):
        errors.report(lambda _: __import__("tern_fpga.assembler.no_such_module"))
