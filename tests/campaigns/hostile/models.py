"""Hostile checkpoints: JSON, safetensors, shards, names of files."""

import json

import numpy as np

from tests.campaigns.hostile.corpus import header_of, safetensors
from tests.campaigns.hostile.mutate import (
    INTEGERS,
    STRINGS,
    Raw,
    as_json,
    changed_tree,
    damaged,
    value,
)
from tests.campaigns.hostile.sandbox import Case, Fifo, Link


__all__ = ["configs", "headers", "bodies", "shards", "names"]


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_OUT = ("out", "packed")


def under(folder, files):
    """The files of a folder, as paths."""
    return {f"{folder}/{name}": data for name, data in files.items()}


def _command(rng, model="model"):
    """Everything that reads a checkpoint."""
    return rng.choice((("assembler", model, "-o", "out", "--target", "ulx3s-25f"),) * 3
                      + (("assembler", model, "-o", "out"),
                         ("assembler", "--export-ternary", model, "packed"),
                         ("sim", "numerics", model, "--text", "text.txt", "--limit", "9")))


def case(rng, kind, what, files, base, named, model="model", **options):
    return Case(kind, what, _command(rng, model), files=files,
                base=under("model", base) | {"text.txt": b"the lion said a thing, and the end"},
                named=named, outputs=_OUT, **options)


_KEYS = ("model_type", "hidden_size", "intermediate_size", "hidden_ratio", "num_hidden_layers",
         "vocab_size", "use_lower_bound", "bos_token_id", "eos_token_id", "weights", "tokenizer",
         "target", "quantization_config", "rms_norm_eps", "hidden_act", "expand_ratio",
         "use_short_conv", "tie_word_embeddings")


def configs(corpus, rng):
    """config.json and model.json."""
    name = rng.choice(("config.json", "model.json"))
    data = corpus.whole["config.json"]
    if rng.randrange(3):
        tree = json.loads(data)
        for _ in range(rng.choice((1, 1, 2))):
            tree[rng.choice(_KEYS)] = value(rng)
        if rng.randrange(4) == 0:
            tree = changed_tree(tree, rng)
        data = as_json(tree)
    else:
        data = damaged(data, rng)
    base = {k: v for k, v in corpus.whole.items() if k != "config.json"}
    return case(rng, "config.json, model.json", name, {f"model/{name}": data}, base,
                (name, SINGLE, "--target", "target", "model/"),
                model=rng.choice((f"model/{name}", "model")))


def _claims(header, rng):
    """A header whose entries claim what the file does not hold."""
    entry = header[rng.choice([k for k in header if k != "__metadata__"])]
    match rng.randrange(9):
        case 0:
            entry["shape"] = [rng.choice(INTEGERS) for _ in range(rng.randrange(4))]
        case 1:
            entry["shape"] = [1 << 32, 1 << 31]
        case 2:
            entry["shape"] = [0, 1 << 62]
        case 3:
            entry["shape"] = Raw("[" + ", ".join(["1000000000000000000"] * 20_000) + "]")
        case 4:
            entry["data_offsets"] = [rng.choice(INTEGERS), rng.choice(INTEGERS)]
        case 5:
            entry["dtype"] = rng.choice(("F64", "I64", "U8", "F8_E4M3", "BF16", "F32", "F16", "",
                                         [], None, {}))
        case 6:
            other = rng.choice([v for k, v in header.items() if k != "__metadata__"])
            entry["data_offsets"] = other["data_offsets"]
        case 7:
            first, last = entry["data_offsets"]
            move = rng.choice((-1, 1, 2, -1000, 1 << 63))
            entry["data_offsets"] = [first + move, last + move]
        case _:
            entry["data_offsets"] = entry["data_offsets"][::-1]
    return header


def headers(corpus, rng):
    """Headers of safetensors files."""
    base = rng.choice((corpus.whole, corpus.whole, corpus.packed))
    header, body = header_of(base[SINGLE])
    text = json.dumps(header).encode()
    match rng.randrange(6):
        case 0:
            data = safetensors(text, body, rng.choice(INTEGERS) & (1 << 64) - 1)
        case 1:
            data = safetensors(damaged(text, rng), body)
        case 2 | 3:
            data = safetensors(as_json(_claims(header, rng)), body)
        case 4:
            data = safetensors(as_json(changed_tree(header, rng)), body)
        case _:
            data = safetensors(rng.choice((
                b"[" * 300_000, b'{"a":' * 100_000, b"{}", b"[]", b"null", b"\xff" * 100,
                as_json({Raw(json.dumps(name)[1:-1]): entry for name, entry in header.items()}),
                as_json({name + rng.choice(STRINGS): entry for name, entry in header.items()}),
                b"{" + b",".join(b'"%d":[]' % n for n in range(200_000)) + b"}",
                b'{"__metadata__":' + b"9" * 5000 + b"}")), body)
    return case(rng, "safetensors headers", "header", {f"model/{SINGLE}": data}, base,
                (SINGLE, "config.json"))


