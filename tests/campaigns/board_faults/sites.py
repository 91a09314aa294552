"""What can go wrong in the Python source of the board layer: every fault of a file, and a draw.

A fault replaces one stretch of a file's text. Places are the assignments, arguments, constants and
statements of the file; each has some faults of several kinds. Names of files, lines and texts
are all that a fault is made of, so that anybody can put it in by hand.
"""

import ast
from collections import defaultdict
from dataclasses import dataclass
import functools
from pathlib import Path
import random


__all__ = ["FILES", "KINDS", "ROOT", "Fault", "draw", "faults", "is_another_program",
           "sites"]


ROOT  = Path(__file__).parents[3]
FILES = ("boards/top.py", "boards/pll.py", "boards/pins.py", "boards/clocks.py")
KINDS = ("drop", "swap", "sibling", "constant", "off by one", "operator", "invert", "domain")


@dataclass(frozen=True, order=True)
class Fault:
    """``text`` in place of the characters ``start`` to ``end`` of ``file``.

    ``before`` and ``after`` are the argument or the statement around it.
    """
    file:   str
    line:   int
    kind:   str
    before: str
    after:  str
    start:  int
    end:    int
    text:   str

    @property
    def name(self):
        return f"{self.file}:{self.line}: {self.before} -> {self.after or 'nothing'}"

    @property
    def key(self):
        """A name that stays when lines move."""
        return f"{self.file}: {self.before} -> {self.after or 'nothing'}"

    def source(self):
        """The file's text with the fault."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        return text[:self.start] + self.text + text[self.end:]


# Words of which one can stand for another.
_WORDS = (
    ("ENABLED", "DISABLED"),
    ("CLKOP", "CLKOS", "CLKOS2", "CLKOS3", "INT_OP", "USERCLOCK"),
    ("DIVA", "DIVB", "DIVC", "DIVD"),
    ("sync", "memory", "part"),
    ("i", "o", "io"),
)
_OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Div: "*", ast.FloorDiv: "*",
              ast.BitAnd: "|", ast.BitOr: "&", ast.LShift: ">>", ast.RShift: "<<", ast.Mod: "//"}
_COMPARE   = {ast.Eq: ("!=",), ast.NotEq: ("==",), ast.Lt: ("<=", ">"), ast.LtE: ("<", ">="),
              ast.Gt: (">=", "<"), ast.GtE: (">", "<="), ast.Is: ("is not",), ast.IsNot: ("is",),
              ast.In: ("not in",), ast.NotIn: ("in",)}
# Attributes that are no values: methods are told from their calls.
_NO_VALUES = {"submodules", "domains", "d"}


class _Source:
    """The tree of a file, and where each node stands in its text."""
    def __init__(self, file):
        self.file = file
        self.text = (ROOT / file).read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.rows = [0]
        for row in self.text.split("\n"):
            self.rows.append(self.rows[-1] + len(row) + 1)
        assert self.text.isascii(), f"{file}: columns would be bytes"
        self.parent = {child: node for node in ast.walk(self.tree)
                       for child in ast.iter_child_nodes(node)}
        self.pieces = list(self._pieces())

    def span(self, node):
        return (self.rows[node.lineno - 1] + node.col_offset,
                self.rows[node.end_lineno - 1] + node.end_col_offset)

    def of(self, node):
        start, end = self.span(node)
        return self.text[start:end]

    def above(self, node):
        while node := self.parent.get(node):
            yield node

    def hardware(self, node):
        """Whether the node says what is built: no text, no message of an error, no import."""
        for each in (node, *self.above(node)):
            if isinstance(each, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)):
                return False
            if isinstance(each, ast.Assign) and self.of(each).startswith("__all__"):
                return False
            if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
                return False
            if isinstance(each, ast.arguments) or self._decorates(each):
                return False
        return True

    def _decorates(self, node):
        return node in getattr(self.parent.get(node), "decorator_list", ())

    def _pieces(self):
        """Spans of what a fault is named by: arguments and entries by name, assignments in lists,
        statements, of those with a body the head."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.keyword) and node.arg:
                yield self.span(node)
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values):
                    if key is None:         # **options
                        continue
                    yield self.span(key)[0], self.span(value)[1]
            elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.List):
                yield from map(self.span, node.value.elts)
            if isinstance(node, ast.stmt):
                start, end = self.span(node)
                if body := getattr(node, "body", None):
                    end = start + len(self.text[start:self.span(body[0])[0]].rstrip())
                yield start, end

    def around(self, start, end):
        """The smallest piece around a span."""
        return min((piece for piece in self.pieces if piece[0] <= start and end <= piece[1]),
                   key=lambda piece: piece[1] - piece[0], default=(start, end))

    def without(self, node, siblings):
        """Span of an element of a list with the comma behind or before it."""
        start, end = self.span(node)
        after = len(self.text[end:]) - len(self.text[end:].lstrip())
        if self.text[end + after] == ",":
            return start, end + after + 1
        before = self.text[:start].rstrip()
        if before.endswith(",") and len(siblings) > 1:
            return len(before) - 1, end
        return start, end


