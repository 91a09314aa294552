"""No text of a model, of its tokenizer or of a file's name commands a terminal."""

import ast
import io
import sys
import unicodedata

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from rich.console import Console
from tokenizers import Tokenizer, decoders, models

from tern_fpga.assembler import cli as compiler
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import tokenizer
from tern_fpga.assembler.files.image import TOKENIZER
from tern_fpga.boards import cli as boards
from tern_fpga.firmware import cli as firmware, port, programs, upload
from tern_fpga.firmware.board import Board
from tern_fpga.sim import cli as sim
from tern_fpga.sim.commands import demo
from tests import random_model
from tests.compiled import CONFIGS, random_image
from tests.firmware.golden_board import GoldenPort
from tests.project.test_project import ROOT


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
EVIL = ["\x1b]52;c;ZXZpbA==\x07", "\x1b[2J", "\x9b31m", "\r", "\x7f", "\b", "\0", *BIDI, "\u2028",
        "\u2029", "[red]", "[/]", "[link=https://a.example]", ":smile:", "\\", "[bold"]
GOOD = "naïve 一 👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 می‌خواهم ❤️ \n\t"


def commands(text):
    """Characters of a text that a terminal or what lays out lines obeys."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
            and c not in "\n\t" or unicodedata.bidirectional(c) in (
                "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
            or c in "\u061c\u200e\u200f"}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.characters()))
def test_nothing_that_a_terminal_obeys_is_left(text):
    out = terminal.shown(text)
    assert not commands(out)
    if not commands(text):
        assert out == text


def test_what_scripts_are_made_of_stays():
    assert terminal.shown(GOOD) == GOOD
    assert terminal.shown("a\x1b[0m\x85\u202e\udc80\r\n") == r"a\x1b[0m\x85\u202e\udc80\r" + "\n"


def test_characters_are_looked_at_when_their_bytes_are_together():
    """U+009B, which begins a sequence as ESC [ does, in two tokens."""
    stream = terminal.stream(tokenizer.ByteTokenizer())
    assert [stream.push(b) for b in b"a\xc2\x9b31m\xe2\x80\xae"] == [
        "a", "", r"\x9b", "3", "1", "m", "", "", r"\u202e"]
    assert stream.push(0xc2) == "" and stream.flush() == "\ufffd"


# Every command

HOSTILE = EVIL[0] + EVIL[2] + "[red]" + "\u202e"        # in prompts and names

#: How commands that print text of a model are run, see below; of the others, the reason.
SHOWN  = {"sim generate", "sim demo", "firmware chat"}
SILENT = {
    "assembler": "sizes and predictions; names of files: below",
    **{f"sim {name}": "numbers" for name in ("logits", "perplexity", "numerics", "perf",
                                             "roofline", "positions", "netlist", "sdram")},
    "sim lockstep": "ids, and names of registers",
    "sim board": "bytes of the line, for a program",
    "firmware upload": "the name of the image: below", "firmware selftest": "numbers",
    "firmware counters": "numbers",
    **{f"boards {name}": "no image is read" for name in boards.COMMANDS},
}


def test_every_command_is_looked_at():
    """Who adds a command says here what text of a model it prints."""
    found = {*(f"sim {name}" for name in sim.COMMANDS),
             *(f"firmware {name}" for name in firmware.COMMANDS),
             *(f"boards {name}" for name in boards.COMMANDS), "assembler"}
    assert found == SHOWN | SILENT.keys()


#: Where text of a model comes from: the only places that may ask for it, for they escape it.
SOURCES = {"stream": {"assembler/console/terminal.py"}, "decode": {"models/writing.py"}}


def text_sources(tree):
    """(method, line) of calls that give text of tokens: ``words.stream``, ``tokenizer.decode``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value)
            if name == "stream" and owner not in ("terminal", "torch.cuda") or (
                    name in ("decode", "decode_batch") and "tokenizer" in owner.lower()):
                yield name, node.lineno


