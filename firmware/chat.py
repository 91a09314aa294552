"""Talk to the model on a board, prompt after prompt.

    python -m firmware chat build/stories --port /dev/ttyUSB0
    python -m firmware chat build/stories --port sim --prompt "Once upon a time" --tokens 64

What of the image is not on the board is uploaded first. Each prompt begins anew; an empty line or
the end of the input ends the chat, and Ctrl-C ends an answer. Several --prompt are answered at
the same time, as many as the board has positions, and each is printed when it is complete.
"""

from pathlib import Path
import sys

from assembler import image as images, sampling, tokenizer
from assembler.errors import TernError
from assembler.registers import PAYLOAD_BITS
from firmware import port
from firmware.board import Board
from firmware.link import LinkError
from firmware.upload import show


__all__ = ["add_arguments", "run"]


def _count(text):
    value = int(text)
    if not 0 < value < 1 << PAYLOAD_BITS:
        raise ValueError
    return value


_count.__name__ = "count"       # as argparse names it in its message


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", type=Path,
                        help="image directory, from the assembler")
    parser.add_argument("--prompt", action="append", metavar="TEXT",
                        help="text to continue instead of lines of the input; several are "
                             "independent streams")
    parser.add_argument("--ids", action="store_true",
                        help="prompts are token ids like 1,5,9, and so are the answers")
    parser.add_argument("--tokens", type=_count, default=256, metavar="N",
                        help="tokens of an answer at most (default: %(default)s)")
    parser.add_argument("--ignore-eos", action="store_true",
                        help="go on after the model's end-of-sequence token")
    sampling.add_arguments(parser)
    port.add_arguments(parser)


class _Ids:
    """Ids as text, for ``--ids`` or a model without a tokenizer."""
    def encode(self, text):
        try:
            return [int(part, 0) for part in text.split(",")]
        except ValueError:
            raise TernError(f"without a tokenizer, a prompt is a list of ids like 1,5,9, not "
                            f"{text!r}") from None

    def stream(self, ids=()):
        return self

    def push(self, token):
        return f",{token}"

    def flush(self):
        return ""


def _lines():
    """Prompts from the input."""
    tty = sys.stdin.isatty()
    sys.stdin.reconfigure(errors="surrogateescape")     # bytes that are no text, as in arguments
    while True:
        if tty:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            return
        yield line


def _encode(image, words, text):
    vocabulary, _ = image.model()
    ids = words.encode(text)
    if not ids or min(ids) < 0 or max(ids) >= vocabulary:
        raise TernError(f"the prompt {text!r} has no token, or one that the model does not have: "
                        f"0 to {vocabulary - 1}")
    return ids


def _answer(board, image, words, texts, choices, args):
    """Continue prompts at the same time; the only one is written as it comes."""
    vocabulary, ends = image.model()
    prompts = [_encode(image, words, text) for text in texts]
    streams = [words.stream(ids) for ids in prompts]
    said    = [f"[{number}] {text}" for number, text in enumerate(texts)]
    speaking, alone = set(range(len(texts))), len(texts) == 1
    if alone:
        sys.stdout.write(texts[0])
    start, came = board.port.time(), 0
    try:
        for number, token, last in board.converse_all(
                image.config, [(ids, args.tokens) for ids in prompts],
                ends=() if args.ignore_eos else ends, sampling=choices):
            came += 1
            if token >= vocabulary:
                raise LinkError(f"{board.port.name}: the board says token {token}, and the model "
                                f"has {vocabulary}; upload it again")
            new = streams[number].push(token) + (streams[number].flush() if last else "")
            said[number] += new
            if alone:
                sys.stdout.write(new)
                sys.stdout.flush()
            elif last:
                speaking.discard(number)
                print(said[number], flush=True)
    except KeyboardInterrupt:
        board.end(range(image.config.positions))
    print("" if alone else "".join(f"{said[number]}\n" for number in sorted(speaking)),
          end="\n" if alone else "", flush=True)
    seconds = board.port.time() - start
    print(f"{sum(map(len, prompts))} prompt tokens, {came} sampled in {seconds:.2f} s",
          file=sys.stderr)


def run(args):
    choice, asked = sampling.from_arguments(args), 0
    image = images.load(args.directory)
    words = None if args.ids else tokenizer.load(image)
    where = port.open_port(args, image.config)
    try:
        board = Board(where)
        show(board, image, args.directory.name)
        board.start(image.program_address, image.program_length, image.weight_check())
        for texts in [args.prompt] if args.prompt else ([line] for line in _lines()):
            choices = [choice.with_seed(asked + n) for n in range(len(texts))]
            _answer(board, image, words or _Ids(), texts, choices, args)
            asked += len(texts)
    finally:
        where.close()
