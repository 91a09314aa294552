// The surroundings of a board's FPGA, in real time: oscillator, PLL, delays of pads and board,
// SDRAM at its pins, and the host's end of the serial line. sim/rtl/pins.py loads this library and
// the models that it connects. Each model is a library with its functions and ports.
//
// Times are in femtoseconds, so that rounding does not make a clock of the PLL drift.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace {

using Time = int64_t;
constexpr Time PS = 1000, NEVER = INT64_MAX;

struct Port {
    void* at = nullptr;
    unsigned bytes = 0;

    uint64_t get() const {
        switch (bytes) {
            case 1: return *static_cast<uint8_t*>(at);
            case 2: return *static_cast<uint16_t*>(at);
            case 4: return *static_cast<uint32_t*>(at);
            case 8: return *static_cast<uint64_t*>(at);
        }
        return 0;               // no such port
    }
    void set(uint64_t value) const {
        switch (bytes) {
            case 1: *static_cast<uint8_t*>(at) = value; break;
            case 2: *static_cast<uint16_t*>(at) = value; break;
            case 4: *static_cast<uint32_t*>(at) = value; break;
            case 8: *static_cast<uint64_t*>(at) = value; break;
        }
    }
};

struct Model {
    void* handle = nullptr;
    void (*eval_)(void*) = nullptr;
    int (*stopped_)(void*) = nullptr;
    void (*time_)(void*, uint64_t) = nullptr;
    std::map<std::string, Port> ports;

    void eval() const { eval_(handle); }
    bool stopped() const { return handle && stopped_(handle); }
    Port port(const std::string& name) const {
        auto found = ports.find(name);
        return found == ports.end() ? Port{} : found->second;
    }
};

// A module that was removed from the netlist: its ports, and the shell's ports that replace it.
struct Wire { Port shell, part; };

struct Part {
    Model model;
    Wire clock;
    std::vector<Wire> inputs, outputs;
    bool level = false, fell = false;           // state of its clock

    static bool copy(const Port& from, const Port& to) {
        if (to.bytes <= 8) {
            const uint64_t value = from.get();
            if (value == to.get()) return false;
            to.set(value);
            return true;
        }
        if (!std::memcmp(from.at, to.at, to.bytes)) return false;
        std::memcpy(to.at, from.at, to.bytes);
        return true;
    }
    bool give() const {
        bool changed = false;
        for (const Wire& wire : inputs) changed |= copy(wire.shell, wire.part);
        return changed;
    }
    bool take() const {
        bool changed = false;
        for (const Wire& wire : outputs) changed |= copy(wire.part, wire.shell);
        return changed;
    }
};

// One direction of the line: 8 data bits, one stop bit.
struct Sender {
    Time bit = 0, due = 0;      // end of the current bit
    std::deque<uint8_t> bytes;
    uint32_t frame = 0;         // remaining bits to send, and a 1 above them