def bodies(corpus, rng):
    """Numbers of tensors, and files cut short."""
    base = rng.choice((corpus.whole, corpus.packed))
    data = base[SINGLE]
    length = 8 + int.from_bytes(data[:8], "little")
    head, body = data[:length], bytearray(data[length:])
    match rng.randrange(4):
        case 0:
            body = body[:rng.randrange(len(body))]
        case 1:
            at = rng.randrange(len(body) // 2) * 2
            body[at:at + 2] = rng.choice((b"\x80\x7f", b"\xc0\x7f", b"\x80\xff", b"\x7f\x7f",
                                          b"\x01\x00", b"\xff\xff"))
        case 2:
            kind = rng.choice(("<f8", "<i8", "<f4"))
            some = np.array([rng.choice((0, -1, 1 << 40, 1e300 if kind == "<f8" else 7))], kind)
            at = rng.randrange(len(body) // 8) * 8
            body[at:at + 8] = some.tobytes()
        case _:
            body = damaged(body, rng)
    return case(rng, "safetensors bodies", "body", {f"model/{SINGLE}": head + bytes(body)}, base,
                (SINGLE, "config.json"))


def shards(corpus, rng):
    """Indexes and the files that they name."""
    base = corpus.shards
    tree = json.loads(base[INDEX])
    files = sorted(name for name in base if name.endswith(".safetensors"))
    changes, refused = {}, False
    match rng.randrange(6):
        case 0:
            changes[INDEX] = damaged(base[INDEX], rng)
        case 1:
            changes[INDEX] = as_json(changed_tree(tree, rng))
        case 2:
            name = rng.choice(sorted(tree["weight_map"]))
            tree["weight_map"][name] = rng.choice(
                ("../beside/model.safetensors", "/etc/passwd", "..", ".", "", "sub/x.safetensors",
                 "a\0b", "n" * 300, "config.json", INDEX, "x.bin", "\ud800", "./" + files[0],
                 "//" + files[0], "model\\..\\x", files[0].upper(), "~/x", "$HOME", files[0] + "/"))
            changes[INDEX], refused = as_json(tree), True
        case 3:
            changes[rng.choice(files)] = rng.choice(
                (Link("../../beside/model.safetensors"), Link("/etc/passwd"), Fifo, None, b"",
                 Link("/dev/zero"), Link("."), Link(files[0]), Link(files[1]), b"\xff" * 9))
            refused = True
        case 4:
            name = rng.choice(files)
            changes[name] = damaged(base[name], rng)
        case _:
            changes[INDEX] = as_json({"weight_map": {f"t{n}": f"{n}.safetensors"
                                                     for n in range(50_000)}})
            refused = True
    return case(rng, "shards and indexes", "shards", under("model", changes), base,
                (INDEX, "config.json", ".safetensors"), refused=refused)


def names(corpus, rng):
    """Paths: what leaves the folder, and what is no file."""
    tree = json.loads(corpus.whole["config.json"])
    base = {k: v for k, v in corpus.whole.items() if k != "config.json"}
    beside = "../../beside"
    if rng.randrange(3) == 0:
        name = rng.choice((SINGLE, "tokenizer.json", "config.json"))
        link = rng.choice((Fifo, Link(f"{beside}/{name}"), Link("/dev/zero"), Link(name),
                           Link("/etc/passwd"), Link("/dev/tty"), Link("../model")))
        return case(rng, "names of files", f"{name} is {link}", {f"model/{name}": link},
                    corpus.whole, (name,), refused=True)
    key = rng.choice(("weights", "tokenizer"))
    files = {}
    match rng.randrange(3):
        case 0:
            file = SINGLE if key == "weights" else "tokenizer.json"
            tree[key] = rng.choice((f"{beside}/{file}", beside, "..", "/etc/passwd", "/dev/zero",
                                    "/proc/self/environ", f"/{file}", f"../model/{file}", "~",
                                    f"sub/../{file}", "no/such", "x" * 5000, "a\0b", "\ud800", ""))
        case 1:
            link = rng.choice((f"{beside}/{SINGLE}", beside, "/dev/zero", "/etc/passwd", "inner"))
            tree[key], files["model/inner"] = "inner", Link(link)
        case _:
            tree[key], files["model/inner"] = "inner", Fifo
    return case(rng, "names of files", f"{key} is {tree[key]!r:.60}, {files}",
                files | {"model/model.json": as_json(tree)}, base,
                ("model.json", "inner", "no/such", "model/~", "too long", SINGLE),
                refused=True)
