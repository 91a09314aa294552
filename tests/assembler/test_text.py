from dataclasses import replace
import random

from hypothesis import given, settings, strategies
import pytest

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError


CONFIG = replace(preset("ulx3s-85f"), program_words=4096)
HEAD = "        "


def words_of(instr, rng, count):
    """Words with every field at its extremes and at random values, legal or not."""
    for n in range(count):
        word = instr.opcode << isa.OPCODE.lo
        for f in instr.fields:
            top = (1 << f.width) - 1
            word |= [0, top, rng.getrandbits(f.width), min(top, rng.randrange(4))][n % 4] << f.lo
        yield word


@pytest.mark.parametrize("config", [None, CONFIG], ids=["bare", "target"])
@pytest.mark.parametrize("instr", isa.INSTRUCTIONS, ids=lambda i: i.mnemonic)
def test_words_round_trip_through_text(instr, config):
    words = list(words_of(instr, random.Random(instr.opcode), 64))
    assert text.assemble(text.disassemble(words, config), config).words == words


@settings(max_examples=200, deadline=None)
@given(strategies.lists(strategies.integers(0, (1 << isa.WORD_BITS) - 1), max_size=5))
def test_any_words_round_trip_through_text(words):
    assert text.assemble(text.disassemble(words, CONFIG), CONFIG).words == words


LEGAL = """\
        halt
L1:
        next
        emit
        set     r1, -3
        add_r   r7, 2147483647
        jump    L12
        bnz     r2, L1
        bns     L1
        stream  r1, address=0x40, words=1234
        load    u3, r1, n=100, pitch=7
        store   v3+x, r0, n=64, address=0xffffffff, pitch=7
        embed   v3, r2, n=64, address=0x10, pitch=9
L12:
        mul     _, v1, u2+x, n=64, sumsq=s31
        add     s1, s2, s3, n=1
        fma     v0+x, v1, s2, u3, n=128, absmax=s0
        sigmoid v4, v5, n=64
        silu    v4, u5, n=64
        scan    v4, v5, v6+x, v7, n=3
        carry   v6+x, v4, n=3
        quant   q5, v1, s2, n=64
        div     s1, s2, s3
        sqrt    s1, s2
        const   s1, -0.5
        matmul  _, q5, s2, rows=65535, blocks=3
        matmul  v3, q5, s2, rows=64, blocks=4
"""


def test_text_round_trips_through_words():
    program = text.assemble(LEGAL, CONFIG)
    assert text.disassemble(program.words, CONFIG) == LEGAL
    assert {isa.decode(w)[0] for w in program.words} == {i.mnemonic for i in isa.INSTRUCTIONS}


def test_names_numbers_and_comments():
    program = text.assemble("""; a comment
        .alias hidden v8
        .alias also hidden
        .alias d 0x40
here: there:
        mul also+x, hidden , u16, n=d+1, absmax=s3 ; another
        jump there
    last: bnz r1, 1
""", CONFIG)
    assert program.words == [
        isa.encode("mul", dst=isa.Operand(isa.Space.V, 8, True), a=isa.Operand(isa.Space.V, 8),
                   b=isa.Operand(isa.Space.U, 16), n=65, stat=1, stat_to=3),
        isa.encode("jump", target=0), isa.encode("bnz", r=1, target=1)]
    assert program.lines == [6, 7, 8]
    assert program.labels == {"here": 0, "there": 0, "last": 2}


def test_constants_are_rounded_to_the_float_of_the_target():
    for value in ("0.1", "1e99", "-3", "0"):
        word = text.assemble(f"const s1, {value}", CONFIG).words[0]
        assert isa.decode(word)[1]["value"] == CONFIG.float.encode(
            CONFIG.float.round(float(value)))
    assert isa.decode(text.assemble("const s1, 0x12").words[0])[1]["value"] == 0x12


