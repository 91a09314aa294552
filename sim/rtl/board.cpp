// The model of soc.v, its clock, and the host's end of its serial line, as C functions that
// sim/commands/board.py calls. They move the bits and bytes of the line and do not interpret them.

#include <cstdint>
#include <deque>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

namespace {

// One direction of the line: 8 data bits, one stop bit. Times are in units of 1/64 cycle.
constexpr uint64_t CYCLE = 64;

struct Sender {
    uint64_t bit;
    std::deque<uint8_t> bytes;
    uint32_t frame = 0;         // remaining bits to send, and a 1 above them
    uint64_t due = 0;           // end of the current bit

    bool level(uint64_t now) {
        if (frame > 1 && now >= due) { frame >>= 1; due += bit; }
        if (frame <= 1) {
            if (bytes.empty()) return true;
            frame = 1u << 10 | 1u << 9 | uint32_t{bytes.front()} << 1;
            bytes.pop_front();
            due = now + bit;
        }
        return frame & 1;
    }
};

struct Receiver {
    uint64_t bit;
    std::deque<uint8_t> bytes;
    bool zero = false;          // a zero byte arrived since this was cleared
    bool before = true;
    int count = -1;             // bits sampled, including the start bit; -1: no byte
    uint32_t frame = 0;
    uint64_t due = 0;

    void level(uint64_t now, bool line) {
        if (count < 0 && before && !line) {
            count = 0;
            frame = 0;
            due = now + bit / 2;
        } else if (count >= 0 && now >= due) {
            frame |= uint32_t{line} << count++;
            due += bit;
            if (count == 10) {
                count = -1;
                if (line) {                             // without a stop bit, there is no byte
                    bytes.push_back(frame >> 1 & 0xff);
                    zero |= !bytes.back();
                }
            }
        }
        before = line;
    }
};

struct Board {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    Sender to;
    Receiver from;
    uint64_t cycles = 0;

    void cycle() {
        const uint64_t now = cycles * CYCLE;
        top->rx = to.level(now);
        top->clk = 0;
        top->eval();
        from.level(now, top->tx);
        top->clk = 1;
        top->eval();
        ++cycles;
    }
};

}  // namespace

extern "C" {

Board* board_new(uint64_t bit, uint32_t seed, uint32_t latency, uint32_t gap, uint32_t busy) {
    auto* b = new Board;
    b->context.randReset(0);
    b->context.fatalOnError(false);     // a failed check must not end the process
    b->top.reset(new Vtop{&b->context, "top"});
    b->to.bit = b->from.bit = bit;
    b->top->memory_seed = seed;
    b->top->memory_latency = latency;
    b->top->memory_gap = gap;
    b->top->memory_busy = busy;
    b->top->rx = 1;
    b->top->rst = 1;
    b->cycle();
    b->cycle();
    b->top->rst = 0;
    return b;
}

// Verilator remembers the last used context and accesses it when another one is destroyed.
void board_free(Board* b) {
    Verilated::threadContextp(&b->context);
    b->top->final();
    delete b;
    Verilated::threadContextp(Verilated::defaultContextp());
}

void board_reset(Board* b) {
    b->top->rst = 1;
    b->cycle();
    b->cycle();
    b->top->rst = 0;
}

void board_send(Board* b, const uint8_t* bytes, uint64_t count) {
    b->to.bytes.insert(b->to.bytes.end(), bytes, bytes + count);
}

// Simulate `cycles` cycles, or until a zero byte arrives. Returns 0 if a check in the Verilog
// failed, which writes a message to standard error.
uint32_t board_run(Board* b, uint64_t cycles) {
    b->from.zero = false;
    while (cycles-- && !b->from.zero) {
        b->cycle();
        if (b->context.gotFinish()) return 0;
    }
    return 1;
}

uint64_t board_take(Board* b, uint8_t* to, uint64_t room) {
    uint64_t count = 0;
    for (; count < room && !b->from.bytes.empty(); ++count) {
        to[count] = b->from.bytes.front();
        b->from.bytes.pop_front();
    }
    return count;
}

uint64_t board_cycles(Board* b) {
    return b->cycles;
}

// Address of the public variable `name` of `scope`.
void* board_data(Board* b, const char* scope, const char* name) {
    const VerilatedScope* found = b->context.scopeFind(scope);
    const VerilatedVar* var = found ? found->varFind(name) : nullptr;
    return var ? var->datap() : nullptr;
}

}
