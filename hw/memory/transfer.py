"""The transfer unit: vectors between the memory and the vector registers."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.hw.common.gearbox import Gearbox
from tern_fpga.hw.common.ram import Buffer, DeepQueue, Queue
from tern_fpga.hw.common.signatures import (
    BURST_WORDS,
    MemoryPort,
    VectorRead,
    VectorWrite,
    connect,
    instruction_layout,
    position_shape,
    row_address_layout,
    step_layout,
)
from tern_fpga.hw.memory.memory import Bursts


__all__ = ["TransferUnit", "VectorJobs", "VectorLoader", "VectorStorer", "VectorRows"]


WAITING = 4                # jobs that wait between the stages of a transfer


def rows_shape(config):
    """Shape of a number of rows of a vector."""
    return range(config.rows(formats.MAX_LENGTH) + 1)


def words_bits(config):
    """Bits of a number of memory words of a vector."""
    return ceil_log2(config.vector_words(formats.MAX_LENGTH) + 1)


def transfer_layout(config):
    """The memory's side of a job: ``words`` words from word ``address`` on."""
    return Bursts.transfer(config, words_bits(config))


def vector_layout(config):
    """The registers' side of a job: ``rows`` rows from ``place`` on.

    The rows are in one position, or with ``uniform`` in consecutive positions. ``last``: this is
    the instruction's last vector.
    """
    return data.StructLayout({
        "place":   row_address_layout(config, config.registers),
        "rows":    rows_shape(config),
        "uniform": 1,
        "last":    1,
    })


def job_layout(config):
    """A job: one vector to move."""
    return data.StructLayout({
        "transfer": transfer_layout(config),
        "vector":   vector_layout(config),
    })


class VectorRows(wiring.Component):
    """Row addresses of one vector after another.

    Throughput: an address a cycle, and one cycle between two vectors.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(vector_layout(config)))`
        ``rows`` is at least 1.
    o : :py:`Out(stream.Signature(VectorRows.row(config)))`
        ``place``: address of a row; ``end``: the row is the vector's last; ``last``: it is also the
        instruction's last.
    """
    @staticmethod
    def row(config):
        """Payload of ``o``."""
        return data.StructLayout({
            "place": row_address_layout(config, config.registers),
            "end":   1,
            "last":  1,
        })

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(vector_layout(config))),
            "o": Out(stream.Signature(self.row(config))),
        })

    def elaborate(self, platform):
        m = Module()
        vector = self.i.payload
        place  = self.o.payload.place
        left   = Signal.like(vector.rows)   # rows after this one
        final  = Signal()                   # vector.last
        uniform = Signal()

        # Loaded only when the vector before is finished: one cycle, and `ready` is a register.
        m.d.comb += self.i.ready.eq(~self.o.valid)
        m.d.comb += self.o.payload.last.eq(self.o.payload.end & final)
        with m.If(~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                place.eq(vector.place),
                left.eq(vector.rows - 1),
                self.o.payload.end.eq(vector.rows == 1),
                final.eq(vector.last),
                uniform.eq(vector.uniform),
            ]
        with m.Elif(self.o.ready):
            # A uniform vector continues in the next position; any other one stays in its own and
            # continues in the next register.
            wrap = place.row.all()
            over = wrap
            if self.config.positions > 1:
                over = wrap & (~uniform | place.position.all())
            m.d.sync += [
                place.row.eq(place.row + 1),
                place.position.eq(place.position + (wrap & uniform)),
                place.register.eq(place.register + over),
                left.eq(left - 1),
                self.o.payload.end.eq(left == 1),
                self.o.valid.eq(~self.o.payload.end),
            ]
        return m


