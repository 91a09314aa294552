"""Where the cycles went: the core's counters as shares that add up to 1."""

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.registers import GROUPS


__all__ = ["MEMORY", "UNITS", "memory", "units", "trit_bytes"]


# What the memory's cycles go to, in the order of the tables.
MEMORY = {
    "weights":     "trits",
    "padding":     "padding of weights",
    "parameters":  "gains, bounds, embedding row",
    "loads":       "states, and what is read again",
    "stores":      "stores",
    "program":     "program",
    "host":        "host",
    "refresh":     "idle: refresh",
    "late":        "idle: row changes, bus turned, latency",
    "starved":     "idle: a write waits for its words",
    "full":        "idle: no room in the prefetch",
    "unasked":     "idle: no stream to fetch for",
}

UNITS = tuple(group for group in GROUPS if group != "memory")


def trit_bytes(image):
    """Bytes of the matrices' trits, without padding."""
    return sum((last - first) * tensor["columns"] for tensor in image.told("tensors")
               if "columns" in tensor for first, last in [tensor["rows"]]
               ) / formats.TRITS_PER_BYTE


def memory(counters, image, *, parameters, refresh=0, peak=1.0):
    """Shares of what the memory's pins could have moved, by :data:`MEMORY`.

    Parameters
    ----------
    counters : dict
        Of the core, for some time.
    image : assembler.files.image.Image
        Says how much of the weights is padding.
    parameters : float
        Words of parameters, but trits, that had to be loaded in that time.
    refresh : float
        Words that the memory did not move while it was refreshed: only it knows.
    peak : float
        Words that the pins could move in a cycle of the core.
    """
    cycles, words = counters["cycles"], counters["weight_words"]
    late = counters["memory_late"] - cycles * (1 - peak)    # of slower pins, only what they lost
    useful  = words * trit_bytes(image) / image.section("weights").size
    needed  = min(parameters, counters["load_words"])
    refresh = min(refresh, late)
    parts = {
        "weights":    useful,
        "padding":    words - useful,
        "parameters": needed,
        "loads":      counters["load_words"] - needed,
        "stores":     counters["store_words"],
        "program":    counters["program_words"],
        "host":       counters["host_words"],
        "refresh":    refresh,
        "late":       late - refresh,
        "starved":    counters["memory_starved"],
        "full":       counters["memory_full"],
        "unasked":    counters["memory_unasked"],
    }
    return {name: parts[name] / (cycles * peak) for name in MEMORY}


def units(counters):
    """Shares of the cycles by unit and by what it did."""
    return {unit: {name.removeprefix(f"{unit}_"): counters[name] / counters["cycles"]
                   for name in GROUPS[unit]} for unit in UNITS}
