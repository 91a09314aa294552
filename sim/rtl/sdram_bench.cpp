// Runs sdram_bench.v with the arguments mode, amount and seed; prints its counters as JSON.

#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "verilated.h"

int main(int, char** argv) {
    VerilatedContext context;
    context.randReset(0);
    context.fatalOnError(false);        // a broken rule is reported below
    Vtop top{&context, "top"};
    top.mode = std::atoi(argv[1]);
    top.amount = std::strtoul(argv[2], nullptr, 10);
    top.seed = std::strtoul(argv[3], nullptr, 10);
    uint64_t cycles = 0;
    const uint64_t limit = 100000 + uint64_t{100} * top.amount;
    for (; cycles < limit && !context.gotFinish() && !(cycles > 4 && top.finished); ++cycles) {
        top.rst = cycles < 2;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }
    top.clk = 0;
    top.eval();
    const bool whole = top.finished && !context.gotFinish();
    std::printf("{\"whole\": %s, \"errors\": %u, \"read\": %u, \"written\": %u, \"span\": %u, "
                "\"latency\": %u, \"refreshes\": %u, \"cycles\": %llu}\n",
                whole ? "true" : "false", top.errors, top.words_read, top.words_written, top.span,
                top.latency, top.refreshes, static_cast<unsigned long long>(cycles));
    return 0;
}
