"""Which faults a netlist can have, and which of them are tried."""

from collections import defaultdict
import random

from tests.campaigns.mutation import rtlil
from tests.campaigns.mutation.faults import KINDS, faults
from tests.campaigns.mutation.mutants import Mutant, items


__all__ = ["sites", "choose"]


def sites(*texts):
    """All faults that the netlists could have: ``{block: [Mutant]}``."""
    found = defaultdict(dict)
    for text in texts:
        for module in rtlil.parse(text):
            if module.owner is not None:
                for key, item in items(module):
                    for fault, (_, what) in faults(item).items():
                        mutant = Mutant(module.owner, *key, fault, what)
                        found[module.owner].setdefault(mutant.name, mutant)
    return {block: sorted(found[block].values()) for block in sorted(found)}


def choose(sites, count, seed):
    """``count`` mutants: one of each block, then of the blocks with most places for one; fewer
    where a block has no more.

    Kinds take turns, and a block that has none of the kind whose turn it is takes the next. So a
    change of one block leaves the mutants of the others as they are.
    """
    most   = sorted(sites, key=lambda block: (-len(sites[block]), block))
    chosen = []
    for again, first in enumerate(range(0, count, len(sites))):
        for turn, block in enumerate(sorted(most[:count - first])):
            draw = random.Random(f"{seed} {again} {block}")
            left = [mutant for mutant in sites[block] if mutant not in chosen]
            for k in range(len(KINDS)):
                kind   = KINDS[(turn + 3 * again + k) % len(KINDS)]
                places = sorted({mutant.place for mutant in left if mutant.kind == kind})
                if places:
                    # A place first, then what is wrong there: a line of many cells counts once.
                    place = draw.choice(places)
                    chosen.append(draw.choice([mutant for mutant in left if mutant.kind == kind
                                               and mutant.place == place]))
                    break
    return sorted(chosen)