    bool level(Time now) {
        while (frame > 1 && now >= due) { frame >>= 1; due += bit; }
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
    Time bit = 0, due = 0, fell = 0, longest = 0;   // `longest`: longest low time of the line
    std::deque<uint8_t> bytes;
    bool zero = false;          // a zero byte arrived since this was cleared
    bool before = true;
    int count = -1;             // bits sampled, including the start bit; -1: no byte
    uint32_t frame = 0, broken = 0;

    void level(Time now, bool line) {
        while (count >= 0 && now > due) {       // the line has kept its level until now
            frame |= uint32_t{before} << count++;
            due += bit;
            if (count == 10) {
                count = -1;
                if (!before || frame & 1) {     // no stop bit, or no start bit
                    ++broken;
                } else {
                    bytes.push_back(frame >> 1 & 0xff);
                    zero |= !bytes.back();
                }
            }
        }
        if (before && !line) {
            fell = now;
            if (count < 0) { count = 0; frame = 0; due = now + bit / 2; }
        } else if (!before && line && now - fell > longest) {
            longest = now - fell;
        }
        before = line;
    }
};

struct Clock {                  // an output of the PLL
    bool enabled = false, level = false;
    Time half = 0, delay = 0, next = NEVER;
};

// Signals from the FPGA to the SDRAM.
struct Pins {
    uint32_t clk = 0, command = 0, dq = 0, driven = 0;
    bool operator!=(const Pins& b) const {
        return clk != b.clk || command != b.command || dq != b.dq || driven != b.driven;
    }
};
struct Arrival { Time at; Pins pins; };
struct Edge { Time at; bool drives; uint32_t word; };

// Bits of Pins::command, in the order of sim/rtl/pins.py.
constexpr uint32_t CKE = 1 << 0, CS_N = 1 << 1, RAS_N = 1 << 2, CAS_N = 1 << 3, WE_N = 1 << 4;
constexpr int BA = 5, A = 7, DQM = 20;

struct Board {
    Model shell, sdram;
    std::vector<Part> parts;
    std::map<std::string, Time> set;            // parameters
    Time output = 0, skew = 0, t_is = 0, t_ih = 0, t_ac = 0, t_oh = 0, t_ck = 0, t_ch = 0, t_cl = 0,
         input_slow = 0, input_fast = 0, sample_setup = 0, sample_hold = 0;
    std::vector<std::string> complaints;

    Time now = 0;
    uint64_t random = 88172645463325252;

    // Oscillator and PLL
    Time osc_half = 0, osc_next = 0;
    bool osc_on = true, osc_level = false;
    Clock clocks[4];
    Time clki_at = 0, search = NEVER, align = NEVER, lock = NEVER;
    bool clki = false, locked = false, fed_back = true;
    unsigned clki_edges = 0;

    // Pins and SDRAM
    Pins pins;                  // at the FPGA
    std::deque<Arrival> way;    // in flight to the SDRAM
    Pins there;                 // at the SDRAM
    Time epoch = 0, rise = -1, fall = -1, command_at = 0, dq_at = 0, locked_at = 0;
    std::deque<Edge> edges;
    uint32_t violations = 0;
    bool was_write = false;     // a word was written at the last edge
    Time setup = NEVER, hold = NEVER, dq_setup = NEVER, dq_hold = NEVER, period_low = NEVER,
         period_high = 0, first_rise = 0;
    uint64_t rises = 0, writes = 0;

    // Line
    Sender to;
    Receiver from;

    // The core's clock since the lock, and activity of the other pins
    uint64_t cycles = 0, all_cycles = 0;
    bool core_was = false;                      // previous level
    Time core_first = 0, core_last = 0, core_low = NEVER, core_high = 0;
    uint64_t lit[64] = {}, lit_cycles = 0, was_low = 0;

    Port osc, clocks_in, lock_in, clki_out, clkfb_out, rx, tx, sd_clk, sd_command, dq_in, dq_out,
         dq_en, others;
    Port p_clk, p_cke, p_cs, p_ras, p_cas, p_we, p_ba, p_a, p_dqm, p_dq, p_driven, p_drives, p_word,
         p_set, p_latency, p_refreshes, p_violations, p_high, p_low;

    void complain(const std::string& what) {
        if (complaints.size() < 20)
            complaints.push_back(what + " at " + std::to_string(now / PS / 1000) + " ns");
    }

    static std::string ns(Time time) {
        char text[32];
        std::snprintf(text, sizeof text, "%.3f ns", time / 1e6);
        return text;
    }

