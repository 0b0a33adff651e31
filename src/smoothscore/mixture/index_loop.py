"""The bounds of the index for few queries, in one compiled pass over what it stores.

For many queries matrix products are faster; for few of them they spend their time on writing the stored integers out
as floats.
"""

from smoothscore.loops import Array, loop

__all__ = ["add"]


def add(
    stored: Array, query: Array, norms: Array, factors: Array, values: Array, peaks: Array, estimate: Array
) -> None:
    """Add to the bounds what some stored coordinates and the norms give, in one thread: a second one gains less than
    it costs to be woken.

    Args:
        stored: (M, k) integers.
        query: (B, k) float32.
        norms: (M, n) float32.
        factors: (B, n) float32.
        values: (M, B) float32, added to.
        peaks: (pieces, B), receives the largest value of each piece.
        estimate: (pieces, B), receives the same without the share of the norms.
    """
    (count, known), queries, number = stored.shape, len(query), norms.shape[1]
    loop("index_add", stored.dtype)(
        stored, count, known, query, queries, norms, number, factors, values, peaks, estimate, len(peaks)
    )