def _one_line(text):
    return " ".join(text.split())


@functools.cache
def faults(file):
    """All faults of a file; not every one :func:`is_another_program`, which takes long to tell."""
    source, found = _Source(file), {}
    for kind, (start, end), text in _edits(source):
        if text == source.text[start:end]:
            continue
        first, last = source.around(start, end)
        before = _one_line(source.text[first:last])
        after  = _one_line(source.text[first:start] + text + source.text[end:last])
        line   = source.text.count("\n", 0, first) + 1
        fault  = Fault(file, line, kind, before, after.strip(","), start, end, text)
        found.setdefault((start, end, text), fault)
    return sorted(found.values())


def is_another_program(fault):
    """Whether Python reads the source with ``fault``, and not as the one without it."""
    try:
        tree = ast.parse(fault.source())
    except SyntaxError:
        return False
    return ast.dump(tree) != ast.dump(ast.parse((ROOT / fault.file).read_text(encoding="utf-8")))


def sites(files=FILES):
    """``{(file, line, before): [Fault]}``"""
    found = defaultdict(list)
    for file in files:
        for fault in faults(file):
            found[fault.file, fault.line, fault.before].append(fault)
    return found


def draw(seed, files=FILES):
    """Endless faults in the order of ``seed``: a place first, then a kind, then what is wrong, so
    that a place of which much can be wrong counts once until all had their turn."""
    places = {place: list(some) for place, some in sorted(sites(files).items())}
    random_ = random.Random(f"board faults {seed}")
    while places:
        order = list(places)
        random_.shuffle(order)
        for place in order:
            kind  = random_.choice(sorted({fault.kind for fault in places[place]}))
            fault = random_.choice([each for each in places[place] if each.kind == kind])
            places[place].remove(fault)
            if not places[place]:
                del places[place]
            if is_another_program(fault):
                yield fault


def _edits(source):
    """``kind, span, new text`` of each fault."""
    siblings = _siblings(source)
    for node in ast.walk(source.tree):
        if source.hardware(node):
            for method in _METHODS:
                yield from method(source, node, siblings)


def _scope(source, node):
    """The class, or the function outside of classes, that a node is in."""
    inside = [each for each in source.above(node)
              if isinstance(each, (ast.ClassDef, ast.FunctionDef))]
    classes = [each for each in inside if isinstance(each, ast.ClassDef)]
    return (classes or inside or [source.tree])[0]


def _siblings(source):
    """Attributes of the same object, and variables that are bound together: ``{key: names}``."""
    found = defaultdict(set)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr not in _NO_VALUES:
            call = source.parent[node]
            if not (isinstance(call, ast.Call) and call.func is node) \
                    or source.of(node.value) == "io":
                found[_owner(source, node)].add(node.attr)
        elif isinstance(node, ast.AnnAssign):
            found[_scope(source, node), "self"].add(node.target.id)
        elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
            names = [each.id for each in node.elts if isinstance(each, ast.Name)]
            for name in names:
                found[_scope(source, node), "name", name].update(names)
    return found


def _owner(source, node):
    return _scope(source, node), source.of(node.value)


def _constants(source, node, siblings):
    if not isinstance(node, ast.Constant):
        return
    value, span = node.value, source.span(node)
    if isinstance(value, bool):
        yield "constant", span, str(not value)
    elif isinstance(value, int):
        yield "off by one", span, f"{value + 1}"
        if value:
            yield "off by one", span, f"{value - 1}"
        for bit in range(value.bit_length()):
            yield "constant", span, f"{value ^ 1 << bit}"
    elif isinstance(value, float):
        yield from (("constant", span, f"{other!r}") for other in (value * 10, value / 2))
    elif isinstance(value, str):
        kind = "domain" if value in _WORDS[3] else "constant"
        for words in _WORDS:
            if value in words:
                yield from ((kind, span, f'"{word}"') for word in words if word != value)
        if value.isdigit():
            yield from (("off by one", span, f'"{int(value) + step}"') for step in (1, -1))