    void bind() {
        osc = shell.port("osc"); clocks_in = shell.port("pll_clocks");
        lock_in = shell.port("pll_lock"); clki_out = shell.port("pll_clki_pin");
        clkfb_out = shell.port("pll_clkfb_pin"); rx = shell.port("rx"); tx = shell.port("tx");
        sd_clk = shell.port("sd_clk"); sd_command = shell.port("sd_command");
        dq_in = shell.port("dq"); dq_out = shell.port("dq__out"); dq_en = shell.port("dq__en");
        others = shell.port("others");
        osc_half = set["osc_half"];
        osc_next = osc_half;
        to.bit = from.bit = set["bit"];
        output = set["output"]; skew = set["skew"]; t_is = set["tIS"]; t_ih = set["tIH"];
        t_ac = set["tAC"]; t_oh = set["tOH"]; t_ck = set["tCK"]; t_ch = set["tCH"];
        t_cl = set["tCL"]; input_slow = set["input_slow"]; input_fast = set["input_fast"];
        sample_setup = set["sample_setup"]; sample_hold = set["sample_hold"];
        for (int n = 0; n < 4; ++n) {
            const std::string name = std::to_string(n);
            clocks[n].enabled = set["pll_enabled" + name];
            clocks[n].half = set["pll_half" + name];
            clocks[n].delay = set["pll_delay" + name];
        }
        unlock();
        rx.set(1);
        settle();
        for (Part& part : parts) { part.give(); part.model.eval(); part.take(); }
        settle();
        look();
    }

    void bind_sdram() {
        p_clk = sdram.port("clk"); p_cke = sdram.port("cke"); p_cs = sdram.port("cs_n");
        p_ras = sdram.port("ras_n"); p_cas = sdram.port("cas_n"); p_we = sdram.port("we_n");
        p_ba = sdram.port("ba"); p_a = sdram.port("a"); p_dqm = sdram.port("dqm");
        p_dq = sdram.port("dq"); p_driven = sdram.port("dq_driven");
        p_drives = sdram.port("drives"); p_word = sdram.port("word"); p_set = sdram.port("set");
        p_latency = sdram.port("latency"); p_refreshes = sdram.port("refreshes");
        p_violations = sdram.port("violations"); p_high = sdram.port("broken_high");
        p_low = sdram.port("broken_low");
        violations = 0;
        edges.clear();
        p_clk.set(there.clk);
        sdram.eval();
    }

    // Evaluate shell and parts at the current time. A part's registers take values from before the
    // edge, so that a part whose clock rises is evaluated before its inputs change. The falling
    // edge of its clock is evaluated together with new inputs, because no part has registers of
    // that edge.
    void settle() {
        shell.eval();
        bool again = false;
        for (Part& part : parts) {
            const bool level = part.clock.shell.get();
            if (level && !part.level) {
                part.clock.part.set(1);
                part.model.eval();
                part.clock.part.set(0);
                part.fell = true;
                again |= part.take();
            }
            part.level = level;
        }
        for (int n = 0; n < 100; ++n) {
            if (again) shell.eval();
            again = false;
            for (Part& part : parts)
                if (part.give() || part.fell) {
                    part.fell = false;
                    part.model.eval();
                    again |= part.take();
                }
            if (!again) return;
        }
        complain("the netlist oscillates");
    }

    // PLL. Before it locks, its clocks run at other frequencies.

    void unlock() {
        locked = false;
        lock_in.set(0);
        align = lock = NEVER;
        search = NEVER;
        clki_edges = 0;
        for (Clock& clock : clocks)
            clock.next = clock.enabled ? now + wild(clock) : NEVER;
    }

    static Time wild(const Clock& clock) { return clock.half * 11 / 8 + 137 * PS; }

    void input_of_pll() {
        const bool level = clki_out.get();
        if (level != clki) {
            const Time period = now - clki_at;
            clki = level;
            clki_at = now;
            if (++clki_edges > 8 && period != osc_half && !locked) clki_edges = 0;
            if (clki_edges == 8 && search == NEVER && set["pll_locks"]) {
                search = now;
                align = now + set["lock_time"];
            }
        }
        if (align != NEVER && now >= align && lock == NEVER && level && now == clki_at) {
            lock = now + 1000000 * PS;
            fed_back = true;
            for (Clock& clock : clocks)
                if (clock.enabled) {
                    clock.level = false;
                    clock.next = now + 2 * osc_half + clock.delay;
                    while (clock.next <= now) clock.next += 2 * clock.half;
                }
        }
    }

    void lose_lock() {
        if (clki_edges && now - clki_at > 8 * osc_half) {
            clki_edges = 0;
            if (locked || search != NEVER) unlock();
        }
    }

