"""The report of a campaign: docs/reports/mutants.md."""

from collections import Counter

from tern_fpga.assembler.console.commit import made_by
from tests.campaigns.mutation.faults import KINDS
from tests.campaigns.mutation.known import EQUIVALENT


__all__ = ["survivors", "counts", "page"]


def _escape(text):
    return text.replace("|", "\\|")


def survivors(campaign):
    """Lines about what no test caught, and is not known to be the same machine."""
    caught = campaign.caught
    lines  = []
    for mutant in campaign.mutants:
        if mutant not in caught and mutant.key not in EQUIVALENT:
            tried = ", ".join(campaign.tried(mutant)) or "none"
            lines.append(f"{mutant.name}\n    {mutant.what}\n    {mutant.line}\n    met by {tried}")
    return lines


def counts(campaign):
    """Numbers of mutants by what became of them."""
    caught = len(campaign.caught)
    equivalent = sum(m not in campaign.caught and m.key in EQUIVALENT for m in campaign.mutants)
    return {"mutants": len(campaign.mutants), "caught": caught, "equivalent": equivalent,
            "survived": len(campaign.mutants) - caught - equivalent}


def page(campaign, command):
    caught     = campaign.caught
    mutants    = campaign.mutants
    equivalent = [m for m in mutants if m not in caught and m.key in EQUIVALENT]
    alive      = [m for m in mutants if m not in caught and m.key not in EQUIVALENT]
    real       = len(mutants) - len(equivalent)
    lines = [
        "# Mutants", "",
        made_by(command), "",
        "Each is one fault in the netlist that "
        "Amaranth makes, in every copy of its block; tests of `make test` run on it until one "
        "fails. How, and what it does not show: "
        "[docs/verification.md](../verification.md#mutants).", "",
        f"**{len(caught)} of {real} mutants caught ({len(caught) / real:.1%})**; "
        f"{len(equivalent)} more of {len(mutants)} change nothing that can be seen. "
        f"{sum(campaign.seconds.values()) / 60:.0f} minutes of the processor.", "",
        "| kind | mutants | caught | equivalent | survived |",
        "| --- | ---: | ---: | ---: | ---: |"]
    totals = Counter(m.kind for m in mutants)
    for kind in KINDS:
        counts = [sum(m.kind == kind for m in some) for some in (caught, equivalent, alive)]
        lines.append(f"| {kind} | {totals[kind]} | {' | '.join(map(str, counts))} |")
    for title, some, why in (("Survivors", alive, ""), ("Equivalent", equivalent, "reason")):
        lines += ["", f"## {title}", ""]
        if not some:
            lines.append("None.")
        for m in some:
            reason = f" {EQUIVALENT[m.key]}" if why else ""
            lines.append(f"* {m.block}, {m.place}, {m.type}.{m.nth}, {m.fault}: {m.what}. "
                         f"`{m.line}`{reason}")
    lines += ["", "## Caught", "",
              "| block | place | item | fault | before → after | source | caught by |",
              "| --- | --- | --- | --- | --- | --- | --- |"]
    for m in mutants:
        if m in caught:
            node, how = caught[m]
            by = node if "::" in how else f"{node} ({how})"
            lines.append("| " + " | ".join(map(_escape, (
                m.block, m.place, f"`{m.type}.{m.nth}`", m.fault, m.what,
                f"`{m.line}`" if m.line else "", by))) + " |")
    return "\n".join(lines) + "\n"
