"""Golden twin of ``hw/common/gearbox.py``."""


__all__ = ["regroup"]


def regroup(words: list[int], in_bits: int, out_bits: int, count: int | None = None) -> list[int]:
    """Split a sequence of words into words of another width, low bits first.

    Parameters
    ----------
    words : list of int
        ``in_bits`` each.
    count : int or None
        Words to return; any further words are dropped. None: all, the last padded with zeros.

    Returns
    -------
    list of int, ``out_bits`` each
    """
    string = sum(word << k * in_bits for k, word in enumerate(words))
    if count is None:
        count = -(-len(words) * in_bits // out_bits)
    return [string >> k * out_bits & (1 << out_bits) - 1 for k in range(count)]
