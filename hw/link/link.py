"""The board's side of the host link: carries out each request once, in order."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.hw.common.ram import Buffer, Queue
from tern_fpga.hw.common.signatures import MemoryPort, connect
from tern_fpga.hw.control.host import request_layout
from tern_fpga.hw.link.frames import Crc, FrameReceiver, FrameSender, byte_layout
from tern_fpga.hw.link.memory import MemoryBytes


__all__ = ["HostLink", "WORDS"]


WORDS = 256                # messages between host and core that may wait, and as many tokens
WORD_BYTES = 4

# assembler.contract.link.REQUEST and ANSWER as layouts: on the line the low byte is first.
_request_layout = data.StructLayout({"number": 8, "code": 8, "address": 32, "operand": 32})
_answer_layout  = data.StructLayout({"number": 8, "status": 8, "expected": 8})


class Source(enum.Enum, shape=2):
    """Where the body of an answer behind its first word is taken from."""
    WORD     = 0
    IDENTITY = 1
    TOKENS   = 2
    MEMORY   = 3


class Action(enum.Enum, shape=3):
    """What a request that is in order asks for."""
    NOTHING  = 0
    REGISTER = 1
    TRANSFER = 2
    MESSAGE  = 3
    WAIT     = 4               # messages that do not fit at present
    TOKENS   = 5


class HostLink(wiring.Component):
    """Takes request frames from a serial line, carries them out, and sends answers.

    Protocol: a request is carried out if it has the expected number, which then advances by one.
    The request before it is not carried out again; its kept answer is sent again. Any other number,
    and a damaged frame, is answered with the expected number (see ``docs/link.md``). Every request
    ends in bounded time: messages are taken only if all fit the queue, tokens only those present,
    memory only within its size. Nothing is sent without a request.

    Throughput: keeps up with a line of 30 cycles a byte or slower. CHECK_MEMORY takes a byte a
    cycle, and one cycle more for each memory word.

    Cost: part of the boards' reports in ``docs/reports``.

    Parameters
    ----------
    config : assembler.contract.config.Config
    clock_hz : int
        Frequency of ``sync``, part of the identity.
    name : str
        Name of the board, part of the identity; at most 24 bytes of ASCII.

    Members
    -------
    i, o : :py:`In(stream.Signature(8))`, :py:`Out(stream.Signature(8))`
        Bytes of the line.
    request, response : :py:`Out(stream.Signature(request_layout))`, :py:`In(stream.Signature(32))`
        See :class:`hw.control.host.HostRegisters`.
    messages, tokens : :py:`Out(stream.Signature(32))`, :py:`In(stream.Signature(32))`
        See :class:`hw.control.scheduler.Scheduler`.
    memory : :py:`Out(MemoryPort(config))`
        Transfers of the host.
    stopped : :py:`In(1)`
        Drop all messages and tokens.
    heard : :py:`Out(1)`
        Strobe: a request arrived.

    Raises
    ------
    ValueError
        ``name`` is too long or not ASCII.

    Source: ``docs/link.md`` is the protocol, ``docs/decisions/link.md`` its reasons.
    """
    def __init__(self, *, config, clock_hz, name):
        if len(name) > 24 or not name.isascii():
            raise ValueError(f"name must be at most 24 characters of ASCII, not {name!r}")
        self.config   = config
        self.identity = link.IDENTITY.pack(link.VERSION, link.WINDOW, config.memory_bits, clock_hz,
                                           name.encode())
        super().__init__({
            "i":        In(stream.Signature(8)),
            "o":        Out(stream.Signature(8)),
            "request":  Out(stream.Signature(request_layout)),
            "response": In(stream.Signature(32)),
            "messages": Out(stream.Signature(32)),
            "tokens":   In(stream.Signature(32)),
            "memory":   Out(MemoryPort(config)),
            "stopped":  In(1),
            "heard":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.sender   = sender   = FrameSender()
        # Cuts the long path of the sender's `ready`.
        m.submodules.bytes    = answers  = Buffer(shape=byte_layout)
        m.submodules.memory   = memory   = MemoryBytes(config=config)
        m.submodules.crc      = crc      = Crc()
        m.submodules.messages = messages = ResetInserter(self.stopped)(
            Queue(shape=32, depth=WORDS))
        m.submodules.tokens   = tokens   = ResetInserter(self.stopped)(
            Queue(shape=32, depth=WORDS))
        # Data of a block RAM are late in the cycle: buffers behind the two queues.
        m.submodules.message  = message  = ResetInserter(self.stopped)(Buffer(shape=32))
        m.submodules.token    = token    = ResetInserter(self.stopped)(Buffer(shape=32))
        connect(m, wiring.flipped(self.i), receiver.i)
        connect(m, answers.o, sender.i)
        connect(m, sender.o, wiring.flipped(self.o))
        connect(m, memory.port, wiring.flipped(self.memory))
        connect(m, messages.o, message.i)
        connect(m, message.o, wiring.flipped(self.messages))
        connect(m, wiring.flipped(self.tokens), tokens.i)
        connect(m, tokens.o, token.i)

        # Words in flight between two streams
        def words_between(i, o):
            # In the queue, its output register and the buffer: up to three more than WORDS.
            count = Signal(range(WORDS + 4))
            push, pull = i.valid & i.ready, o.valid & o.ready
            with m.If(self.stopped):
                m.d.sync += count.eq(0)
            with m.Elif(push & ~pull):
                m.d.sync += count.eq(count + 1)
            with m.Elif(pull & ~push):
                m.d.sync += count.eq(count - 1)
            return count

        message_count = words_between(messages.i, message.o)
        token_count   = words_between(tokens.i, token.o)

        damaged = Signal()      # a frame was dropped and not yet reported
        m.d.sync += damaged.eq(damaged | receiver.damaged)

        request  = Signal(_request_layout)
        answer   = Signal(_answer_layout)
        expected = Signal(8)
        open_    = Signal()     # a SYNC was received
        taken    = Signal(range(link.REQUEST.size))     # bytes of `request` received
        ended    = Signal()     # the last byte of the frame was taken

        # Properties of a request, in registers: sums and comparisons are wide, so they are computed
        # over several cycles while the state `look` waits.
        word_shift = ceil_log2(config.word_bytes)
        beyond   = Signal(33)   # the memory word behind the request's last
        size     = Signal(8)    # bytes of its data
        bare     = Signal()     # it has no data
        some     = Signal()     # its operand is not 0
        words    = Signal()     # its data are `operand` memory words
        messages_whole = Signal()       # ... or `operand` message words
        inside   = Signal()     # it is within the memory
        few      = Signal()     # `operand` memory words fit a frame
        room     = Signal()     # the queue has room for the messages
        register = Signal()     # its address has no more bits than a register's
        in_order = Signal()
        again    = Signal()
        m.d.sync += [
            beyond.eq(request.address + request.operand),
            bare.eq(size == 0),
            some.eq(request.operand != 0),
            words.eq(request.operand << word_shift == size),
            messages_whole.eq(request.operand << ceil_log2(WORD_BYTES) == size),
            inside.eq(some & (beyond <= config.memory_words)),
            few.eq(request.operand <= link.DATA_BYTES // config.word_bytes),
            room.eq((message_count + request.operand[:8] <= WORDS) & ~self.stopped),
            register.eq(request.address < 1 << len(self.request.p.address)),
            in_order.eq(open_ & (request.number == expected)),
            again.eq(open_ & (request.number == (expected - 1)[:8])),
        ]
        settle = Signal(range(4))

        # The body of an answer, behind its head: `word`, then what `source` gives
        body   = Signal(range(link.DATA_BYTES + 1))     # remaining bytes of the body
        word   = Signal(32)
        bytes_ = Signal(range(WORD_BYTES))              # bytes of `word` sent
        head   = Signal(range(link.ANSWER.size))        # bytes of `answer` sent
        source = Signal(Source)
        names  = Signal(range(link.IDENTITY.size // WORD_BYTES))
        identity = Array(int.from_bytes(self.identity[n:n + WORD_BYTES], "little")
                         for n in range(0, link.IDENTITY.size, WORD_BYTES))

        m.d.comb += [
            self.request.p.write.eq(request.code == Code.WRITE_REGISTER),
            self.request.p.address.eq(request.address),
            self.request.p.data.eq(request.operand),
            memory.transfer.p.write.eq(request.code == Code.WRITE_MEMORY),
            memory.transfer.p.address.eq(request.address),
            memory.transfer.p.words.eq(request.operand),
            memory.i.payload.eq(receiver.o.p.data),
            messages.i.payload.eq(word),
            crc.data.eq(memory.o.payload),
        ]
        byte_taken = receiver.o.valid & receiver.o.ready
        with m.If(byte_taken):
            m.d.sync += ended.eq(receiver.o.p.last)

        def respond(status=Status.OK, body_bytes=0, what=Source.WORD):
            m.d.sync += [answer.status.eq(status), body.eq(body_bytes), source.eq(what)]
            m.next = "skip"

        # Decided while `look` waits, so that `judge` uses registers: its fan-out is large already.
        sync        = Signal()
        action      = Signal(Action)
        token_bytes = Signal.like(body)
        most        = link.DATA_BYTES // WORD_BYTES
        m.d.sync += [
            sync.eq((request.code == Code.SYNC) & bare),
            action.eq(Action.NOTHING),
            token_bytes.eq(Mux(token_count > most, most, token_count) << ceil_log2(WORD_BYTES)),
        ]
        with m.Switch(request.code):
            with m.Case(Code.READ_REGISTER, Code.WRITE_REGISTER):
                with m.If(bare & register):
                    m.d.sync += action.eq(Action.REGISTER)
            with m.Case(Code.READ_MEMORY):
                with m.If(bare & inside & few):
                    m.d.sync += action.eq(Action.TRANSFER)
            with m.Case(Code.CHECK_MEMORY):
                with m.If(bare & inside):
                    m.d.sync += action.eq(Action.TRANSFER)
            with m.Case(Code.WRITE_MEMORY):
                with m.If(words & inside):
                    m.d.sync += action.eq(Action.TRANSFER)
            with m.Case(Code.MESSAGES):
                with m.If(messages_whole & some):
                    m.d.sync += action.eq(Mux(room, Action.MESSAGE, Action.WAIT))
            with m.Case(Code.TOKENS):
                with m.If(bare):
                    m.d.sync += action.eq(Action.TOKENS)

        with m.FSM():
            with m.State("rest"):
                m.d.sync += [taken.eq(0), settle.eq(0), head.eq(0), bytes_.eq(0), names.eq(0)]
                m.d.sync += [answer.number.eq(0), answer.expected.eq(expected)]
                m.d.sync += sender.keep.eq(0)
                with m.If(sender.idle):
                    with m.If(receiver.o.valid):
                        m.next = "request"
                    # Only when no request waits: several damaged frames may share a note.
                    with m.Elif(damaged):
                        m.d.sync += damaged.eq(receiver.damaged)
                        m.d.sync += ended.eq(1)
                        respond(Status.DAMAGED)
            with m.State("request"):
                m.d.comb += receiver.o.ready.eq(1)
                m.d.sync += size.eq(receiver.length - link.REQUEST.size)
                with m.If(receiver.o.valid):
                    m.d.sync += request.eq(Cat(request, receiver.o.p.data)[8:])
                    m.d.sync += taken.eq(taken + 1)
                    with m.If(taken == link.REQUEST.size - 1):
                        m.next = "look"
            with m.State("look"):
                m.d.sync += settle.eq(settle + 1)
                with m.If(settle == 3):
                    m.next = "judge"
            with m.State("judge"):
                m.d.comb += self.heard.eq(1)
                m.d.sync += answer.number.eq(request.number)
                m.d.sync += word.eq(request.address)
                with m.If(sync):
                    m.d.sync += [open_.eq(1), expected.eq(request.number + 1)]
                    m.d.sync += answer.expected.eq(request.number + 1)
                    m.d.sync += sender.keep.eq(1)
                    respond(body_bytes=WORD_BYTES + link.IDENTITY.size, what=Source.IDENTITY)
                with m.Elif(in_order):
                    m.d.sync += expected.eq(expected + 1)
                    m.d.sync += answer.expected.eq(expected + 1)
                    m.d.sync += sender.keep.eq(1)
                    respond(Status.REFUSED)
                    with m.Switch(action):
                        with m.Case(Action.REGISTER):
                            m.next = "register"
                        with m.Case(Action.TRANSFER):
                            m.next = "transfer"
                        with m.Case(Action.MESSAGE):
                            m.next = "message"
                        with m.Case(Action.WAIT):
                            respond(Status.BUSY)
                        with m.Case(Action.TOKENS):
                            respond(what=Source.TOKENS, body_bytes=token_bytes)
                with m.Elif(again):
                    m.next = "skip to again"
                with m.Else():
                    respond(Mux(open_, Status.ORDER, Status.CLOSED))

            # The registers answer within a bounded time, so waiting here cannot block the link.
            with m.State("register"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    respond()
                    with m.If(~self.request.p.write):
                        m.next = "value"
            with m.State("value"):
                m.d.comb += self.response.ready.eq(1)
                m.d.sync += word.eq(self.response.payload)
                with m.If(self.response.valid):
                    respond(body_bytes=WORD_BYTES)

            with m.State("transfer"):
                m.d.comb += memory.transfer.valid.eq(1)
                m.d.comb += crc.start.eq(1)
                with m.If(memory.transfer.ready):
                    with m.Switch(request.code):
                        with m.Case(Code.READ_MEMORY):
                            respond(body_bytes=(request.operand << word_shift)[:8],
                                    what=Source.MEMORY)
                        with m.Case(Code.CHECK_MEMORY):
                            m.next = "check"
                        with m.Default():
                            m.next = "write"
            with m.State("check"):
                m.d.comb += memory.o.ready.eq(1)
                m.d.comb += crc.valid.eq(memory.o.valid)
                m.d.sync += word.eq(crc.crc)
                with m.If(memory.idle & ~memory.o.valid):
                    respond(body_bytes=WORD_BYTES)
            with m.State("write"):
                m.d.comb += memory.i.valid.eq(receiver.o.valid & ~ended)
                m.d.comb += receiver.o.ready.eq(memory.i.ready & ~ended)
                with m.If(memory.idle):
                    respond()

            with m.State("message"):
                m.d.comb += receiver.o.ready.eq(1)
                with m.If(receiver.o.valid):
                    m.d.sync += word.eq(Cat(word, receiver.o.p.data)[8:])
                    m.d.sync += bytes_.eq(bytes_ + 1)
                    with m.If(bytes_ == WORD_BYTES - 1):
                        m.next = "push"
            # `judge` has seen that the queue has room for all of them, so `ready` is not read.
            with m.State("push"):
                m.d.comb += messages.i.valid.eq(1)
                m.next = "message"
                with m.If(ended):
                    respond()

            # Take the remaining bytes of the frame, which a refused request may have.
            with m.State("skip"):
                m.d.comb += receiver.o.ready.eq(~ended)
                with m.If(ended):
                    m.next = "head"
            with m.State("skip to again"):
                m.d.comb += receiver.o.ready.eq(~ended)
                m.d.comb += sender.again.eq(ended)
                with m.If(ended):
                    m.next = "wait"
            with m.State("wait"):       # until `sender.idle` has fallen
                m.next = "rest"
            with m.State("head"):
                m.d.comb += answers.i.valid.eq(1)
                m.d.comb += answers.i.payload.data.eq(answer)
                m.d.comb += answers.i.payload.last.eq((head == link.ANSWER.size - 1) & (body == 0))
                with m.If(answers.i.ready):
                    m.d.sync += answer.eq(answer.as_value() >> 8)
                    m.d.sync += head.eq(head + 1)
                    with m.If(head == link.ANSWER.size - 1):
                        m.next = "wait"
                        with m.If(body != 0):
                            m.next = "body"
                            with m.If(source == Source.TOKENS):
                                m.next = "next word"
            with m.State("body"):
                m.d.comb += answers.i.valid.eq((source != Source.MEMORY) | memory.o.valid)
                m.d.comb += answers.i.payload.data.eq(
                    Mux(source == Source.MEMORY, memory.o.payload, word))
                m.d.comb += answers.i.payload.last.eq(body == 1)
                m.d.comb += memory.o.ready.eq((source == Source.MEMORY) & answers.i.ready)
                with m.If(answers.i.valid & answers.i.ready):
                    m.d.sync += word.eq(word >> 8)
                    m.d.sync += bytes_.eq(bytes_ + 1)
                    m.d.sync += body.eq(body - 1)
                    with m.If((bytes_ == WORD_BYTES - 1) & (source != Source.MEMORY)):
                        m.next = "next word"
                    with m.If(body == 1):
                        m.next = "wait"
            with m.State("next word"):
                m.d.sync += word.eq(identity[names])
                m.d.sync += names.eq(names + 1)
                m.next = "body"
                with m.If(source == Source.TOKENS):
                    m.d.comb += token.o.ready.eq(1)
                    m.d.sync += word.eq(token.o.payload)
                    with m.If(~token.o.valid):
                        m.next = "next word"
        return m
