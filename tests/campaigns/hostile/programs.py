"""Hostile text assembly, instruction files and images."""

from dataclasses import asdict
import hashlib
import json
import struct
import zlib

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.files.image import BINARY, MANIFEST, PROGRAM, TOKENIZER
from tests.campaigns.hostile.corpus import CONFIG
from tests.campaigns.hostile.mutate import INTEGERS, as_json, changed_tree, damaged, value
from tests.campaigns.hostile.sandbox import Case, Fifo, Link


__all__ = ["tasm", "binaries", "images", "manifests", "sealed", "runs"]


_HEADER = struct.Struct("<8sI8sIII")
_ENTRY  = struct.Struct("<24sQQQI")

_TOKENS = ("v0", "u1+x", "s99", "q1024", "r8", "v" + "9" * 5000, "9" * 5000, "0x" + "f" * 6000,
           "-1", "1e999", "nan", "-inf", "1e-999", "٣", "v٣", "१", "0b" + "1" * 9000, "1_0", "0o17",
           "_", "__", "+", "1+" * 3000 + "1", "d+d", "again", "hidden", "n=1", "n=0", "n=65536",
           "=", "==", "n==1", "absmax=s1", "rows=65535", "blocks=8191", "words=0xffffffff",
           "address=0xffffffff", "\x00", "\x1b[2J", "\ufeff", "\u2028", "a:", ":", ";", ",", "\x0b",
           ".alias", ".alias a a", ".word", ".word 0x" + "f" * 33, ".word -1", "x" * 4000, "é",
           "e", "inf", "0x", "--1", "s31", "v127", "v128")


def tasm(corpus, rng):
    """Text assembly."""
    text = rng.choice((corpus.tasm, corpus.source)).decode()
    match rng.randrange(5):
        case 0:
            data = damaged(text.encode(), rng)
        case 1:
            lines = text.splitlines(keepends=True)
            for _ in range(rng.choice((1, 2, 9))):
                at = rng.randrange(len(lines))
                lines[at] = rng.choice((lines[at] * 3, lines[rng.randrange(len(lines))],
                                        lines[at].rstrip("\n") + rng.choice(_TOKENS) + "\n",
                                        rng.choice(_TOKENS) + "\n", lines[at].upper()))
            data = "".join(lines).encode()
        case 2:
            data = rng.choice((
                b":" * 200_000, b"".join(b"l%d:" % n for n in range(60_000)), b"x" * 3_000_000,
                b"a" * 1_000_000 + b":", b"halt\n" * 300_000, b"\n" * 2_000_000, b"\0" * 100_000,
                b".alias a0 1\n" + b"".join(b".alias a%d a%d\n" % (n + 1, n) for n in range(20_000))
                + b"set r1, a20000\n", b".alias big " + b"9" * 200_000 + b"\nset r1, big\n" * 50,
                b"set r1, " + b"1+" * 400_000 + b"1", b"mul " + b"v1," * 300_000, b"\xff\xfe" * 999,
                b"const s1, " + b"9" * 500_000, b"const s1, 0x" + b"f" * 500_000,
                b".alias big 0x" + b"f" * 300_000 + b"\n" + b"set r1, big+big\n" * 9,
                b"mul v1, v2, v3, " + b"n=1," * 100_000, b"; " + b"\xe2\x80\xa8halt" * 9999,
                b"jump " + b"9" * 4000, b"set r1, 0x" + b"_".join([b"f"] * 50_000)))
        case _:
            words = text.split(" ")
            for _ in range(rng.choice((1, 1, 2, 5))):
                words[rng.randrange(len(words))] = rng.choice((*_TOKENS, str(rng.choice(INTEGERS))))
            data = " ".join(words).encode()
    target = rng.choice(((), ("--target", "ulx3s-25f")))
    return Case("text assembly", "x.tasm", ("assembler", "x.tasm", *target),
                files={"x.tasm": data}, named=("x.tasm",), outputs=("x.bin",), lines=101)


