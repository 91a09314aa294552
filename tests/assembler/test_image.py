from dataclasses import replace
import json

import numpy as np
import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import image


CONFIG = preset("sim-tiny")
WORDS = [isa.encode("next"), isa.encode("halt")]


def make():
    program = np.frombuffer(b"".join(w.to_bytes(16, "little") for w in WORDS), np.uint8)
    weights = np.random.default_rng(1).integers(0, 256, 640).astype(np.uint8)
    sections = [image.Section("program", 64, len(program), program),
                image.Section("weights", 128, len(weights), weights),
                image.Section("states", 512, 128)]
    return image.Image(CONFIG, sections, 64, len(WORDS), {"symbols": {"x": "v8"}, "lines": [3, 4]},
                       {image.PROGRAM: b"next\nhalt\n"})


@pytest.fixture
def directory(tmp_path):
    make().save(tmp_path / "image")
    return tmp_path / "image"


def test_an_image_round_trips(directory):
    made, loaded = make(), image.load(directory, CONFIG)
    assert np.array_equal(loaded.memory(), made.memory())
    assert loaded.words == 512 + 64 and len(loaded.memory()) == 2 * loaded.words
    assert not loaded.memory()[2 * 512:].any()
    assert loaded.instructions() == WORDS
    assert loaded.config == CONFIG and loaded.files == made.files
    assert loaded.manifest["symbols"] == {"x": "v8"} and loaded.manifest["lines"] == [3, 4]
    assert [s["crc32"] is None for s in loaded.manifest["sections"]] == [False, False, True]
    loaded.save(directory)
    assert np.array_equal(image.load(directory).memory(), made.memory())


def test_every_damaged_byte_of_the_binary_is_found(directory):
    path = directory / image.BINARY
    good = path.read_bytes()
    for n in range(0, len(good), 3):
        path.write_bytes(good[:n] + bytes([good[n] ^ 0x10]) + good[n + 1:])
        with pytest.raises(TernError, match="compile the model again"):
            image.load(directory)


@pytest.mark.parametrize("size", [0, 4, 30, 100, 200, 500])
def test_a_truncated_binary_is_refused(directory, size):
    path = directory / image.BINARY
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TernError, match="not an image|damaged|truncated"):
        image.load(directory)


def test_another_config_is_refused(directory):
    with pytest.raises(TernError, match=f"made for config {CONFIG.digest}"):
        image.load(directory, replace(CONFIG, lanes=40))


def test_a_manifest_of_another_config_is_refused(directory):
    path = directory / image.MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["config"]["lanes"] = 40
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(TernError, match="manifest.json describes config"):
        image.load(directory)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}', '{"config": {"lanes": "a"}}',
                                  '{"config": {"nose": 1}}', "\xff", "[" * 100_000])
def test_a_damaged_manifest_is_refused(directory, text):
    (directory / image.MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(TernError, match="damaged manifest"):
        image.load(directory)


@pytest.mark.parametrize("name", [image.BINARY, image.MANIFEST])
def test_a_missing_file_is_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(TernError, match=f"{name}: no such file"):
        image.load(directory)


def test_a_failed_save_leaves_the_old_image(directory, monkeypatch):
    def fail(self, *_, **__):
        raise OSError(28, "No space left on device")

    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    monkeypatch.setattr(image.Path, "write_text", fail)
    with pytest.raises(TernError, match="cannot write the image: No space"):
        make().save(directory)
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before
    assert [p.name for p in directory.parent.iterdir()] == [directory.name]


def test_a_save_does_not_leave_the_tokenizer_of_another_model(directory):
    made = make()
    made.files[image.TOKENIZER] = b"{}"
    made.save(directory)
    assert image.load(directory).files[image.TOKENIZER] == b"{}"
    make().save(directory)
    assert image.TOKENIZER not in image.load(directory).files


def test_a_tokenizer_that_is_no_image_s_is_kept(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(TernError, match="holds the tokenizer.json of something that is no image"):
        make().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pytorch_model.bin", "tokenizer.json"]


def test_a_mistake_is_one_line_and_status_2(capsys):
    def main(argv):
        raise TernError(f"{argv}: what\n  and where")

    assert report(main, "file") == 2
    assert capsys.readouterr().err == "error: file: what and where\n"
    assert report(lambda argv: None) == 0
