"""Cycle breakdown: the core's counters as shares that add up to 1."""

from collections.abc import Mapping

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.registers import GROUPS
from tern_fpga.assembler.files.image import Image


__all__ = ["MEMORY", "UNITS", "memory", "units", "trit_bytes"]


# Uses of the memory's cycles and their descriptions, in the order of the tables.
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


def trit_bytes(image: Image) -> float:
    """Bytes of the matrices' trits, without padding."""
    return sum((last - first) * tensor["columns"] for tensor in image.told("tensors")
               if "columns" in tensor for first, last in [tensor["rows"]]
               ) / formats.TRITS_PER_BYTE


def memory(counters: Mapping[str, int], image: Image, *, parameters: float, refresh: float = 0,
           peak: float = 1.0) -> dict[str, float]:
    """Shares of the words that the memory's pins could have moved, by the uses in :data:`MEMORY`.

    Parameters
    ----------
    counters : dict
        The core's counters over the measured time.
    image : assembler.files.image.Image
        Determines the padding of the weights.
    parameters : float
        Words of parameters, except trits, that had to be loaded in that time.
    refresh : float
        Words that the memory could not move because of refreshes. The core has no counter of them.
    peak : float
        Words that the pins can move in a cycle of the core.
    """
    cycles, words = counters["cycles"], counters["weight_words"]
    # Pins slower than the core have no word in 1 - peak of its cycles, which are not lost.
    late = counters["memory_late"] - cycles * (1 - peak)
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


def units(counters: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Shares of the cycles, by unit and by its activity."""
    return {unit: {name.removeprefix(f"{unit}_"): counters[name] / counters["cycles"]
                   for name in GROUPS[unit]} for unit in UNITS}