MISTAKES = [
    ("frob v1", "no instruction 'frob'"),
    ("mul v1, v2, n=3", "mul takes 3 operands"),
    ("mul v1, v2, v3", "mul lacks n="),
    ("mul v1, v2, v3, n=65536", "does not fit 16 bits"),
    ("mul v1, v2, v3, n=-1", "does not fit 16 bits"),
    ("mul v1, v2, v3, n=x", "'x' is no number"),
    ("mul v1, v2, v3, n=1, n=2", "n is given twice"),
    ("mul v1, v2, v3, n=1, absmax=s1, sumsq=s2", "sumsq is given twice"),
    ("mul v1, v2, v3, n=1, rows=2", "mul has no rows="),
    ("mul u1, v2, v3, n=1", "mul dst takes one of v, s, _"),
    ("mul v1, _, v3, n=1", "mul a takes one of v, u, s"),
    ("mul s1, v2, v3, n=2", "needs n=1"),
    ("mul v1, v2, w3, n=1", "'w3' is no v or u or s register"),
    ("mul v1, v2, s3+x, n=1", "only v and u registers take"),
    ("mul v1, v2, s32, n=1", "no register s32"),
    ("mul v1024, v2, v3, n=1", "no register v1024"),
    ("mul v128, v2, v3, n=1", "mul dst: v128 .* leave the 128 registers"),
    ("mul v127, v2, v3, n=65", "mul dst: v127 and the 1 after it"),
    ("mul v1, v2, u127, n=513", "mul b: u127 and the 1 after it"),
    ("quant q63, v2, s3, n=65", "quant q: q63 and the 1 after it"),
    ("matmul _, q61, s3, rows=1, blocks=10", "matmul q: q61 and the 3 after it"),
    ("set r8, 1", "no register r8"),
    ("set r1, 4294967296", "does not fit 32 bits"),
    ("jump nowhere", "unknown label 'nowhere'"),
    ("const s1, nan", "not finite"),
    ("const s1, half", "'half' is no number"),
    (".word 0x" + "f" * 33, "does not fit 128 bits"),
    (".alias v3 v4", "is used twice or is a register"),
    (".alias a", ".alias takes a name"),
    ("1a: halt", "label '1a' is no name"),
]


@pytest.mark.parametrize("line, message", MISTAKES, ids=[m[0][:30] for m in MISTAKES])
def test_mistakes_name_file_and_line(line, message):
    with pytest.raises(TernError, match=f"^file.tasm:2: .*{message}"):
        text.assemble(f"; first\n{line}\n", CONFIG, "file.tasm")


SOURCE = """\
.alias width 8
.alias again v3
loop:   next
        mul v1, v2, agian, n=width
        mul v1, v2, again, n=width, absmix=s1
        mul v1, v2, v3, n=widht
        set r1, 1
done:   bnz r1, lop
        jump dnoe
        seet r1, 1
        jump elsewhere
"""
FOUND = """\
x.tasm:4: 'agian' is no v or u or s register; is it again?
x.tasm:5: mul has no absmix=; is it absmax?
x.tasm:6: 'widht' is no number; is it width?
x.tasm:8: unknown label 'lop'; is it loop?
x.tasm:9: unknown label 'dnoe'; is it done?
x.tasm:10: no instruction 'seet'; is it set?
x.tasm:11: unknown label 'elsewhere'"""


def test_all_mistakes_are_told_in_order_with_what_was_meant():
    with pytest.raises(TernError) as caught:
        text.assemble(SOURCE, CONFIG, "x.tasm")
    assert str(caught.value) == FOUND and len(caught.value.args) == 7


def test_mistakes_in_names_and_in_code_are_in_the_order_of_the_lines():
    with pytest.raises(TernError) as caught:
        text.assemble("frob\n.alias a\njump b\n1x: halt\n", CONFIG, "x.tasm")
    assert [line.split()[0] for line in caught.value.args] == [f"x.tasm:{n}:" for n in
                                                               (1, 2, 3, 4)]


def test_a_file_of_mistakes_is_cut_short():
    with pytest.raises(TernError) as caught:
        text.assemble("what\n" * 300, CONFIG, "x.tasm")
    assert len(caught.value.args) == 101 and caught.value.args[-1] == (
        "x.tasm: more than 100 mistakes, of which these are the first")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_an_editor(end):
    """Unicode has more ends of lines, which come with pasted text: here they end no comment."""
    source = f"\fnext ; a\u2028frob\x85frob\x0bfrob{end}halt"
    assert text.assemble(source).lines == [1, 2]
    with pytest.raises(TernError, match="^x.tasm:3: no instruction 'what'"):
        text.assemble(f"{source}{end}what", name="x.tasm")


def test_a_number_without_a_float_format_is_refused():
    with pytest.raises(TernError, match="program:1: the number 0.5 needs a target"):
        text.assemble("const s1, 0.5")


def test_a_program_too_long_for_the_target_is_refused():
    with pytest.raises(TernError, match="17 instructions do not fit the 16"):
        text.assemble("halt\n" * 17, replace(CONFIG, program_words=16))
