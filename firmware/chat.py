"""Talk to the model on a board, prompt after prompt.

    python -m firmware chat build/stories --port /dev/ttyUSB0
    python -m firmware chat build/stories --port sim --prompt "Once upon a time" --tokens 64

What of the image is not on the board is uploaded first. Each line goes on where the answer before
it ended, as one text: nothing is put between them, so begin with a space where a word follows.
/reset begins anew, /help lists what else there is. An empty line or the end of the input
ends the chat, and Ctrl-C ends an answer. Several --prompt are independent of each other: they are
answered at the same time, as many as the board has positions, and each is printed when it is
complete.
"""

from pathlib import Path
import re
import signal
import sys

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import sampling
from tern_fpga.assembler.contract.registers import PAYLOAD_BITS
from tern_fpga.assembler.errors import TernError, one_line
from tern_fpga.assembler.files import image as images, tokenizer
from tern_fpga.firmware import port
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.upload import show


__all__ = ["add_arguments", "run"]


_HELP = """\
/reset   begin anew: what was said is forgotten
/help    this list
Any other line goes on with the text. An empty line ends the chat, Ctrl-C an answer."""

_SLOT = 0                  # of the conversation


def _count(text):
    value = int(text)
    if not 0 < value < 1 << PAYLOAD_BITS:
        raise ValueError
    return value


_count.__name__ = "count"       # as argparse names it in its message


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", type=Path,
                        help="image directory, from the assembler")
    parser.add_argument("--prompt", action="append", metavar="TEXT", type=terminal.typed,
                        help="text to continue instead of lines of the input; several are "
                             "independent streams")
    parser.add_argument("--ids", action="store_true",
                        help="prompts are token ids like 1,5,9, and so are the answers")
    parser.add_argument("--tokens", type=_count, default=256, metavar="N",
                        help="tokens of an answer at most (default: %(default)s)")
    parser.add_argument("--ignore-eos", action="store_true",
                        help="go on after the model's end-of-sequence tokens")
    sampling.add_arguments(parser)
    port.add_arguments(parser)


class _Ids:
    """Ids as text, for ``--ids`` or a model without a tokenizer."""
    def encode(self, text, *, continues=False):
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
    # Bytes that are no text, as in arguments; CR LF ends a line too.
    sys.stdin.reconfigure(errors="surrogateescape", newline=None)
    first = True
    while True:
        if tty:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline().rstrip("\n")
        line, first = terminal.typed(line) if first else line, False
        if not line:
            return
        yield line


class _Interrupt:
    """Ctrl-C is noted and acts where :meth:`check` is called: between requests, so that host and
    board stay in step. The next one ends the program, whatever it is at."""
    def __init__(self):
        self._came = False

    def __enter__(self):
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:      # else somebody ignores it
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_):
        self._came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self):
        if self._came:
            raise KeyboardInterrupt


class _Conversation:
    """One text of prompts and answers in a slot.

    The state of a slot has seen all but the answer's last token if the core ended the answer
    itself. If the host did, the core went on for some tokens: then the next prompt begins with
    an empty state and brings the whole text with it.

    Members
    -------
    ids : list of int
        The text so far.
    """
    def __init__(self):
        self.ids = []
        self._seen = 0

    def ask(self, ids):
        """(tokens for the core, whether its state is to be empty) of another prompt."""
        self.ids = self.ids + ids
        return self.ids[self._seen:], not self._seen

    def heard(self, ids, complete):
        """``complete``: the core ended the answer itself."""
        self.ids = self.ids + ids
        self._seen = len(self.ids) - 1 if complete else 0


