r"""Products of many queries with stored rows, and sums of the rows weighted for many queries, in compiled loops.

A library's matrix product takes matrices of floats, as which pixels would have to be written out first, and orders
both factors anew in memory before it multiplies. Here few rows at a time are widened to floats in a buffer that stays
in the cache, where all queries meet them, in tiles of 12 vectors that stay in registers: products of ``THREE`` rows
with ``FOUR`` queries, summed along the rows, and sums over rows of ``THREE`` vectors of columns for ``FOUR`` queries.

Products are summed in the precision of the queries over ``BLOCK`` values, and these sums in float64: they are off by
:math:`\gamma_{BLOCK+1}\|x\|\|v\|` at most (see :mod:`smoothscore.mixture.compiled_sums`) before they are rounded to
the precision of the result. Weighted sums are taken in the same way over ``GROUP`` rows at most.

One thread does it all: the callers give each thread rows of its own.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smoothscore.loops import compiled

__all__ = ["BLOCK", "FOUR", "GROUP", "joined", "packed", "products", "strips", "total"]

Array = np.ndarray[Any, np.dtype[Any]]

THREE, FOUR = 3, 4
BLOCK = 768  # values of a row summed in the precision of the queries
ROWS = 48  # widened together, a multiple of THREE
GROUP = 256  # rows summed in the precision of the weights
VECTOR = 32  # bytes; wider registers take two at a time
SINGLE, DOUBLE = THREE * VECTOR // 4, THREE * VECTOR // 8  # values in three vectors, by precision
APART = 16  # values between rows, which would else compete for the same places of the cache

U = np.uint64  # of indices: a signed one could be negative, which loops over vectors cannot allow for


def packed(x: Array) -> Array:
    """Queries (B, d) as :func:`products` takes them: of zeros, (B rounded up to whole tiles, d + ``APART``)."""
    out = np.zeros((-(-len(x) // FOUR) * FOUR, x.shape[1] + APART), x.dtype)
    out[: len(x), : x.shape[1]] = x
    return out


def products(stored: Array, rows: Array, shift: float, x: Array, less: Array, out: Array) -> None:
    """``out[j, b]`` is the product of query b with row ``rows[j]``, less ``less[j]``: (n, B), rounded once.

    Args:
        stored: (N, d) of any real dtype.
        rows: (n,) int64.
        shift: subtracted from what is stored.
        x: the queries in float32 or float64, :func:`packed`.
        less: (n,) float64.
        out: (n, B), of the queries' dtype.
    """
    _products(stored, rows, x.dtype.type(shift), x, less, out)


def total(stored: Array, rows: Array, shift: float, weights: Array, more: Array, out: Array, extra: Array) -> None:
    """Add to ``out``, of :func:`strips`, the rows weighted by ``weights`` (n, B rounded up to whole tiles).

    To ``extra``, float64 of as many values, add the sums of ``more`` (n,) float64 with the same weights.
    """
    _total(stored, rows, weights.dtype.type(shift), weights, more, out, extra)


def strips(queries: int, dim: int, kind: np.dtype[Any]) -> Array:
    """Zeros for the sums of :func:`total`, (strips of columns, queries, columns) float64, for weights of this kind."""
    columns = THREE * VECTOR // kind.itemsize
    return np.zeros((-(-dim // columns), -(-queries // FOUR) * FOUR, columns))


def joined(sums: Array, queries: int, dim: int) -> Array:
    """Those sums as (queries, dim)."""
    return sums.transpose(1, 0, 2).reshape(sums.shape[1], -1)[:queries, :dim]


@compiled
def _products(stored: Array, rows: Array, shift: Any, x: Array, less: Array, out: Array) -> None:
    dim = stored.shape[1]
    block = np.zeros((ROWS, BLOCK + APART), x.dtype)
    part = np.empty((ROWS, len(x)), np.float64)
    for low in range(0, len(rows), ROWS):
        count = min(ROWS, len(rows) - low)
        part[:] = 0
        for start in range(0, dim, BLOCK):
            size = min(BLOCK, dim - start)
            for j in range(count):
                _widen(stored, U(rows[low + j]), U(start), U(size), shift, block, U(j))
            for b in range(0, len(x), FOUR):
                for j in range(0, count, THREE):  # past the last row: what the buffer held before, and nobody reads
                    _tile(block, x, U(j), U(b), U(start), U(size), part)
        for j in range(count):
            for b in range(out.shape[1]):
                out[low + j, b] = part[j, b] - less[low + j]


@compiled
def _widen(stored: Array, row: Any, start: Any, size: Any, shift: Any, out: Array, j: Any) -> None:
    for i in range(size):
        out[j, i] = type(shift)(stored[row, start + i]) - shift


@compiled
def _tile(rows: Array, x: Array, j: Any, b: Any, start: Any, size: Any, out: Array) -> None:
    """Add the products of rows j to j + 2 with ``size`` values of queries b to b + 3."""
    k, m, c, d, e = j + U(1), j + U(2), b + U(1), b + U(2), b + U(3)
    p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = r0 = r1 = r2 = r3 = x[b, start] - x[b, start]
    for i in range(size):
        p, q, r = rows[j, i], rows[k, i], rows[m, i]
        value = x[b, start + i]
        p0, q0, r0 = p0 + p * value, q0 + q * value, r0 + r * value
        value = x[c, start + i]
        p1, q1, r1 = p1 + p * value, q1 + q * value, r1 + r * value
        value = x[d, start + i]
        p2, q2, r2 = p2 + p * value, q2 + q * value, r2 + r * value
        value = x[e, start + i]
        p3, q3, r3 = p3 + p * value, q3 + q * value, r3 + r * value
    for row, one, two, three, four in ((j, p0, p1, p2, p3), (k, q0, q1, q2, q3), (m, r0, r1, r2, r3)):
        out[row, b] += one
        out[row, c] += two
        out[row, d] += three
        out[row, e] += four


@compiled
def _total(stored: Array, rows: Array, shift: Any, weights: Array, more: Array, out: Array, extra: Array) -> None:
    for j in range(len(rows)):
        for b in range(len(extra)):
            extra[b] += weights[j, b] * more[j]
    dim, columns = stored.shape[1], out.shape[2]
    strip, part = np.zeros((GROUP, columns), weights.dtype), np.empty((FOUR, columns), weights.dtype)
    for low in range(0, len(rows), GROUP):
        several = min(GROUP, len(rows) - low)
        for place in range(len(out)):
            start = place * columns
            for j in range(several):
                row = U(rows[low + j])
                if start + columns > dim:
                    _widen(stored, row, U(start), U(dim - start), shift, strip, U(j))
                elif columns == SINGLE:  # numbers that the compiler knows make this several times as fast
                    _widen(stored, row, U(start), U(SINGLE), shift, strip, U(j))
                else:
                    _widen(stored, row, U(start), U(DOUBLE), shift, strip, U(j))
            for b in range(0, weights.shape[1], FOUR):
                outer(strip, weights, low, b, several, part)
                out[place, b : b + FOUR] += part


def _outer(context: Any, strip: Any, weights: Any, low: Any, b: Any, several: Any, part: Any) -> Any:
    """Write into ``part`` (4, columns) the sums over j of ``weights[low + j, b:b + 4]`` times ``strip[j]``.

    What the compiler does not find by itself: that all of ``part`` can stay in registers. Multiplication and addition
    may be rounded once or twice.
    """

    def generate(target: Any, build: Any, signature: Any, arguments: Any) -> Any:
        lanes = VECTOR * 8 // strip.dtype.bitwidth
        real, index, once = target.get_value_type(strip.dtype), ir.IntType(64), {"flags": ("contract",)}
        vector, spread = ir.VectorType(real, lanes), ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        strip_, weights_, part_ = (
            target.make_array(kind)(target, build, arguments[place])
            for kind, place in ((strip, 0), (weights, 1), (part, 5))
        )

        def at(data: Any, offset: Any) -> Any:
            return build.bitcast(build.gep(data, [offset]), vector.as_pointer())

        zero, align = ir.Constant(vector, [0.0] * lanes), strip.dtype.bitwidth // 8
        new: Any = cgutils.alloca_once
        sums = [[new(build, vector) for _ in range(THREE)] for _ in range(FOUR)]
        for row in sums:
            for one in row:
                build.store(zero, one)
        width = build.extract_value(weights_.shape, 1)
        with cgutils.for_range(build, arguments[4]) as loop:
            start = build.mul(loop.index, ir.Constant(index, THREE * lanes))
            values = [
                build.load(at(strip_.data, build.add(start, ir.Constant(index, v * lanes))), align=align)
                for v in range(THREE)
            ]
            first = build.add(build.mul(build.add(arguments[2], loop.index), width), arguments[3])
            for k, row in enumerate(sums):
                weight = build.load(build.gep(weights_.data, [build.add(first, ir.Constant(index, k))]))
                lone = build.insert_element(ir.Constant(vector, ir.Undefined), weight, ir.Constant(ir.IntType(32), 0))
                every = build.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), spread)
                for one, value in zip(row, values, strict=True):
                    build.store(build.fadd(build.fmul(every, value, **once), build.load(one), **once), one)
        for k, row in enumerate(sums):
            for v, one in enumerate(row):
                place = ir.Constant(index, (k * THREE + v) * lanes)
                build.store(build.load(one), at(part_.data, place), align=align)
        return target.get_dummy_value()

    return types.void(strip, weights, types.intp, types.intp, types.intp, part), generate


outer: Any = intrinsic(_outer)
