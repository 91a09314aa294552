"""What a command line does when the machine fails: full disks, closed outputs, odd encodings."""

import os
import resource
import subprocess
import sys

import pytest

from tern_fpga.assembler.errors import TernError, report
from tests import random_model
from tests.verilog import ROOT


def python(*words, folder=None, env=None, limit=None, **options):
    """(status, standard error) of a command; ``limit``: bytes that a file may have."""
    def prepare():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
                   **(env or {})}
    done = subprocess.run([sys.executable, *map(str, words)], cwd=folder, encoding="utf-8",
                          errors="replace",
                          stderr=subprocess.PIPE, preexec_fn=prepare, env={
                              name: value for name, value in environment.items()
                              if value is not None}, **options)
    return done.returncode, done.stderr


@pytest.fixture
def program(tmp_path):
    (tmp_path / "x.tasm").write_text("next\nhalt\n" * 200, encoding="utf-8")
    assert python("-m", "assembler", "x.tasm", folder=tmp_path, stdout=subprocess.DEVNULL)[0] == 0
    return tmp_path


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("--disassemble", "x.bin"), ("--help",), ("x.tasm",)])
def test_a_full_output_gets_one_line(program, words, unbuffered):
    with open("/dev/full", "wb") as full:
        status, err = python("-m", "assembler", *words, folder=program, stdout=full,
                             env={"PYTHONUNBUFFERED": unbuffered})
    assert (status, err) == (2, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_left_in_peace(program, unbuffered):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        status, err = python("-m", "assembler", "--disassemble", "x.bin", folder=program,
                             stdout=pipe, env={"PYTHONUNBUFFERED": unbuffered})
    assert status == 1 and not err


def test_closed_outputs_are_no_mistake(program):
    shell = f"exec {sys.executable} -m assembler --disassemble"
    for line, status in (("x.bin >&-", 0), ("x.bin >&- 2>&-", 0), ("no.bin >&- 2>&-", 2),
                         ("no.bin 2>/dev/full", 2)):
        done = subprocess.run(["sh", "-c", f"{shell} {line}"], cwd=program, encoding="utf-8",
                              stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == status and "Traceback" not in done.stderr


def test_a_closed_input_is_an_empty_one():
    code = ("import sys; from tern_fpga.assembler.errors import report; from firmware import chat; "
            "sys.exit(report(lambda argv: len(list(chat._lines()))))")
    done = subprocess.run(["sh", "-c", f"exec {sys.executable} -c '{code}' <&-"], cwd=ROOT,
                          encoding="utf-8", stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("env", [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_any_locale_shows_any_text(tmp_path, env):
    code = ("from tern_fpga.assembler.errors import *\n"
            "def main(argv):\n"
            "    print('caf\\xe9 \\u2014 \\U0001f981 \\udcff')\n"
            "    raise TernError('caf\\xe9 \\u2014')\n"
            "import sys; sys.exit(report(main))")
    with open(tmp_path / "out", "wb") as out:
        status, err = python("-c", code, env={"PYTHONIOENCODING": None, **env}, stdout=out)
    assert status == 2 and err.startswith("error: caf") and "Traceback" not in err
    assert (tmp_path / "out").read_bytes().endswith(b"\\u2014 \\U0001f981 \\udcff\n")


def test_names_that_the_locale_lacks_are_read_and_written(tmp_path):
    (tmp_path / "caf\xe9.tasm").write_text("halt ; caf\xe9\n", encoding="utf-8")
    status, err = python("-m", "assembler", "caf\xe9.tasm", folder=tmp_path, env={
        "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, stdout=subprocess.DEVNULL)
    assert (status, err) == (0, "") and (tmp_path / "caf\xe9.bin").exists()


def test_a_file_that_fails_gets_one_line(capsys):
    def main(path):
        open(path, "rb")

    assert report(main, "/no/such") == 2
    assert capsys.readouterr().err == "error: /no/such: No such file or directory\n"

    def fail(argv):
        raise OSError("3 requested and 0 written")

    assert report(fail) == 2
    assert capsys.readouterr().err == "error: 3 requested and 0 written\n"


def test_each_mistake_has_its_line(capsys):
    def main(argv):
        raise TernError("one\nand more", "two")

    assert report(main) == 2
    assert capsys.readouterr().err == "error: one and more\nerror: two\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_model.write(tmp_path_factory.mktemp("full") / "model", hidden=10, inner=15,
                              layers=1, vocab=20)


@pytest.mark.parametrize("words, old", [
    (("model",), "build/model"), (("model", "-o", "out"), "out"),
    (("--export-ternary", "model", "out"), "out"), (("model.tasm", "-o", "out"), "out"),
    (("--disassemble", "model.bin", "-o", "out"), "out")])
def test_a_full_disk_leaves_what_was_there(model, words, old):
    """As a limit of what a file may have: the same error, from the same calls."""
    folder = model.parent
    (folder / "model.tasm").write_text("halt\n" * 500, encoding="utf-8")
    (folder / "model.bin").write_bytes(bytes(16 * 500))
    out = folder / old
    if words[-1] == "out" and "model" in words:
        out.mkdir(exist_ok=True)
        (out / "manifest.json").write_text("old", encoding="utf-8")

    def there():
        return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")
                if path.name != "build"}

    before = there()
    status, err = python("-m", "assembler", *words, folder=folder, limit=2000)
    assert status == 2 and err.startswith(f"error: {old}: cannot write") and err.count("\n") == 1
    assert "File too large" in err
    assert there() == before


@pytest.mark.parametrize("output, what", [
    ("/dev/full/x", "/dev/full is no folder"), ("/dev/full", "/dev/full is no folder"),
    ("{model}/config.json/x", "config.json is no folder"),
    ("/proc/x/y", "is not writable|No such")])
def test_a_place_that_cannot_be_written_is_told_before_the_work(model, output, what, capsys):
    import re

    from tern_fpga.assembler.cli import main

    for words in ([str(model), "-o"], ["--export-ternary", str(model)]):
        place = output.format(model=model)
        assert report(main, [*words, place]) == 2
        err = capsys.readouterr().err
        assert re.match(rf"error: {place}: cannot write.*(?:{what})", err), err


def test_no_home_is_needed(model, tmp_path):
    status, err = python("-m", "assembler", model, "-o", tmp_path / "out", env={
        "HOME": None, "XDG_CACHE_HOME": None}, stdout=subprocess.DEVNULL)
    assert (status, err) == (0, "")