class VectorJobs(wiring.Component):
    """Turn an instruction into one job for each vector that it moves.

    ``words = ceil(rows * row_bits / memory_bits)``, and the address is ``address + slot * pitch``,
    or ``address + token * pitch`` for ``embed``. Products are made by shifting and adding.

    Throughput: a cycle for each bit of a factor up to its highest 1; the loader works on earlier
    jobs meanwhile.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout("load", "store", "embed")))`
        Taken when the last of its jobs was.
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    o : :py:`Out(stream.Signature(job_layout(config)))`
    store : Out(1)
        The job on ``o`` is a store.
    idle : In(1)
        Level: all jobs are done.
    empty : Out(1)
        Strobe: an instruction that moves nothing (no elements or no positions) is done.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":     In(stream.Signature(instruction_layout("load", "store", "embed"))),
            "step":  In(step_layout(config)),
            "o":     Out(stream.Signature(job_layout(config))),
            "store": Out(1),
            "idle":  In(1),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        config = self.config
        m = Module()

        # A store names the vector in `a`, the other two in `dst`.
        instruction = self.i.payload
        embed   = Signal()
        operand = Signal.like(instruction.dst)
        m.d.comb += [
            self.store.eq(instruction.opcode == isa.lookup("store").opcode),
            embed.eq(instruction.opcode == isa.lookup("embed").opcode),
            operand.eq(Mux(self.store, instruction.a.as_value(), instruction.dst.as_value())),
        ]
        uniform  = Signal()
        rows     = Signal(rows_shape(config))
        words    = Signal(words_bits(config))
        mask     = Signal(config.positions)     # remaining positions, this one included
        position = Signal(position_shape(config))
        rest     = Signal(config.positions)     # one cycle late, but settled when it is read
        final    = Signal()
        m.d.sync += [rest.eq(mask & (mask - 1)), final.eq((mask & (mask - 1)) == 0)]
        for p in reversed(range(config.positions)):
            with m.If(mask[p]):
                m.d.comb += position.eq(p)

        # Multiplication by shifting and adding: no multiplier for a few products per vector.
        factor  = Signal(range(max(1 << self.step.tokens[0].shape().width, config.row_bits + 1)))
        term    = Signal(isa.ADDRESS.width)
        product = Signal(isa.ADDRESS.width)
        finished = factor == 0
        with m.If(factor[0]):
            m.d.sync += product.eq(product + term)
        m.d.sync += [factor.eq(factor >> 1), term.eq(term << 1)]

        m.d.comb += [
            self.o.payload.transfer.address.eq(product),
            self.o.payload.transfer.words.eq(words),
            self.o.payload.vector.place.position.eq(Mux(uniform, 0, position)),
            self.o.payload.vector.place.register.eq(operand.number),
            self.o.payload.vector.rows.eq(rows),
            self.o.payload.vector.uniform.eq(uniform),
            self.o.payload.vector.last.eq(final),
        ]
        with m.FSM():
            # In a prefill step only the state of one slot moves; tokens are embedded for every
            # active position.
            with m.State("idle"):
                m.d.sync += [
                    uniform.eq(operand.space == isa.Space.U),
                    rows.eq((instruction.n + (config.vector_lanes - 1))
                            >> exact_log2(config.vector_lanes)),
                    mask.eq(Mux(self.step.chain & ~embed, 1 << self.step.slot, self.step.live)),
                ]
                with m.If(self.i.valid):
                    m.next = "measure"

            with m.State("measure"):
                # A uniform vector moves once, whatever the active mask is.
                with m.If(uniform):
                    m.d.sync += mask.eq(1)
                # Starting from memory_bits - 1 rounds the quotient up.
                m.d.sync += [factor.eq(config.row_bits), term.eq(rows),
                             product.eq(config.memory_bits - 1)]
                m.next = "measuring"

            with m.State("measuring"):
                m.d.sync += words.eq(product >> exact_log2(config.memory_bits))
                with m.If(finished):
                    m.next = "place"
                    with m.If((mask == 0) | (rows == 0)):
                        m.next = "empty"

            with m.State("place"):
                m.d.sync += [factor.eq(position), term.eq(instruction.pitch),
                             product.eq(instruction.address)]
                with m.If(uniform):
                    m.d.sync += factor.eq(0)
                with m.Elif(embed):
                    m.d.sync += factor.eq(self.step.tokens[position])
                m.next = "placing"

            with m.State("placing"):
                with m.If(finished):
                    m.next = "offer"

            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += mask.eq(rest)
                    m.next = "place"
                    with m.If(final):
                        m.next = "end"

            # Held until its last job was taken, because the fields are read from `i`.
            with m.State("end"):
                m.d.comb += self.i.ready.eq(1)
                m.next = "idle"

            # Done in order: an instruction that moves nothing waits for those before it.
            with m.State("empty"):
                with m.If(self.idle):
                    m.d.comb += [self.empty.eq(1), self.i.ready.eq(1)]
                    m.next = "idle"
        return m


class VectorLoader(wiring.Component):
    """Memory words into rows of the vector memory.

    Protocol: bursts are requested ahead, of later jobs too, as far as the queue of words has room.

    Cost: see ``docs/reports/area.md`` (vector loader).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(job_layout(config)))`
    port : :py:`Out(MemoryPort(config))`
        Reads only.
    write : :py:`Out(VectorWrite(config))`
    end, last : Out(1)
        Strobes: the last row of a vector, and of an instruction, was accepted.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":     In(stream.Signature(job_layout(config))),
            "port":  Out(MemoryPort(config)),
            "write": Out(VectorWrite(config)),
            "end":   Out(1),
            "last":  Out(1),
        })

    def elaborate(self, platform):
        config = self.config
        m = Module()

        # Two bursts: one arrives while the other is moved on.
        room = 2 * BURST_WORDS
        m.submodules.bursts  = bursts  = Bursts(config=config, words_bits=words_bits(config),
                                                room=room)
        m.submodules.waiting = waiting = Queue(shape=vector_layout(config), depth=WAITING)
        m.submodules.rows    = rows    = VectorRows(config=config)
        # A job enters the burst cutter and the queue of its rows in the same cycle.
        m.d.comb += [
            self.i.ready.eq(bursts.i.ready & waiting.i.ready),
            bursts.i.valid.eq(self.i.valid & waiting.i.ready),
            bursts.i.payload.eq(self.i.payload.transfer),
            waiting.i.valid.eq(self.i.valid & bursts.i.ready),
            waiting.i.payload.eq(self.i.payload.vector),
        ]
        connect(m, waiting.o, rows.i)
        connect(m, bursts.o, wiring.flipped(self.port.command))

        m.submodules.words   = words   = DeepQueue(shape=config.memory_bits, depth=room)
        m.submodules.word    = word    = Buffer(shape=config.memory_bits)
        m.submodules.gearbox = gearbox = Gearbox(in_bits=config.memory_bits,
                                                 out_bits=config.row_bits)
        connect(m, wiring.flipped(self.port.read), words.i)
        m.d.comb += self.port.read.ready.eq(1)
        connect(m, words.o, word.i)
        m.d.comb += [
            bursts.freed.eq(words.o.valid & words.o.ready),
            gearbox.i.valid.eq(word.o.valid),
            gearbox.i.payload.data.eq(word.o.payload),
            word.o.ready.eq(gearbox.i.ready),
        ]

        request_layout = self.write.request.payload.shape()
        m.submodules.written = written = Buffer(shape=data.StructLayout({
            "request": request_layout, "end": 1, "last": 1,
        }))
        m.d.comb += [
            written.i.valid.eq(gearbox.o.valid & rows.o.valid),
            gearbox.o.ready.eq(written.i.ready & rows.o.valid),
            rows.o.ready.eq(written.i.ready & gearbox.o.valid),
            # A vector is padded to whole words: the rest of its last word is dropped.
            gearbox.drop.eq(rows.o.payload.end),
            written.i.payload.request.row.eq(rows.o.payload.place),
            written.i.payload.request.data.eq(gearbox.o.payload.data),
            # Whole rows: beyond the vector's end memory holds zeros.
            written.i.payload.request.enable.eq(~0),
            written.i.payload.end.eq(rows.o.payload.end),
            written.i.payload.last.eq(rows.o.payload.last),

            self.write.request.valid.eq(written.o.valid),
            self.write.request.payload.eq(written.o.payload.request),
            written.o.ready.eq(self.write.request.ready),
            self.end.eq(written.o.valid & written.o.ready & written.o.payload.end),
            self.last.eq(self.end & written.o.payload.last),
        ]
        return m


class VectorStorer(wiring.Component):
    """Rows of the vector memory into memory words.

    Protocol: a burst is offered to the memory only when all its words are queued, so that the
    memory never waits for them.

    Cost: see ``docs/reports/area.md`` (vector storer).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(job_layout(config)))`
    port : :py:`Out(MemoryPort(config))`
        Writes only.
    read : :py:`Out(VectorRead(config))`
    end, last : Out(1)
        Strobes: the last word of a vector, and of an instruction, was accepted.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":    In(stream.Signature(job_layout(config))),
            "port": Out(MemoryPort(config)),
            "read": Out(VectorRead(config)),
            "end":  Out(1),
            "last": Out(1),
        })

    def elaborate(self, platform):
        config = self.config
        m = Module()

        # Two walks through the rows: `rows` requests them, and `returning` marks the last response
        # of each vector, several cycles later.
        m.submodules.rows      = rows      = VectorRows(config=config)
        m.submodules.waiting   = waiting   = Queue(shape=vector_layout(config), depth=WAITING)
        m.submodules.returning = returning = VectorRows(config=config)
        m.submodules.transfers = transfers = Queue(shape=transfer_layout(config),
                                                       depth=WAITING)
        m.submodules.bursts    = bursts    = Bursts(config=config, write=True,
                                                    words_bits=words_bits(config))
        m.submodules.job       = job       = Buffer(shape=job_layout(config))
        connect(m, wiring.flipped(self.i), job.i)
        # A job enters three queues in the same cycle, when all of them have room.
        takers = rows.i, waiting.i, transfers.i
        m.d.comb += job.o.ready.eq(Cat(taker.ready for taker in takers).all())
        for taker in takers:
            m.d.comb += taker.valid.eq(job.o.valid & job.o.ready)
        m.d.comb += [
            rows.i.payload.eq(job.o.payload.vector),
            waiting.i.payload.rows.eq(job.o.payload.vector.rows),       # others are unused
            waiting.i.payload.last.eq(job.o.payload.vector.last),
            transfers.i.payload.eq(job.o.payload.transfer),
        ]
        connect(m, waiting.o, returning.i)
        connect(m, transfers.o, bursts.i)

        # The gearbox's `ready` is late in the cycle.
        m.submodules.row     = row     = Buffer(shape=data.StructLayout(
            {"data": config.row_bits, "end": 1, "last": 1}))
        m.submodules.gearbox = gearbox = Gearbox(in_bits=config.row_bits,
                                                 out_bits=config.memory_bits)
        request, response = self.read.request, self.read.response
        final = Signal()        # the string in the gearbox is the instruction's last
        m.d.comb += [
            request.valid.eq(rows.o.valid),
            request.payload.eq(rows.o.payload.place),
            rows.o.ready.eq(request.ready),

            row.i.valid.eq(response.valid & returning.o.valid),
            row.i.payload.data.eq(response.payload),
            row.i.payload.end.eq(returning.o.payload.end),
            row.i.payload.last.eq(returning.o.payload.last),
            response.ready.eq(row.i.ready & returning.o.valid),
            returning.o.ready.eq(row.i.ready & response.valid),

            gearbox.i.valid.eq(row.o.valid),
            gearbox.i.payload.data.eq(row.o.payload.data),
            gearbox.i.payload.last.eq(row.o.payload.end),
            row.o.ready.eq(gearbox.i.ready),
        ]
        with m.If(row.o.valid & row.o.ready & row.o.payload.end):
            m.d.sync += final.eq(row.o.payload.last)

        word_layout = data.StructLayout({"data": config.memory_bits, "end": 1, "last": 1})
        m.submodules.words = words = DeepQueue(shape=word_layout, depth=2 * BURST_WORDS)
        m.submodules.word  = word  = Buffer(shape=word_layout)
        connect(m, words.o, word.i)
        m.d.comb += [
            words.i.valid.eq(gearbox.o.valid),
            words.i.payload.data.eq(gearbox.o.payload.data),
            words.i.payload.end.eq(gearbox.o.payload.last),
            words.i.payload.last.eq(gearbox.o.payload.last & final),
            gearbox.o.ready.eq(words.i.ready),

            self.port.write.valid.eq(word.o.valid),
            self.port.write.payload.eq(word.o.payload.data),
            word.o.ready.eq(self.port.write.ready),
            self.end.eq(word.o.valid & word.o.ready & word.o.payload.end),
            self.last.eq(self.end & word.o.payload.last),
        ]

        # Words in the queue and the registers behind it, less those of bursts already offered.
        here     = Signal(range(2 * BURST_WORDS + DeepQueue.BEHIND + 8))
        command  = self.port.command
        pushed   = Signal()     # a word entered in the cycle before
        gathered = Signal()
        m.d.comb += [
            command.payload.eq(bursts.o.payload),
            command.valid.eq(bursts.o.valid & gathered),
            bursts.o.ready.eq(command.ready & gathered),
        ]
        announced = command.valid & command.ready
        m.d.sync += [
            pushed.eq(words.i.valid & words.i.ready),
            here.eq(here + pushed - Mux(announced, bursts.o.payload.words, 0)),
            gathered.eq(bursts.o.valid & (here + pushed >= bursts.o.payload.words) & ~announced),
        ]
        return m