def test_text_of_models_comes_escaped():
    """A command that takes text of a model past assembler.console.terminal fails here."""
    for package in ("assembler", "sim", "firmware", "boards", "models"):
        for path in (ROOT / package).rglob("*.py"):
            where = path.relative_to(ROOT).as_posix()
            for name, line in text_sources(ast.parse(path.read_text(encoding="utf-8"))):
                assert where in SOURCES[name], f"{where}:{line}: use console.terminal"
    train = (ROOT / "models" / "train.py").read_text(encoding="utf-8")
    assert train.count("sample(") == train.count("terminal.shown(sample(") == 1


def test_the_check_of_sources_sees_them():
    tree = ast.parse("stream = self._words.stream(ids)\nx = tokenizer.decode(y)\nb.decode()")
    assert list(text_sources(tree)) == [("stream", 1), ("decode", 2)]


def hostile():
    """Every token is an attack."""
    made = Tokenizer(models.WordLevel({f"{n} {EVIL[n % len(EVIL)]}": n for n in range(300)} | {
        "x": 300}, unk_token="x"))
    made.decoder = decoders.Fuse()
    return made


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    model = random_model.write(folder / "model", hidden=20, inner=20, layers=1, vocab=301,
                               eos_token_id=None)
    hostile().save(str(model / "tokenizer.json"))
    made = compile_model(model, CONFIGS["wide"], "test")
    made.save(folder / "image")
    return folder / "image"


def harmless(out):
    """Attacks are there, and only as text."""
    assert not commands(out), commands(out)
    assert r"\x1b]52;c;ZXZpbA==\x07" in out and "[red]" in out
    return out


@pytest.mark.parametrize("prompts", [[HOSTILE], [HOSTILE, "x", HOSTILE]])
def test_generate(image, prompts, capsys):
    argv = ["generate", str(image), "--tokens", "9" if prompts[1:] else "150", "--temperature",
            "9", *(f"--prompt={text}" for text in prompts)]
    assert report(sim.main, argv) == 0
    out = harmless(capsys.readouterr().out)
    assert prompts[1:] or all(evil in out for evil in (
        ":smile:", "[bold", "[/]", r"\u202e", r"\u2028"))


def terminal_of(monkeypatch, module):
    """A terminal that commands of ``module`` print on; rich's own sequences are taken out."""
    out = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **options: Console(
        file=out, force_terminal=True, color_system=None, width=2000, height=50, **options))
    return out


def without_rich(text):
    for sequence in ("\x1b[?25l", "\x1b[?25h", "\x1b[1A", "\x1b[2K", "\r", "\x1b[2m", "\x1b[0m",
                     "\x1b[1m"):
        text = text.replace(sequence, "")
    return text


def test_generate_on_a_terminal(image, monkeypatch, capsys):
    from tern_fpga.sim.commands import generate

    out = terminal_of(monkeypatch, generate)
    assert report(sim.main, ["generate", str(image), "--tokens", "30", "--temperature", "9",
                             f"--prompt={HOSTILE}", f"--prompt={HOSTILE}"]) == 0
    harmless(without_rich(out.getvalue()))
    harmless(capsys.readouterr().out)


@pytest.mark.parametrize("more, lines", [
    ([], f"{HOSTILE}\n{HOSTILE}\n"), ([f"--prompt={HOSTILE}"], ""),
    ([f"--prompt={HOSTILE}", "--prompt=x"], "")], ids=["lines", "prompt", "prompts"])
def test_chat(image, more, lines, monkeypatch, capsys):
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(CONFIGS["wide"]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(
        io.BytesIO(lines.encode()), encoding="utf-8"))
    assert report(firmware.main, ["chat", str(image), "--port", "golden", "--tokens", "20",
                                  "--temperature", "9", *more]) == 0
    out, err = capsys.readouterr()
    harmless(out)
    assert not commands(err)


