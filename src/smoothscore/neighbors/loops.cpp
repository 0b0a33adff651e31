#include "../loops.hpp"

EXPORT const Int neighbors_width = 16;  // queries that share a look at the bounds

namespace {

using Byte = std::uint8_t;

// Squared distance of two rows. Between bytes integers are summed in 32 bits: 2^15 times 255^2 is less than 2^31.
INLINE double apart(const Byte *a, const Byte *b, Int dim) {
    constexpr Int SAFE = 1 << 15;
    Int whole = 0;
    for (Int start = 0; start < dim; start += SAFE) {
        Int stop = start + SAFE < dim ? start + SAFE : dim;
        std::int32_t total = 0;
        for (Int i = start; i < stop; i++) {
            std::int16_t difference = std::int16_t(a[i] - b[i]);
            total += difference * difference;
        }
        whole += total;
    }
    return double(whole);
}

template <class T>
INLINE double apart(const double *a, const T *b, Int dim) {
    return added<double, 4>(dim, [=](auto read, Int i) {
        auto difference = read(a + i) - read(b + i);
        return difference * difference;
    });
}

// A heap of the nearest so far: no entry is nearer than its two children, those after it at twice its place. Equal
// distances are ordered by the centers' numbers.
struct Heap {
    Int *index;
    double *square;
    Int count;

    // Put a center in the place of the farthest, if it is nearer.
    void keep(Int number, double value) {
        if (value < square[0] || (value == square[0] && number < index[0])) sink(number, value);
    }

    // Put an entry in the place of the first and down to where it belongs.
    void sink(Int number, double value) {
        Int at = 0;
        while (2 * at + 1 < count) {
            Int child = 2 * at + 1;
            if (child + 1 < count && (square[child + 1] > square[child] ||
                                      (square[child + 1] == square[child] && index[child + 1] > index[child])))
                child++;
            if (value > square[child] || (value == square[child] && number > index[child])) break;
            index[at] = index[child], square[at] = square[child];
            at = child;
        }
        index[at] = number, square[at] = value;
    }
};

template <class X, class Y>
void look(
    Int start, Int stop, float *low, Int width, const float *rest, const float *__restrict own_rest, float *limit,
    double scale, const double *offset, const X *x, Int dim, const Y *y, const Int *row, Int count, Int *index,
    double *square, Int k
) {
    for (Int center = 0; center < count; center++) {
        float further = rest[center];
        const Y *other = y + row[center] * dim;
        for (Int first = start * neighbors_width; first < stop * neighbors_width; first += neighbors_width) {
            float *bounds = low + center * width;
            std::int32_t hits = 0;
#pragma omp simd reduction(+ : hits)
            for (Int query = first; query < first + neighbors_width; query++)
                hits += bounds[query] - further * own_rest[query] <= limit[query];
            if (hits == 0) continue;
            for (Int query = first; query < first + neighbors_width; query++)
                if (bounds[query] - further * own_rest[query] <= limit[query]) {
                    bounds[query] = __builtin_inff();
                    Heap heap{index + query * k, square + query * k, k};
                    heap.keep(center, apart(x + query * dim, other, dim));
                    float least = float(scale * heap.square[0] + offset[query]);
                    if (least < limit[query]) limit[query] = least;
                }
        }
    }
}

template <class X, class Y>
void measure(
    Int start, Int stop, const Int *found, Int width, const X *x, Int dim, const Y *y, const Int *row, Int *index,
    double *square, Int k
) {
    for (Int query = start; query < stop; query++)
        for (Int place = 0; place < width; place++) {
            Int center = found[query * width + place];
            if (center < 0) continue;
            Heap heap{index + query * k, square + query * k, k};
            heap.keep(center, apart(x + query * dim, y + row[center] * dim, dim));
        }
}

}  // namespace

#define DEFINE(X, x_, Y, y_)                                                                                      \
    EXPORT void neighbors_look_##x_##_##y_(                                                                       \
        Int start, Int stop, float *low, Int width, const float *rest, const float *own_rest, float *limit,       \
        double scale, const double *offset, const X *x, Int dim, const Y *y, const Int *row, Int count, Int *index, \
        double *square, Int k                                                                                     \
    ) {                                                                                                           \
        look(start, stop, low, width, rest, own_rest, limit, scale, offset, x, dim, y, row, count, index, square, k); \
    }                                                                                                             \
    EXPORT void neighbors_measure_##x_##_##y_(                                                                    \
        Int start, Int stop, const Int *found, Int width, const X *x, Int dim, const Y *y, const Int *row,        \
        Int *index, double *square, Int k                                                                         \
    ) {                                                                                                           \
        measure(start, stop, found, width, x, dim, y, row, index, square, k);                                     \
    }
DEFINE(Byte, u1, Byte, u1)
DEFINE(double, f8, Byte, u1)
DEFINE(double, f8, float, f4)
DEFINE(double, f8, double, f8)

EXPORT void neighbors_ordered(Int start, Int stop, Int *index, double *square, Int k) {
    for (Int query = start; query < stop; query++)
        for (Int last = k - 1; last > 0; last--) {
            Heap heap{index + query * k, square + query * k, last};
            Int number = heap.index[last];
            double value = heap.square[last];
            heap.index[last] = heap.index[0], heap.square[last] = heap.square[0];
            heap.sink(number, value);
        }
}