class TransferUnit(wiring.Component):
    """Execute ``load``, ``store`` and ``embed``, in order.

    Protocol: loads follow each other without waiting, and so do stores. A store waits for the loads
    before it, and a load for the stores, because they may touch the same registers.

    Throughput: a memory word or a vector row a cycle within a vector, whichever is slower. Each
    vector takes about 6 cycles before its request (``embed``: one more for each bit of the token),
    which earlier loads hide.

    Cost: see ``docs/reports/area.md`` (transfer unit).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(isa.WORD_BITS))`
        Instruction words, with ``address`` and register numbers resolved.
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    port : :py:`Out(MemoryPort(config))`
        Words to write must be taken after their command.
    read : :py:`Out(VectorRead(config))`
    write : :py:`Out(VectorWrite(config))`
    done : Out(1)
        Strobe per instruction, in order: its rows or words were accepted.
    busy : Out(1)
        Level: there is an instruction.

    Golden twin: ``load``, ``store`` and ``embed`` of :class:`sim.golden.machine.Machine`.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":     In(stream.Signature(isa.WORD_BITS)),
            "step":  In(step_layout(config)),
            "port":  Out(MemoryPort(config)),
            "read":  Out(VectorRead(config)),
            "write": Out(VectorWrite(config)),
            "done":  Out(1),
            "busy":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.jobs   = jobs   = VectorJobs(config=self.config)
        m.submodules.loader = loader = VectorLoader(config=self.config)
        m.submodules.storer = storer = VectorStorer(config=self.config)
        m.d.comb += [
            jobs.i.valid.eq(self.i.valid),
            jobs.i.payload.eq(self.i.payload),
            self.i.ready.eq(jobs.i.ready),
            jobs.step.eq(self.step),
        ]

        active  = Signal(range(4 * BURST_WORDS))    # outstanding jobs
        none    = Signal()
        storing = Signal()                      # the outstanding jobs are stores
        may     = Signal()
        begin   = jobs.o.valid & jobs.o.ready
        ended   = Signal()
        m.d.comb += [
            none.eq(active == 0),
            self.busy.eq(~none | self.i.valid),
            jobs.idle.eq(none),
            may.eq(storing == jobs.store),
            loader.i.payload.eq(jobs.o.payload),
            storer.i.payload.eq(jobs.o.payload),
            loader.i.valid.eq(jobs.o.valid & may & ~storing),
            storer.i.valid.eq(jobs.o.valid & may & storing),
            jobs.o.ready.eq(may & Mux(storing, storer.i.ready, loader.i.ready)),
        ]
        m.d.sync += ended.eq(loader.end | storer.end)
        m.d.sync += active.eq(active + begin - ended)
        # Changes between loads and stores only when no job is outstanding.
        with m.If(none & jobs.o.valid & ~may):
            m.d.sync += storing.eq(jobs.store)

        # Only commands need a multiplexer: the loader never writes and the storer never reads.
        command = self.port.command
        with m.If(storing):
            m.d.comb += [
                command.valid.eq(storer.port.command.valid),
                command.payload.eq(storer.port.command.payload),
                storer.port.command.ready.eq(command.ready),
            ]
        with m.Else():
            m.d.comb += [
                command.valid.eq(loader.port.command.valid),
                command.payload.eq(loader.port.command.payload),
                loader.port.command.ready.eq(command.ready),
            ]
        connect(m, storer.port.write, wiring.flipped(self.port.write))
        connect(m, wiring.flipped(self.port.read), loader.port.read)
        connect(m, storer.read, wiring.flipped(self.read))
        connect(m, loader.write, wiring.flipped(self.write))
        m.d.sync += self.done.eq(loader.last | storer.last | jobs.empty)
        return m
