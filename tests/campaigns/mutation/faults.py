"""What can go wrong in one item of a netlist.

A fault changes the text of a cell or of a process. Its name (``kind: detail``) does not depend on
widths or on names of signals, so that the same fault can be put into the same place of another
configuration's netlist.
"""

import re


__all__ = ["KINDS", "faults"]


KINDS = ("operator", "swap", "off by one", "constant", "width", "reset", "condition", "assignment")

_OPERATOR = {"$add": "$sub", "$sub": "$add", "$and": "$or", "$or": "$and", "$xor": "$or",
             "$eq": "$ne", "$ne": "$eq", "$shl": "$shr", "$shr": "$shl", "$not": "$pos",
             "$neg": "$pos", "$reduce_or": "$reduce_and", "$reduce_and": "$reduce_or"}
_BORDER   = {"$lt": "$le", "$le": "$lt", "$gt": "$ge", "$ge": "$gt"}
_COMPARE  = {"$eq", "$ne", *_BORDER}
_COUNT    = {"$add", "$sub", *_COMPARE}
_WORD     = {"$mux", "$and", "$or", "$xor"}
_ORDERED  = {"$sub", *_BORDER}
_CUT      = {"$add", "$sub", "$mul", *_COMPARE}

_CONSTANT = re.compile(r"(\d+)'([01]+)")
_RESET    = re.compile(r"switch \\\w*rst(\$\d+)? \[0\]$")


def _constant(width, value):
    return f"{width}'{value % (1 << width):0{width}b}"


def _bits(spec):
    """Width and value of a constant; None if ``spec`` is none."""
    found = _CONSTANT.fullmatch(spec or "")
    return found and (int(found[1]), int(found[2], 2))


def _swapped(item):
    """``item`` with its inputs exchanged, their widths and signs too."""
    return re.sub(r"(?<=\\)([AB])(?=_WIDTH|_SIGNED| )",
                  lambda found: {"A": "B", "B": "A"}[found[1]], item.text)


def _cell(item, module):
    kind = item.type
    if kind in _OPERATOR:
        other = _OPERATOR[kind]
        yield "operator: another", item.text.replace(f"cell {kind} ", f"cell {other} "), \
            f"`{kind}` → `{other}`"
    if kind in _BORDER:
        other = _BORDER[kind]
        yield "off by one: border", item.text.replace(f"cell {kind} ", f"cell {other} "), \
            f"`{kind}` → `{other}`"
    if kind in _ORDERED or kind == "$mux" and item.port("A") != item.port("B"):
        yield "swap: inputs", _swapped(item), f"`{kind}`: A ↔ B"
    for port in "AB":
        if (known := _bits(item.port(port))) is not None:
            width, value = known
            if kind in _COUNT:
                for step in (1, -1):
                    new = _constant(width, value + step)
                    yield f"off by one: {port} {step:+}", item.with_port(port, new), \
                        f"`{kind}`, {port}: {value} → {int(new.split(chr(39))[1], 2)}"
            elif kind in _WORD and (width > 1 or kind == "$mux"):
                new = _constant(width, value ^ 1)
                yield f"constant: {port}", item.with_port(port, new), \
                    f"`{kind}`, {port}: {value} → {value ^ 1}"
        elif kind in _CUT and (width := item.parameter(f"{port}_WIDTH")) > 1:
            whole = module.wire(width)
            module.connect(whole, item.port(port))
            top = f"{whole} [{width - 2}]" if item.parameter(f"{port}_SIGNED") else "1'0"
            yield f"width: {port}", \
                item.with_port(port, f"{{ {top} {whole} [{width - 2}:0] }}"), \
                f"`{kind}`, {port}: {width} → {width - 1} bits"


def _register(item, module):
    width = item.parameter("WIDTH")
    if width > 1:
        whole = module.wire(width)
        module.connect(whole, item.port("D"))
        yield "width: register", item.with_port("D", f"{{ 1'0 {whole} [{width - 2}:0] }}"), \
            f"register: {width} → {width - 1} bits"


def _block(lines, start):
    """Index behind the ``end`` of the switch at ``start``."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    return next(k for k in range(start, len(lines)) if lines[k] == " " * indent + "end") + 1


def _process(item, module):
    lines = item.text.splitlines()
    join  = "\n".join
    resets = set()
    number = {"switch": 0, "assign": 0}
    for k, line in enumerate(lines):
        words = line.strip()
        if _RESET.match(words):
            end = _block(lines, k)
            resets |= set(range(k, end))
            yield "reset: dropped", join(lines[:k] + lines[end:]), "not reset"
        if k in resets:
            continue
        if words.startswith("switch "):
            n = number["switch"]
            number["switch"] += 1
            signal = words.removeprefix("switch ")
            labels = [at for at in range(k, _block(lines, k)) if lines[at].startswith(
                line[:len(line) - len(words)] + "  case ")]
            if len(labels) == 1 and lines[labels[0]].endswith("case 1'1"):
                for name, value in (("always", 1), ("never", 0)):
                    new = line.replace(words, f"switch 1'{value}")
                    yield f"condition: {n} {name}", join([*lines[:k], new, *lines[k + 1:]]), \
                        f"`{signal}` → {name}"
            elif len(labels) > 1:
                a, b, *_ = labels
                new = list(lines)
                new[a], new[b] = lines[b], lines[a]
                yield f"swap: arms of {n}", join(new), \
                    f"switch of `{signal}`: {lines[a].strip()} ↔ {lines[b].strip()}"
        elif words.startswith("assign ") and line.startswith("      "):
            n = number["assign"]
            number["assign"] += 1
            target, value = re.match(r"assign (\S+(?: \[[\d:]+\])?) (.*)$", words).groups()
            yield f"assignment: {n}", join(lines[:k] + lines[k + 1:]), f"without `{words}`"
            if (known := _bits(value)) is not None:
                new = line.replace(value, _constant(known[0], known[1] ^ 1))
                yield f"constant: {n}", join([*lines[:k], new, *lines[k + 1:]]), \
                    f"`{words}` → {known[1] ^ 1}"


class _Scratch:
    """Takes what a fault needs in its module, for when only its name is asked for."""
    def wire(self, width):
        return "$none"

    def connect(self, wire, signal):
        pass


def faults(item, module=None):
    """``{name: (text, before → after)}`` of all faults that ``item`` can have.

    ``module``: has ``wire(width)``, which returns the name of a new wire, and
    ``connect(wire, signal)``.
    """
    if item.type == "$dff":
        found = _register
    elif item.kind == "process":
        found = _process
    elif item.type in {*_OPERATOR, *_BORDER, "$mux", "$mul"}:
        found = _cell
    else:
        return {}
    return {name: (text, what) for name, text, what in found(item, module or _Scratch())}
