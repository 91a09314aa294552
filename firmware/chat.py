"""Chat with the model on a board, prompt after prompt.

    python -m firmware chat build/stories --port /dev/ttyUSB0
    python -m firmware chat build/stories --port sim --prompt "Once upon a time" --tokens 64

Parts of the image that are not on the board are uploaded first. All lines and answers form one
text. Nothing is inserted between them, so begin a line with a space if a new word follows. /reset
starts a new text, /help lists all commands. An empty line or the end of the input ends the chat,
and Ctrl-C ends an answer. Several --prompt are independent of each other: the board answers as many
at a time as it has positions, and each answer is printed when it is complete.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
import io
from pathlib import Path
import re
import signal
import sys
from typing import Protocol, Self

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
/reset   begin anew: the text so far is forgotten
/help    this list
Any other line continues the text. An empty line ends the chat, Ctrl-C ends an answer."""

_SLOT = 0                  # of the conversation


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value < 1 << PAYLOAD_BITS:
        raise ValueError
    return value


_count.__name__ = "count"       # argparse shows this name in its messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
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


class _Words(Protocol):
    """The methods of a tokenizer that a chat uses."""
    def encode(self, text: str, *, continues: bool = False) -> list[int]: ...
    def stream(self, ids: Iterable[int] = ()) -> terminal.TextStream: ...


class _Ids:
    """Ids as text, for ``--ids`` or a model without a tokenizer."""
    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        try:
            return [int(part, 0) for part in text.split(",")]
        except ValueError:
            raise TernError(f"without a tokenizer, a prompt is a list of ids like 1,5,9, not "
                            f"{text!r}") from None

    def stream(self, ids: Iterable[int] = ()) -> Self:
        return self

    def push(self, token: int) -> str:
        return f",{token}"

    def flush(self) -> str:
        return ""


def _lines() -> Iterator[str]:
    """Prompts from the input."""
    tty = sys.stdin.isatty()
    # Bytes that are not text become surrogates, as in arguments; CR LF ends a line, too.
    if isinstance(sys.stdin, io.TextIOWrapper):
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
    """Ctrl-C is noted, and raised by :meth:`check` between two requests, so that host and board
    agree on the requests carried out. A second Ctrl-C ends the program immediately."""
    def __init__(self) -> None:
        self._came = False

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:      # otherwise SIGINT is ignored
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self._came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt after a Ctrl-C."""
        if self._came:
            raise KeyboardInterrupt


class _Conversation:
    """One text of prompts and answers in a slot.

    If the core ended an answer itself, the slot's state includes all tokens but the last. If the
    host ended it, the core sampled further tokens meanwhile. Then the next prompt starts from an
    empty state and sends the whole text again.

    Members
    -------
    ids : list of int
        The text so far.
    """
    def __init__(self) -> None:
        self.ids: list[int] = []
        self._seen = 0          # of these ids, those that the slot's state includes

    def ask(self, ids: list[int]) -> tuple[list[int], bool]:
        """Add a prompt; returns (tokens for the core, whether to begin with an empty state)."""
        self.ids = self.ids + ids
        return self.ids[self._seen:], not self._seen

    def heard(self, ids: list[int], complete: bool) -> None:
        """Add an answer. ``complete``: the core ended it itself."""
        self.ids = self.ids + ids
        self._seen = len(self.ids) - 1 if complete else 0


class _Chat:
    """A board that runs a model. ``words``: the model's tokenizer, or :class:`_Ids`."""
    def __init__(self, board: Board, image: images.Image, words: _Words,
                 args: argparse.Namespace) -> None:
        self._board, self._words, self._args = board, words, args
        self._config = image.config
        self._vocabulary, ends = image.model()
        self._ends = () if args.ignore_eos else ends
        self._choice, self._asked = sampling.from_arguments(args), 0

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """The tokens of a prompt. Raises TernError if it has no tokens, or unknown ones."""
        ids = self._words.encode(text, continues=continues)
        if not ids or min(ids) < 0 or max(ids) >= self._vocabulary:
            raise TernError(f"the prompt {text!r} has no token, or one that the model does not "
                            f"have: 0 to {self._vocabulary - 1}")
        return ids

    def answer_all(self, texts: Sequence[str]) -> None:
        """Continue prompts independently of each other, at the same time."""
        prompts = [self.encode(text) for text in texts]
        self._answer(texts, prompts, prompts)

    def answer(self, text: str, ids: list[int], conversation: _Conversation) -> None:
        """Continue a conversation. ``ids``: the tokens of ``text``, from :meth:`encode`."""
        said, fresh = conversation.ask(ids)
        (found,), complete = self._answer([text], [said], [conversation.ids], slots=[_SLOT],
                                          fresh=fresh)
        conversation.heard(found, complete)

    def _answer(self, texts: Sequence[str], prompts: Sequence[list[int]],
                given: Sequence[list[int]], *, slots: Sequence[int] | None = None,
                fresh: bool = True) -> tuple[list[list[int]], bool]:
        """Show the answers to prompts. A single answer is printed as its tokens arrive.

        ``prompts``: ids for the core. ``given``: ids whose text is already known. Returns the
        tokens of each answer, and whether the core ended all answers itself.
        """
        board, complete = self._board, True
        streams = [terminal.stream(self._words, ids) for ids in given]
        alone = len(texts) == 1
        said  = [f"{'' if alone else f'[{number}] '}{terminal.shown(text)}"
                 for number, text in enumerate(texts)]
        found: list[list[int]] = [[] for _ in texts]
        speaking = set(range(len(texts)))
        choices = [self._choice.with_seed(self._asked + n) for n in range(len(texts))]
        self._asked += len(texts)

        def say(number: int, text: str) -> None:
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
                        slots=slots, ends=self._ends, sampling=choices, fresh=fresh,
                        check=interrupt.check):
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


def _talk(chat: _Chat) -> None:
    """Hold a conversation over the lines of the input."""
    conversation = _Conversation()
    for line in _lines():
        command = line.strip()
        if command == "/reset":
            conversation = _Conversation()
            print("forgotten; the next line starts a new text", file=sys.stderr)
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
                print(one_line(error), file=sys.stderr)     # a slip; the conversation continues
                continue
            chat.answer(line, ids, conversation)


def run(args: argparse.Namespace) -> None:
    """Upload the image that the command line names, and chat."""
    sampling.from_arguments(args)       # report a mistake in the options before the upload
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