def _word(rng):
    """A word near to what is legal."""
    instr = rng.choice(isa.INSTRUCTIONS)
    word = (rng.randrange(64) if rng.randrange(20) == 0 else instr.opcode) << isa.OPCODE.lo
    for f in instr.fields:
        top = (1 << f.width) - 1
        word |= min(top, rng.choice((0, 1, top, rng.getrandbits(f.width), rng.randrange(64),
                                     rng.randrange(16)))) << f.lo
    return word


def _words(corpus, rng):
    """The compiled program with some words changed."""
    words = [int.from_bytes(corpus.words[n:n + 16], "little")
             for n in range(0, len(corpus.words), 16)]
    if rng.randrange(4) == 0:
        words = [_word(rng) for _ in range(rng.choice((1, 4, 30)))]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(words))
        match rng.randrange(6):
            case 0:
                words[at] ^= 1 << rng.randrange(128)
            case 1:
                words[at] = _word(rng)
            case 2:
                words[at] = words[rng.randrange(len(words))]
            case 3:
                words[at] = isa.encode("jump", target=rng.choice((at, 0, rng.randrange(99))))
            case 4:
                instr = isa.INSTRUCTIONS[0]
                try:
                    instr = isa.lookup(isa.decode(words[at])[0])
                except ValueError:
                    continue
                for f in instr.fields:
                    if f.name in ("address", "words", "n", "rows", "blocks", "pitch", "imm"):
                        words[at] &= ~((1 << f.width) - 1 << f.lo)
                        words[at] |= min((1 << f.width) - 1, abs(rng.choice(INTEGERS))) << f.lo
            case _:
                words[at] = rng.getrandbits(128)
    return b"".join(word.to_bytes(16, "little") for word in words)


def binaries(corpus, rng):
    """Files of instruction words, to be shown as text."""
    data = rng.choice((damaged(corpus.words, rng), _words(corpus, rng),
                       rng.randbytes(16 * rng.randrange(60)), bytes(16) * 20_000))
    to = rng.choice(((), ("-o", "x.tasm")))
    return Case("instruction files", "x.bin", ("assembler", "--disassemble", "x.bin", *to),
                files={"x.bin": data}, named=("x.bin",), outputs=("x.tasm",))


def sealed(data, *, words=None, entries=None, header=None, config=None):
    """An image file with changes, and all checksums right again.

    ``words``: the program's bytes. ``entries``: function of the list of [name, address, bytes,
    offset, CRC]. ``header``: function of the list [magic, version, digest, address, length,
    number]. ``config``: a tree whose digest goes in.
    """
    fields = list(_HEADER.unpack_from(data))
    table = [list(e) for e in _ENTRY.iter_unpack(
        data[_HEADER.size:_HEADER.size + _ENTRY.size * fields[5]])]
    body = bytearray(data[_HEADER.size + _ENTRY.size * fields[5] + 4:])
    start = len(data) - len(body)
    if words is not None:
        fields[4] = len(words) // 16
        table[0][2:4] = len(words), len(data)       # at the end of the file
        body += words
    if config is not None:
        fields[2] = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).digest()[:8]
    if entries:
        entries(table)
    for entry in table:
        if entry[3] and entry[3] + entry[2] <= start + len(body):
            entry[4] = zlib.crc32((bytes(start) + body)[entry[3]:entry[3] + entry[2]])
    if header:
        header(fields)
    head = _HEADER.pack(*fields) + b"".join(_ENTRY.pack(*entry) for entry in table)
    return head + zlib.crc32(head).to_bytes(4, "little") + bytes(body)