def _arguments(source, node, siblings):
    if not isinstance(node, ast.Call):
        return
    for keyword in node.keywords:
        if keyword.arg is None:
            yield "drop", source.without(keyword, node.keywords), ""
            continue
        yield "drop", source.without(keyword, [*node.args, *node.keywords]), ""
        value, span = source.of(keyword.value), source.span(keyword.value)
        for other in node.keywords:
            if other.arg and other.lineno >= keyword.lineno and other is not keyword:
                yield from _swap(source, keyword.value, other.value)
        number = isinstance(keyword.value, (ast.Attribute, ast.Name, ast.BinOp))
        if number and keyword.arg.startswith("p_"):
            yield from (("off by one", span, f"{value} {step}") for step in ("+ 1", "- 1"))
        elif keyword.arg.startswith("i_"):
            yield from (("constant", span, f"Const({bit})") for bit in (0, 1))
            yield "invert", span, f"~{value}"
        elif number and not keyword.arg.startswith(("o_", "a_")):
            yield from (("constant", span, f"({value}) {change}") for change in ("* 2", "// 2"))
            yield "invert", span, f"-({value})"
    for first, second in zip(node.args, node.args[1:]):
        if not isinstance(second, ast.Starred):
            yield from _swap(source, first, second)
    if isinstance(node.func, ast.Call) and source.of(node.func.func) == "DomainRenamer":
        yield "domain", source.span(node), source.of(node.args[0])
    if source.of(node.func) in ("abs", "min", "max", "round") and len(node.args) == 1 \
            and not node.keywords:
        yield "drop", source.span(node), source.of(node.args[0])
    if isinstance(node.func, ast.Attribute) and node.func.attr == "eq":
        span, value = source.span(node.args[0]), source.of(node.args[0])
        yield "invert", span, f"~({value})"
        yield from (("constant", span, bits) for bits in ("0", "-1"))


def _swap(source, first, second):
    (start, end), (begin, stop) = sorted((source.span(first), source.span(second)))
    if end <= begin:
        text = source.text
        yield "swap", (start, stop), text[begin:stop] + text[end:begin] + text[start:end]


def _expressions(source, node, siblings):
    span = source.span(node) if hasattr(node, "lineno") else None
    match node:
        case ast.BinOp():
            left, right = source.of(node.left), source.of(node.right)
            if type(node.op) in _OPERATORS:
                yield "operator", span, f"{left} {_OPERATORS[type(node.op)]} {right}"
            yield from (("drop", span, side) for side in (left, right))
        case ast.UnaryOp():
            yield "invert", span, source.of(node.operand)
        case ast.BoolOp():
            values = [source.of(value) for value in node.values]
            other  = " or " if isinstance(node.op, ast.And) else " and "
            yield "operator", span, other.join(f"({value})" for value in values)
            this   = " and " if isinstance(node.op, ast.And) else " or "
            for n in range(len(values)):
                yield "drop", span, this.join(f"({v})" for k, v in enumerate(values) if k != n)
        case ast.Compare():
            sides = [node.left, *node.comparators]
            for left, op, right in zip(sides, node.ops, sides[1:]):
                between = source.span(left)[1], source.span(right)[0]
                yield from (("operator", between, f" {new} ") for new in _COMPARE[type(op)])
        case ast.IfExp():
            yield from _swap(source, node.body, node.orelse)
        case ast.If():
            test = source.span(node.test)
            yield "invert", test, f"not ({source.of(node.test)})"
            yield from (("constant", test, word) for word in ("True", "False"))


def _names(source, node, siblings):
    if not (isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load)):
        return
    if isinstance(node, ast.Name):
        for name in sorted(siblings.get((_scope(source, node), "name", node.id), ())):
            yield "sibling", source.span(node), name
        return
    call, owner = source.parent[node], source.of(node.value)
    if isinstance(call, ast.Call) and call.func is node and owner != "io":
        return
    if owner.endswith(".d"):
        for domain in ("comb", "sync", "memory"):
            yield "domain", source.span(node), f"{owner}.{domain}"
    elif node.attr not in _NO_VALUES:
        for name in sorted(siblings[_owner(source, node)]):
            yield "sibling", source.span(node), f"{owner}.{name}"


def _statements(source, node, siblings):
    if isinstance(node, (ast.Expr, ast.AugAssign, ast.Continue)):
        yield "drop", source.span(node), "pass"
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute) \
            and source.of(node.target.value).endswith(".d"):
        owner = source.of(node.target.value)
        for domain in ("comb", "sync", "memory"):
            yield "domain", source.span(node.target), f"{owner}.{domain}"
    if isinstance(node, ast.Assign):
        kept = [target for target in node.targets
                if not source.of(target).startswith(("m.submodules", "m.domains"))]
        if len(kept) < len(node.targets):
            words = [source.of(each) for each in (*kept, node.value)]
            yield "drop", source.span(node), " = ".join(words)
    if isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load):
        if len(node.elts) > 1:
            for each in node.elts:
                yield "drop", source.without(each, node.elts), ""
        calls = [each.args[0] for each in node.elts
                 if isinstance(each, ast.Call) and source.of(each.func).endswith(".eq")]
        elements = [each for each in node.elts if not isinstance(each, ast.Starred)]
        for some in (calls, [] if calls else elements):
            for n, first in enumerate(some):
                for second in some[n + 1:]:
                    yield from _swap(source, first, second)
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values):
            if key is None:
                continue
            start, _ = source.span(key)
            end = source.without(value, node.values)[1]
            yield "drop", (start, end), ""
        for n, first in enumerate(node.values):
            for second in node.values[n + 1:]:
                yield from _swap(source, first, second)


_METHODS = (_constants, _arguments, _expressions, _names, _statements)