@pytest.mark.parametrize("screen", [False, True])
def test_the_demo(tmp_path, monkeypatch, capsys, screen):
    from tests.campaigns.test_random_programs import CONFIGS as MACHINES

    made = random_image(tmp_path, MACHINES["narrow"], hidden=20, inner=33, layers=2, vocab=300)
    made.files[TOKENIZER] = hostile().to_str().encode()
    words = tokenizer.load(made)
    race = demo.Race(made, [5], 8)
    race.start()
    out = io.StringIO()
    console = Console(file=out, force_terminal=screen, color_system=None, width=2000)
    demo._tell(console, race, terminal.shown(HOSTILE), terminal.stream(words, [5]), 100)
    race.rtl.close()
    harmless(without_rich(out.getvalue()) + capsys.readouterr().out)


# Names of files

def test_names_are_not_obeyed(tmp_path, monkeypatch, capsys):
    """A model's folder is called like a sequence, and like rich's markup."""
    name = HOSTILE.replace("/", "") + "[bold"
    model = random_model.write(tmp_path / name, hidden=40, inner=72, layers=1, vocab=61)
    folder = tmp_path / f"image {name}"
    assert report(compiler.main, [str(model), "-o", str(folder), "--target", "sim-tiny"]) == 0
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(preset("sim-tiny")))
    assert report(firmware.main, ["upload", str(folder), "--port", "golden"]) == 0
    np.save(tmp_path / "ids.npy", [[1, 2]])
    assert report(sim.main, ["logits", str(folder), "--ids", str(tmp_path / "ids.npy"), "-o",
                             str(tmp_path / f"{name}.npy")]) == 0
    assert report(sim.main, ["generate", str(folder), "--prompt", "x"]) == 2
    out, err = capsys.readouterr()
    harmless(out)
    harmless(err)
    assert "[bold" in out and "[bold" in err


def test_the_name_of_a_board_is_not_obeyed(capsys):
    line = GoldenPort(CONFIGS["narrow"])
    *numbers, _ = link.IDENTITY.unpack(line.link.identity)
    line.link.identity = link.IDENTITY.pack(*numbers, b"[/red] [bold]")
    upload.show(Board(line), programs.token_loop(CONFIGS["narrow"]), "x")
    assert " bytes are on [/red] [bold], " in capsys.readouterr().err


def test_tables_do_not_obey_names(monkeypatch, capsys):
    from tern_fpga.sim.commands import positions

    cells = [HOSTILE, "[/]", "\x1b[2J"]
    table = positions.Table("a", "b", "c")
    table.add_row(*map(terminal.markup, cells))
    out = io.StringIO()
    Console(file=out, width=2000).print(table)
    harmless(out.getvalue())


def test_a_prompt_without_its_byte_order_mark(image, capsys, monkeypatch):
    """As an editor saved it: the mark and CR LF are not there."""
    assert terminal.typed("\ufeffa\r\nb\rc\ufeff") == "a\nb\rc\ufeff"
    mark = b"\xef\xbb\xbfa".decode("ascii", "surrogateescape")       # in the locale C
    assert terminal.typed(mark) == "a"

    def said(*argv):
        assert report(sim.main, ["generate", str(image), "--tokens", "3", *argv]) == 0
        return capsys.readouterr().out

    assert said("--prompt", "\ufeffx") == said("--prompt", "x")

    def talked(data):
        monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(CONFIGS["wide"]))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(
            io.BytesIO(data), newline="\n", encoding="utf-8"))
        assert report(firmware.main, ["chat", str(image), "--port", "golden", "--tokens",
                                      "2"]) == 0
        return capsys.readouterr().out

    plain = talked(b"x\nyy x\n\nzz\n")
    assert plain.count("\n") == 2 + plain.count("\\n") and "zz" not in plain
    assert talked(b"\xef\xbb\xbfx\r\nyy x\r\n\r\nzz\r\n") == plain == talked(b"x\r\nyy x\r\n")