def runs(rng):
    """Command lines that read an image."""
    return rng.choice((
        ("sim", "generate", "image", "--ids", "1,5,9", "--tokens", "4"),
        ("sim", "generate", "image", "--ids", "1,5,9", "--tokens", "4"),
        ("sim", "generate", "image", "--prompt", "the lion", "--tokens", "4"),
        ("sim", "generate", "image", "--ids", "1,5,9", "--ids", "3", "--tokens", "3",
         "--engine", "float"),
        ("sim", "generate", "image", "--prompt", "a", "--tokens", "3", "--engine", "float",
         "--temperature", "1"),
        ("sim", "logits", "image", "--ids", "ids.npy", "-o", "logits.npy"),
        ("sim", "perplexity", "image", "--text", "text.txt"),
        ("sim", "perf", "image", "--target", "ulx3s-25f"),
        ("assembler", "--disassemble", "image/image.bin"),
    ))


def _case(corpus, rng, kind, what, files, **options):
    base = {f"image/{name}": data for name, data in corpus.image.items()}
    return Case(kind, what, runs(rng), files={f"image/{k}": v for k, v in files.items()},
                base=base | {"ids.npy": corpus.ids, "text.txt": b"the lion\n" * 2},
                named=("image", BINARY, MANIFEST, PROGRAM, TOKENIZER), outputs=("logits.npy",),
                **options)


def images(corpus, rng):
    """image.bin: damaged, or whole and hostile."""
    data = corpus.image[BINARY]

    def entries(table):
        entry = table[rng.randrange(len(table))]
        match rng.randrange(5):
            case 0:
                entry[rng.choice((1, 2, 3))] = rng.choice(INTEGERS) & (1 << 64) - 1
            case 1:
                entry[0] = rng.choice((b"", b"\xff" * 24, b"\x1b[2J", table[0][0], b"\0a"))
            case 2:
                entry[1] = table[0][1]
            case 3:
                table.append(list(entry))
            case _:
                entry[3] = 0

    def header(fields):
        match rng.randrange(4):
            case 0:
                fields[5] = rng.choice((0, 1, 64, 65, 1 << 20, (1 << 32) - 1))
            case 1:
                fields[rng.choice((3, 4))] = rng.choice(INTEGERS) & (1 << 32) - 1
            case 2:
                fields[4] = rng.choice((0, 1, 4, fields[4] + 1))
            case _:
                fields[rng.choice((1, 3, 4, 5))] ^= 1 << rng.randrange(32)

    match rng.randrange(6):
        case 0:
            data, what = damaged(data, rng), "damaged"
        case 1:
            data, what = sealed(data, entries=entries), "section table"
        case 2:
            data, what = sealed(data, header=header), "header"
        case _:
            data, what = sealed(data, words=_words(corpus, rng)), "program"
    return _case(corpus, rng, "images", what, {BINARY: data})


def manifests(corpus, rng):
    """manifest.json, and the files beside it."""
    tree = json.loads(corpus.image[MANIFEST])
    files = {}
    match rng.randrange(5):
        case 0:
            files[MANIFEST] = damaged(corpus.image[MANIFEST], rng)
        case 1:
            config = asdict(CONFIG)
            config[rng.choice(sorted(config))] = value(rng) if rng.randrange(2) else rng.choice(
                (True, 8.0, 16.0, 1 << 34, 512, 4096, 1, 2, 64, 128))
            files[MANIFEST] = as_json(tree | {"config": config})
            try:
                files[BINARY] = sealed(corpus.image[BINARY], config=json.loads(as_json(config)))
            except (ValueError, RecursionError):
                pass
        case 2:
            tree["model"] |= {rng.choice(("vocab_size", "eos_token_id")): value(rng)}
            files[MANIFEST] = as_json(tree)
        case 3:
            name = rng.choice(sorted(corpus.image))
            files[name] = rng.choice((Fifo, Link("/dev/zero"), Link("/etc/passwd"), Link(name),
                                      Link("../../beside/model.safetensors"), b"", b"\xff" * 50))
        case _:
            files[MANIFEST] = as_json(changed_tree(tree, rng, depth=3))
    return _case(corpus, rng, "manifests", "manifest", files)