    void gain_lock() {
        if (locked || lock == NEVER || now < lock) return;
        if (!fed_back) {                        // its feedback is not its own clock
            lock = NEVER;
            set["pll_locks"] = 0;
            return;
        }
        locked = true;
        locked_at = epoch = now;                // the SDRAM's time starts here
        lock_in.set(1);
        cycles = 0;
        rises = 0;
        core_low = period_low = NEVER;
        core_high = period_high = 0;
    }

    // FPGA to SDRAM

    void look() {
        Pins seen;
        seen.clk = sd_clk.get();
        seen.command = sd_command.get();
        seen.dq = dq_out.get();
        seen.driven = dq_en.get();
        if (seen != pins) {
            pins = seen;
            way.push_back({now + output, pins});
        }
        from.level(now, tx.get());
    }

    bool awake() const { return locked && (there.command & CKE); }

    void arrive() {
        const Pins next = way.front().pins;
        way.pop_front();
        if (next.command != there.command) {
            if (rise >= 0 && awake() && now - rise < hold) hold = now - rise;
            if (rise >= 0 && awake() && now - rise < t_ih + skew)
                complain("SDRAM: hold of a command: " + ns(now - rise));
            command_at = now;
        }
        if (next.dq != there.dq || next.driven != there.driven) {
            if (was_write && now - rise < dq_hold) dq_hold = now - rise;
            if (was_write && now - rise < t_ih + skew)
                complain("SDRAM: hold of data: " + ns(now - rise));
            dq_at = now;
            if (next.driven && next.driven != 0xffff)
                complain("data pins are driven in part");
            if (next.driven && !there.driven && !edges.empty() && edges.back().drives)
                complain("data bus fight");
        }
        const bool edge = next.clk != there.clk;
        there = next;
        if (edge && there.clk) rising();
        else if (edge) falling();
    }

    void falling() {
        if (awake() && rise >= 0 && now - rise < t_ch)
            complain("SDRAM: its clock is high for " + ns(now - rise));
        fall = now;
        p_clk.set(0);
        sdram.eval();
    }

    void rising() {
        const Time before = rise;
        rise = now;
        was_write = false;
        const uint32_t code = there.command & (CS_N | RAS_N | CAS_N | WE_N);
        const bool idle = !(there.command & CKE) || code & CS_N
                          || code == (RAS_N | CAS_N | WE_N);
        if (!locked) {
            if (!idle) complain("SDRAM: a command before its clock is stable");
            return;
        }
        if (before >= locked_at) {
            const Time period = now - before;
            if (period < period_low) period_low = period;
            if (period > period_high) period_high = period;
            if (!idle && period < t_ck) complain("SDRAM: a clock period of " + ns(period));
            if (awake() && now - fall < t_cl)
                complain("SDRAM: its clock is low for " + ns(now - fall));
        }
        if (!rises++) first_rise = now;
        if (there.command & CKE) {
            if (now - command_at < setup) setup = now - command_at;
            if (now - command_at < t_is + skew)
                complain("SDRAM: set-up of a command: " + ns(now - command_at));
            if (code == RAS_N) {                // WRITE
                was_write = true;
                ++writes;
                if (now - dq_at < dq_setup) dq_setup = now - dq_at;
                if (now - dq_at < t_is + skew)
                    complain("SDRAM: set-up of data: " + ns(now - dq_at));
                if (there.driven != 0xffff) complain("SDRAM: a word to write is not driven");
            }
        }
        p_cke.set(there.command & CKE); p_cs.set(!!(there.command & CS_N));
        p_ras.set(!!(there.command & RAS_N)); p_cas.set(!!(there.command & CAS_N));
        p_we.set(!!(there.command & WE_N)); p_ba.set(there.command >> BA & 3);
        p_a.set(there.command >> A & 0x1fff); p_dqm.set(there.command >> DQM & 3);
        p_dq.set(there.dq); p_driven.set(there.driven != 0);
        p_clk.set(1);
        sdram.time_(sdram.handle, (now - epoch) / PS);
        sdram.eval();
        edges.push_back({now, p_drives.get() != 0, static_cast<uint32_t>(p_word.get())});
        if (edges.size() > 4) edges.pop_front();
        if (const uint32_t found = p_violations.get(); found != violations) {
            violations = found;
            std::string name;
            for (uint64_t half : {p_high.get(), p_low.get()})
                for (int shift = 56; shift >= 0; shift -= 8)
                    if (const char letter = half >> shift & 0xff) name += letter;
            complain("SDRAM: rule broken: " + name);
        }
    }