class _Chat:
    """A board with a model on it. ``words``: its tokenizer, or what takes its place."""
    def __init__(self, board, image, words, args):
        self._board, self._words, self._args = board, words, args
        self._config = image.config
        self._vocabulary, ends = image.model()
        self._ends = () if args.ignore_eos else ends
        self._choice, self._asked = sampling.from_arguments(args), 0

    def encode(self, text, **options):
        """The tokens of a prompt; TernError if the model has none for it."""
        ids = self._words.encode(text, **options)
        if not ids or min(ids) < 0 or max(ids) >= self._vocabulary:
            raise TernError(f"the prompt {text!r} has no token, or one that the model does not "
                            f"have: 0 to {self._vocabulary - 1}")
        return ids

    def answer_all(self, texts):
        """Continue prompts independently of each other, at the same time."""
        prompts = [self.encode(text) for text in texts]
        self._answer(texts, prompts, prompts)

    def answer(self, text, ids, conversation):
        """Continue a conversation. ``ids``: of ``text``, by :meth:`encode`."""
        said, fresh = conversation.ask(ids)
        (found,), complete = self._answer([text], [said], [conversation.ids], slots=[_SLOT],
                                          fresh=fresh)
        conversation.heard(found, complete)

    def _answer(self, texts, prompts, given, **options):
        """Show answers; the only one as it comes.

        ``prompts``: ids for the core; ``given``: those whose text is known. Returns the tokens of
        each answer, and whether the core ended all of them.
        """
        board, complete = self._board, True
        streams = [terminal.stream(self._words, ids) for ids in given]
        alone = len(texts) == 1
        said  = [f"{'' if alone else f'[{number}] '}{terminal.shown(text)}"
                 for number, text in enumerate(texts)]
        found = [[] for _ in texts]
        speaking = set(range(len(texts)))
        choices = [self._choice.with_seed(self._asked + n) for n in range(len(texts))]
        self._asked += len(texts)

        def say(number, text):
            said[number] += text
            if alone:
                sys.stdout.write(text)
                sys.stdout.flush()

        if alone:
            sys.stdout.write(said[0])
        start = board.port.time()
        with _Interrupt() as interrupt:
            try:
                for number, token, last in board.converse_all(
                        self._config, [(ids, self._args.tokens) for ids in prompts],
                        ends=self._ends, sampling=choices, check=interrupt.check, **options):
                    if token >= self._vocabulary:
                        raise LinkError(f"{board.port.name}: the board says token {token}, and "
                                        f"the model has {self._vocabulary}; upload it again")
                    found[number].append(token)
                    complete &= token not in self._ends[1:]
                    say(number, streams[number].push(token))
                    if last:
                        say(number, streams[number].flush())
                        speaking.discard(number)
                        if not alone:
                            print(said[number], flush=True)
            except KeyboardInterrupt:
                complete = False
                board.end(range(self._config.positions))
        for number in sorted(speaking):
            say(number, streams[number].flush())
            if not alone:
                print(said[number])
        if alone:
            print(flush=True)
        print(f"{sum(map(len, prompts))} prompt tokens, {sum(map(len, found))} sampled in "
              f"{board.port.time() - start:.2f} s", file=sys.stderr)
        return found, complete


def _talk(chat):
    """A conversation over lines of the input."""
    conversation = _Conversation()
    for line in _lines():
        command = line.strip()
        if command == "/reset":
            conversation = _Conversation()
            print("forgotten; the next line begins anew", file=sys.stderr)
        elif command == "/help":
            print(_HELP, file=sys.stderr)
        elif re.fullmatch(r"/[a-z]+", command):
            print(f"{command} is no command; /help lists them", file=sys.stderr)
        else:
            try:
                ids = chat.encode(line, continues=bool(conversation.ids))
            except TernError as error:
                if not sys.stdin.isatty():
                    raise
                print(one_line(error), file=sys.stderr)     # a slip, and the text goes on
                continue
            chat.answer(line, ids, conversation)


def run(args):
    sampling.from_arguments(args)       # a mistake in them, before the upload
    image = images.load(args.directory)
    words = None if args.ids else tokenizer.load(image)
    where = port.open_port(args, image.config)
    try:
        board = Board(where)
        show(board, image, args.directory.name)
        board.start(image.program_address, image.program_length, image.weight_check())
        chat = _Chat(board, image, words or _Ids(), args)
        if args.prompt:
            chat.answer_all(args.prompt)
        else:
            _talk(chat)
    finally:
        where.close()
