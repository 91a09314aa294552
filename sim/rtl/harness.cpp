// The simulated board: the model of harness.v, its clock, and buffers at its streams, as C
// functions that sim/rtl/machine.py calls. This file holds loops that must be fast; Python makes
// the decisions.
//
// sim/rtl/machine.py defines TERN_LONG, TERN_IDLE and TERN_FAILED, bits that tern_until adds to a
// status, and, if the memory has a clock of its own, TERN_CORE_HALF and TERN_SDRAM_HALF.

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#endif

#ifndef TERN_CORE_HALF
#define TERN_CORE_HALF 1
#endif

// Verilator's name of a port `stream__part`.
#define PORT(stream, part) stream##___05F##part

namespace {

constexpr uint32_t POLL_CYCLES = 16;    // cycles between two register reads while running
constexpr uint32_t QUIET_CYCLES = 8;    // cycles that a message takes to the scheduler

// A public variable of up to 32 bits, and its value in the last cycle.
struct Watch {
    const void* at;
    uint32_t bytes;
    uint32_t value;
};

struct Change {
    uint64_t cycle;
    uint32_t watch, value;
};

#if VM_TRACE
#if VM_TRACE_VCD
// Verilator's own writer ends the process if a file cannot be written.
struct KeptFile : VerilatedVcdFile {
    bool failed = false;

    ssize_t write(const char* data, ssize_t count) override {
        const ssize_t done = failed ? count : VerilatedVcdFile::write(data, count);
        if (done >= 0 || errno == EAGAIN || errno == EINTR) return done;
        failed = true;
        return count;
    }
};
#endif

// Waveforms of the cycles from the first in which all limits hold until one of them fails.
struct Waves {
    enum { CYCLES, TOKENS, INSTRUCTIONS };      // limits, in the order of sim/rtl/waves.py
    std::string path;
    std::vector<std::pair<int, std::string>> scopes;    // levels and scope; empty: all
    std::array<uint64_t, 3> first{}, last{};    // inclusive
    const void* pc = nullptr;                   // value limited by INSTRUCTIONS
    uint64_t numerator = 1, denominator = 1;    // picoseconds in a unit of Machine::time
    uint64_t begun = 0, cycles = 0;             // first written cycle, number of written cycles
    bool over = false;
#if VM_TRACE_VCD
    KeptFile kept;
    WaveFile file{&kept};
    bool failed() const { return kept.failed; }
#else
    WaveFile file;
    bool failed() const { return false; }       // sim/rtl/waves.py checks
#endif
};
#endif

struct Machine {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    std::deque<uint32_t> messages;      // to the core, except the offered one
    std::deque<uint32_t> tokens;        // from the core
    std::deque<uint64_t> logits;
    uint64_t cycles = 0;
    uint64_t time = 0;                  // in a common divisor of the clocks' half periods
    uint64_t heard = 0;                 // words from the core to the host
    uint64_t progress = 0;              // cycle of the last word on any port
    uint64_t sent = 0;                  // cycle in which the core took the last message
    bool offered = false, asked = false;        // messages__valid and request__valid at the core
    uint64_t reads = 0, writes = 0;     // words that crossed the memory port
    bool requested = false;             // the core took the request
    bool answered = false;              // a response arrived in the last cycle
    uint32_t answer = 0;
    std::string names;
    std::vector<Watch> watches;
    std::vector<Change> changes;        // of the watched variables, in order
#if VM_TRACE
    std::unique_ptr<Waves> waves;

    // Open or close the file of the waveforms, before the next cycle.
    void show() {
        uint32_t pc = 0;
        if (waves->pc) std::memcpy(&pc, waves->pc, sizeof pc);
        const std::array<uint64_t, 3> now{cycles, heard + 1, pc};   // heard + 1: the current token
        bool within = true;
        for (size_t k = 0; k < now.size(); ++k)
            within &= waves->first[k] <= now[k] && now[k] <= waves->last[k];
        if (within && !waves->file.isOpen()) {
            top->trace(&waves->file, 99);
            for (const auto& [levels, scope] : waves->scopes) waves->file.dumpvars(levels, scope);
            waves->file.open(waves->path.c_str());
            waves->begun = cycles;
        } else if (!within && waves->file.isOpen()) {
            waves->file.close();
            waves->over = true;
        }
        waves->cycles += within;
    }
#endif

    void eval() {
        top->eval();
#if VM_TRACE
        if (waves && waves->file.isOpen())
            waves->file.dump(time * waves->numerator / waves->denominator);
#endif
    }