    // SDRAM to FPGA: values at the pins of the FPGA for the registers that are clocked now. A word
    // is valid from tAC after its edge plus the largest delay, to tOH after the next edge plus the
    // smallest delay. At other times the value is noise that differs from both adjacent words.
    uint32_t at_fpga() {
        const Time after = sample_setup + t_ac + input_slow,
                   before = t_oh + input_fast - sample_hold;
        const Edge *word = nullptr, *next = nullptr;
        for (const Edge& edge : edges) {
            if (now >= edge.at + after) { word = &edge; next = nullptr; }
            else if (!next) next = &edge;
        }
        if (word && word->drives && (!next || now < next->at + before)) return word->word;
        for (;;) {
            random ^= random << 13; random ^= random >> 7; random ^= random << 17;
            const uint32_t noise = random & 0xffff;
            if (!(word && noise == word->word) && !(next && noise == next->word)) return noise;
        }
    }

    void step(Time limit) {
        Time next = limit;
        if (osc_on && osc_next < next) next = osc_next;
        for (const Clock& clock : clocks) if (clock.next < next) next = clock.next;
        if (lock != NEVER && !locked && lock < next && lock > now) next = lock;
        if (!way.empty() && way.front().at < next) next = way.front().at;
        now = next;
        while (!way.empty() && way.front().at <= now) arrive();

        bool moved = false;
        if (osc_on && osc_next <= now) {
            osc_level = !osc_level;
            osc.set(osc_level);
            osc_next += osc_half;
            moved = true;
        }
        unsigned levels = 0;
        bool toggled = false;
        for (int n = 0; n < 4; ++n) {
            Clock& clock = clocks[n];
            if (clock.next <= now) {
                clock.level = !clock.level;
                clock.next += lock != NEVER ? clock.half : wild(clock);
                moved = toggled = true;
            }
            levels |= clock.level << n;
        }
        if (!moved && !(lock != NEVER && !locked && now >= lock)) return;
        clocks_in.set(levels);
        gain_lock();
        if (toggled) dq_in.set(at_fpga());
        rx.set(to.level(now));
        settle();
        look();
        if (clkfb_out.get() != (levels & 1)) fed_back = false;
        input_of_pll();
        lose_lock();
        // A netlist of cells has no parts; its core's clock is the PLL's second output.
        const bool core = parts.empty() ? clocks[1].level : parts[0].level;
        if (core && !core_was) core_edge();
        core_was = core;
        was_low |= ~others.get();
    }

    void core_edge() {
        ++all_cycles;
        if (locked) {
            if (!cycles++) core_first = now;
            else {
                const Time period = now - core_last;
                if (period < core_low) core_low = period;
                if (period > core_high) core_high = period;
            }
            core_last = now;
        }
        ++lit_cycles;
        for (uint64_t left = others.get(); left; left &= left - 1) ++lit[__builtin_ctzll(left)];
    }

    bool run(Time time) {
        const Time end = now + time;
        from.zero = false;
        for (unsigned n = 1; now < end && !from.zero && complaints.empty(); ++n) {
            step(end);
            if (n % 1024 == 0) check_verilog();
        }
        check_verilog();
        return complaints.empty();
    }

