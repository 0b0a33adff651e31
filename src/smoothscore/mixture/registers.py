r"""Sums of vectors times numbers that stay in registers: the innermost loop of :mod:`smoothscore.mixture.tiles`.

A tile is :math:`out_{r,i}\mathrel{+}=\sum_ka_{k,r}\,v_{k,i}` for some numbers r and some vectors i: at each k, each
vector is loaded once, and each number once into all places of a register. Twelve sums are as many as sixteen registers
hold beside what they are made of, and enough to keep two multipliers busy while a sum waits for its last addition.
What the compiler does not find by itself is that all sums can stay where they are.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["VECTOR", "tile"]

VECTOR = 32  # bytes; wider registers take two at a time


def tile(vectors: int, numbers: int) -> Any:
    """A function for compiled loops that adds the sums of so many vectors times so many numbers to ``out``.

    It takes ``v, a, out, count, v_at, v_k, v_next, a_at, a_k, a_next, out_at, out_next``: three arrays, ``out`` in
    float64, whose values are counted as if each were one row; how many k; and of each array where to begin and how far
    on the next k, and the next vector or number, are. In ``out`` vectors lie side by side. The sums are taken in the
    precision of ``v`` and ``a``; multiplication and addition may be rounded once or twice.
    """

    def typed(
        _: Any, v: Any, a: Any, out: Any, count: Any, v_at: Any, v_k: Any, v_next: Any, a_at: Any, a_k: Any,
        a_next: Any, out_at: Any, out_next: Any,
    ) -> Any:  # fmt: skip
        def generate(target: Any, build: Any, signature: Any, arguments: Any) -> Any:
            data = [target.make_array(kind)(target, build, arguments[i]).data for i, kind in enumerate((v, a, out))]
            real = target.get_value_type(v.dtype)
            _sums(build, ir.VectorType(real, VECTOR * 8 // v.dtype.bitwidth), vectors, numbers, *data, *arguments[3:])
            return target.get_dummy_value()

        return types.void(v, a, out, *[types.intp] * 9), generate

    return intrinsic(typed)


def _sums(
    build: Any, vector: Any, vectors: int, numbers: int, v: Any, a: Any, out: Any, count: Any,
    v_at: Any, v_k: Any, v_next: Any, a_at: Any, a_k: Any, a_next: Any, out_at: Any, out_next: Any,
) -> None:  # fmt: skip
    """Write the instructions of such a tile."""
    real, wide = vector.element, ir.VectorType(ir.DoubleType(), vector.count)
    zero, none = ir.Constant(vector, [0.0] * vector.count), ir.Constant(vector, ir.Undefined)
    everywhere, lane = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None), ir.Constant(ir.IntType(32), 0)
    once = {"flags": ("contract",)}

    def after(start: Any, times: Any, step: Any) -> Any:
        return build.add(start, build.mul(ir.Constant(step.type, times) if isinstance(times, int) else times, step))

    def pointer(data: Any, place: Any, kind: Any) -> Any:
        return build.bitcast(build.gep(data, [place]), kind.as_pointer())

    new: Any = cgutils.alloca_once_value
    sums = [[new(build, zero) for _ in range(vectors)] for _ in range(numbers)]
    with cgutils.for_range(build, count) as loop:
        values = [
            build.load(pointer(v, after(after(v_at, i, v_next), loop.index, v_k), vector), align=1)
            for i in range(vectors)
        ]
        for r, row in enumerate(sums):
            number = build.load(pointer(a, after(after(a_at, r, a_next), loop.index, a_k), real))
            every = build.shuffle_vector(build.insert_element(none, number, lane), none, everywhere)
            for one, value in zip(row, values, strict=True):
                build.store(build.fadd(build.fmul(every, value, **once), build.load(one), **once), one)
    for r, row in enumerate(sums):
        for i, one in enumerate(row):
            side = ir.Constant(out_at.type, i * vector.count)
            place = pointer(out, build.add(after(out_at, r, out_next), side), wide)
            value = build.load(one)
            value = value if real == ir.DoubleType() else build.fpext(value, wide)
            build.store(build.fadd(build.load(place, align=8), value), place, align=8)