    // Set the core's clock to `level` and simulate half its period.
    void half(int level) {
        top->clk = level;
#ifdef TERN_CLOCKS
        top->clocks = level ? top->needed : 0;      // the other blocks rest in this cycle
#endif
#ifdef TERN_SDRAM_HALF
        // The memory's clock changes at multiples of TERN_SDRAM_HALF, the core's of TERN_CORE_HALF.
        for (int k = 0; k < TERN_CORE_HALF; ++k, ++time) {
            const bool changes = time % TERN_SDRAM_HALF == 0;
            if (changes) top->memory_clk = !top->memory_clk;
            if (k == 0 || changes) eval();
        }
#else
        eval();
        ++time;
#endif
    }

    // Simulate one clock cycle. Inputs set here reach the core in the next cycle.
    void cycle() {
#if VM_TRACE
        if (waves && !waves->over) show();
#endif
        half(0);
        // Sample the values at the rising edge. Words of `tokens` and `logits` are always taken,
        // because the buffers here are unbounded. The monitors below only count.
        const bool taken = offered && top->PORT(messages, ready);
        if (top->PORT(tokens, valid)) {
            tokens.push_back(top->PORT(tokens, payload));
            ++heard;
        }
        if (top->PORT(logits, valid)) logits.push_back(top->PORT(logits, payload));
        if (asked && top->PORT(request, ready)) {
            requested = true;
            top->PORT(next_request, valid) = 0;
        }
        answered = top->PORT(response, valid);
        answer = top->PORT(response, payload);
        for (uint32_t n = 0; n < watches.size(); ++n) {
            uint32_t value = 0;
            std::memcpy(&value, watches[n].at, watches[n].bytes);       // little-endian hosts
            if (value != watches[n].value) {
                watches[n].value = value;
                changes.push_back({cycles, n, value});
            }
        }
        reads += top->read_beat;
        writes += top->write_beat;
        if (taken || top->PORT(tokens, valid) || top->PORT(logits, valid) || top->read_beat
            || top->write_beat) progress = cycles;
        if (taken) sent = cycles;
        if (taken || !offered) {
            offered = !messages.empty();
            if (offered) {
                top->PORT(next_messages, payload) = messages.front();
                messages.pop_front();
            }
        }
        top->PORT(next_messages, valid) = offered;
        asked = top->PORT(next_request, valid);
        half(1);
        ++cycles;
    }

    // Number of messages that the core has not taken.
    uint64_t waiting() const { return messages.size() + offered; }

    // One access to a host register, while the machine continues to run. Only a read has a
    // response.
    uint32_t request(bool write, uint32_t address, uint32_t data) {
        requested = false;
        top->PORT(next_request, valid) = 1;
        top->PORT(next_request, payload) = uint64_t{data} << 9 | address << 1 | write;
        do cycle(); while (!(write ? requested : answered) && !context.gotFinish());
        return answer;
    }

    // Simulate until the register at `address` has one of the bits of `any`, or lacks one of `all`,
    // or the buffers hold `words` token or logit words, or no word crossed a port for `idle`
    // cycles, or `limit` cycles have passed. Bits of `waiting` count only after all messages have
    // arrived, because a message may let the core continue. Returns the register's last value, with
    // TERN_LONG after the limit, TERN_IDLE after idle cycles, and TERN_FAILED if a check in the
    // Verilog failed, which writes a message to standard output.
    uint32_t until(uint32_t address, uint32_t waiting_bits, uint32_t any, uint32_t all,
                   uint64_t words, uint64_t idle, uint64_t limit) {
        const uint64_t end = cycles + limit;
        progress = cycles;
        for (;;) {
            const bool quiet = waiting() == 0 && cycles - sent >= QUIET_CYCLES;
            uint32_t status = request(false, address, 0);
            if (!quiet) status &= ~waiting_bits;
            if (context.gotFinish()) return status | TERN_FAILED;
            if (status & any || (status & all) != all || tokens.size() + logits.size() >= words)
                return status;
            if (cycles >= end) return status | TERN_LONG;
            if (cycles - progress >= idle) return status | TERN_IDLE;
            for (uint32_t k = 0; k < POLL_CYCLES && tokens.size() + logits.size() < words; ++k)
                cycle();
        }
    }

    const VerilatedVar* find(const char* scope, const char* name) {
        const VerilatedScope* found = context.scopeFind(scope);
        return found ? found->varFind(name) : nullptr;
    }
};

template <typename Word>
uint64_t take(std::deque<Word>& from, Word* to, uint64_t room) {
    uint64_t count = 0;
    for (; count < room && !from.empty(); ++count, from.pop_front()) to[count] = from.front();
    return count;
}

}  // namespace