    void check_verilog() {
        bool stopped = shell.stopped() || sdram.stopped();
        for (const Part& part : parts) stopped |= part.model.stopped();
        if (stopped) complain("a check of the Verilog failed");
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Board* pins_new() { return new Board; }
API void pins_free(Board* b) { delete b; }
API void pins_set(Board* b, const char* name, int64_t value) { b->set[name] = value; }
API void pins_bind(Board* b) { b->bind(); }
API void pins_bind_sdram(Board* b) { b->bind_sdram(); }

// `which`: -1 the shell, -2 the SDRAM, otherwise a part. The first part has the core's clock.
API void pins_model(Board* b, int which, void* handle, void (*eval)(void*), int (*stopped)(void*),
                    void (*time)(void*, uint64_t)) {
    if (which >= static_cast<int>(b->parts.size())) b->parts.resize(which + 1);
    Model& model = which == -1 ? b->shell : which == -2 ? b->sdram : b->parts[which].model;
    model = {handle, eval, stopped, time, {}};
}
API void pins_port(Board* b, int which, const char* name, void* at, unsigned bytes) {
    Model& model = which == -1 ? b->shell : b->sdram;
    model.ports[name] = {at, bytes};
}
// `kind`: 0 for an input of the part, 1 for an output, 2 for its clock.
API void pins_wire(Board* b, int part, int kind, void* shell, void* at, unsigned bytes) {
    const Wire wire{{shell, bytes}, {at, bytes}};
    Part& to = b->parts[part];
    if (kind == 2) to.clock = wire;
    else (kind ? to.outputs : to.inputs).push_back(wire);
}
API void pins_send(Board* b, const uint8_t* bytes, uint64_t count) {
    b->to.bytes.insert(b->to.bytes.end(), bytes, bytes + count);
}
API int pins_run(Board* b, int64_t time) { return b->run(time); }
API uint64_t pins_take(Board* b, uint8_t* to, uint64_t room) {
    uint64_t count = 0;
    for (; count < room && !b->from.bytes.empty(); ++count) {
        to[count] = b->from.bytes.front();
        b->from.bytes.pop_front();
    }
    return count;
}
API void pins_oscillator(Board* b, int on) {
    b->osc_on = on;
    if (on) b->osc_next = b->now + b->osc_half;
}
API const char* pins_complaint(Board* b, uint64_t n) {
    return n < b->complaints.size() ? b->complaints[n].c_str() : nullptr;
}
API int64_t pins_get(Board* b, const char* name) {
    const std::map<std::string, int64_t> values = {
        {"now", b->now}, {"locked", b->locked}, {"locked_at", b->locked_at},
        {"cycles", static_cast<int64_t>(b->all_cycles)},
        {"core_cycles", static_cast<int64_t>(b->cycles)}, {"core_first", b->core_first},
        {"core_last", b->core_last}, {"core_low", b->core_low}, {"core_high", b->core_high},
        {"period_low", b->period_low}, {"period_high", b->period_high},
        {"rises", static_cast<int64_t>(b->rises)}, {"first_rise", b->first_rise},
        {"rise", b->rise}, {"setup", b->setup}, {"hold", b->hold}, {"dq_setup", b->dq_setup},
        {"dq_hold", b->dq_hold}, {"writes", static_cast<int64_t>(b->writes)},
        {"longest_low", b->from.longest}, {"broken_bytes", b->from.broken},
        {"lit_cycles", static_cast<int64_t>(b->lit_cycles)},
        {"was_low", static_cast<int64_t>(b->was_low)},
        {"set", static_cast<int64_t>(b->p_set.get())},
        {"latency", static_cast<int64_t>(b->p_latency.get())},
        {"refreshes", static_cast<int64_t>(b->p_refreshes.get())},
        {"command", b->there.command}, {"tx", static_cast<int64_t>(b->tx.get())},
        {"waits", static_cast<int64_t>(b->to.bytes.size() + (b->to.frame > 1))}};
    auto found = values.find(name);
    return found == values.end() ? -1 : found->second;
}
API int64_t pins_lit(Board* b, unsigned n) { return b->lit[n]; }
API void pins_forget_lights(Board* b) {
    std::memset(b->lit, 0, sizeof b->lit);
    b->lit_cycles = 0;
    b->was_low = 0;
}
