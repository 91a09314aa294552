"""Words that docstrings, comments and pages do not use: they make a reader look twice."""

import ast
import io
import re
import subprocess
import tokenize

import pytest

from tests.verilog import ROOT


# Not for hardware, nor for files and messages: name the block, and say what it does.
BANNED = re.compile(r"""
    \b(who|whom|nobody|somebody|anybody)\b
  | \bcomes?\ from\ afar\b | \bat\ (its|their|the)\ [\w']+\ door\b | \bstands?\ still\b
  | \bwhat\ is\ left\b | \bthose\ that\ come\ from\b | \bgoes?\ with\ no\b | \bmeets?\ a\ model\b
  """, re.IGNORECASE | re.VERBOSE)


def prose(source):
    """``(line, text)`` of the docstrings and comments of a file, each joined to one line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(
                node.value.value, str):
            yield node.lineno, " ".join(node.value.value.split())
    lines = []                          # of a block of comments
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append((token.start[0], token.string.lstrip("# ")))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and lines:
            yield lines[0][0], " ".join(text for _, text in lines)
            lines = []


def _files(*patterns):
    return subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE, encoding="utf-8").stdout.split()


def test_code_says_what_it_does():
    found = []
    for name in _files("assembler/*.py", "boards/*.py", "firmware/*.py", "hw/*.py", "models/*.py",
                       "sim/*.py", "tern_fpga/*.py"):
        for line, text in prose((ROOT / name).read_text(encoding="utf-8")):
            found += [f"{name}:{line}: {match[0]}" for match in BANNED.finditer(text)]
    assert not found, "\n".join(found)


def test_pages_say_what_is_so():
    found = []
    for name in _files("README.md", "docs/*.md"):
        if name.startswith("docs/reports/"):        # generated
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
        found += [f"{name}: {match[0]}" for match in BANNED.finditer(" ".join(text.split()))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", [
    '"""Runs ahead of who takes the beats."""', "# idle cycles are laid at their stream's door",
    "x = 1  # nobody reads it", '"""Words for\nwho meets a model that does not fit."""',
    "# the trees of the\n# others stand still\nx = 1"])
def test_sentences_that_were_hard_are_found(text):
    assert any(BANNED.search(each) for _, each in prose(f"{text}\n"))


@pytest.mark.parametrize("text", ["who = 1\n", '"""Adder trees of inactive positions hold."""\n',
                                  "# the whole row\nx = 'nobody'\n"])
def test_other_sentences_are_not(text):
    assert not any(BANNED.search(each) for _, each in prose(text))