extern "C" {

Machine* tern_new(uint32_t seed) {
    auto* m = new Machine;
    m->context.randReset(0);
    m->context.fatalOnError(false);     // a failed check must not end the process
#if VM_TRACE
    m->context.traceEverOn(true);
#endif
    m->top.reset(new Vtop{&m->context, "top"});
    m->top->memory_seed = seed;
    return m;
}

void tern_reset(Machine* m) {
    m->top->next_rst = 1;
    m->cycle();
    m->top->next_rst = 0;
    m->cycle();
}

// Verilator remembers the last used context and accesses it when another one is destroyed.
void tern_free(Machine* m) {
    Verilated::threadContextp(&m->context);
#if VM_TRACE
    if (m->waves && m->waves->file.isOpen()) m->waves->file.close();
#endif
    m->top->final();
    delete m;
    Verilated::threadContextp(Verilated::defaultContextp());
}

#if VM_TRACE
// Write waveforms from now on. `scopes`: a line for each, with levels and name. `limits`: pairs of
// first and last cycle, token and instruction. `time`: numerator and denominator of the picoseconds
// in a unit of time.
void tern_waves(Machine* m, const char* path, const char* scopes, const uint64_t* limits,
                const void* pc, const uint64_t* time) {
    m->waves.reset(new Waves);
    Waves& waves = *m->waves;
    waves.path = path;
    waves.pc = pc;
    waves.numerator = time[0];
    waves.denominator = time[1];
    for (size_t k = 0; k < waves.first.size(); ++k) {
        waves.first[k] = limits[2 * k];
        waves.last[k] = limits[2 * k + 1];
    }
    std::istringstream lines{scopes};
    std::string scope;
    for (int levels; lines >> levels >> scope;) waves.scopes.emplace_back(levels, scope);
}

// Close the file. `told` receives the first written cycle, the number of cycles, and whether
// writing failed.
void tern_waved(Machine* m, uint64_t* to) {
    if (m->waves->file.isOpen()) m->waves->file.close();
    m->waves->over = true;
    to[0] = m->waves->begun;
    to[1] = m->waves->cycles;
    to[2] = m->waves->failed();
}
#endif

// Set the memory model's behaviour: see memory.v.
void tern_pace(Machine* m, uint32_t latency, uint32_t gap, uint32_t busy) {
    m->top->memory_latency = latency;
    m->top->memory_gap = gap;
    m->top->memory_busy = busy;
}

void tern_send(Machine* m, const uint32_t* words, uint64_t count) {
    m->messages.insert(m->messages.end(), words, words + count);
}

// Drop the messages that the core has not taken. The offered one is withdrawn at the next edge.
void tern_drop(Machine* m) {
    m->messages.clear();
    m->offered = false;
}

uint32_t tern_request(Machine* m, uint32_t write, uint32_t address, uint32_t data) {
    return m->request(write, address, data);
}

uint32_t tern_until(Machine* m, uint32_t address, uint32_t waiting, uint32_t any, uint32_t all,
                    uint64_t words, uint64_t idle, uint64_t limit) {
    return m->until(address, waiting, any, all, words, idle, limit);
}

void tern_cycles(Machine* m, uint64_t count) {
    while (count--) m->cycle();
}

uint64_t tern_tokens(Machine* m, uint32_t* to, uint64_t room) {
    return take(m->tokens, to, room);
}

uint64_t tern_logits(Machine* m, uint64_t* to, uint64_t room) {
    return take(m->logits, to, room);
}

void tern_counters(Machine* m, uint64_t* to) {
    to[0] = m->cycles;
    to[1] = m->reads;
    to[2] = m->writes;
    to[3] = m->waiting();
}

// Record every change of this variable from now on, starting with 0; returns its number.
uint32_t tern_watch(Machine* m, const void* at, uint32_t bytes) {
    m->watches.push_back({at, bytes, 0});
    return m->watches.size() - 1;
}

uint64_t tern_changes(Machine* m, const Change** from) {
    *from = m->changes.data();
    return m->changes.size();
}

// A line for each public variable: scope, name, bytes of an entry, number of entries.
const char* tern_names(Machine* m) {
    m->names.clear();
    for (const auto& scope : *m->context.scopeNameMap()) {
        const auto* vars = scope.second->varsp();
        if (!vars) continue;
        for (const auto& var : *vars) {
            const auto& v = var.second;
            const int entries = v.udims() ? v.unpackedRanges()[0].elements() : 1;
            m->names += std::string(scope.first) + "\t" + var.first + "\t"
                        + std::to_string(v.entSize()) + "\t" + std::to_string(entries) + "\n";
        }
    }
    return m->names.c_str();
}

void* tern_data(Machine* m, const char* scope, const char* name) {
    const VerilatedVar* var = m->find(scope, name);
    return var ? var->datap() : nullptr;
}

}
