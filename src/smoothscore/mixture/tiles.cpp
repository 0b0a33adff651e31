// Each tile holds twelve sums in registers: as many as sixteen hold beside what they are made of, and enough to keep two
// multipliers busy while a sum waits for its last addition.
#include "../loops.hpp"

namespace {

constexpr Int SIX = 6, THREE = 3, FOUR = 4;
constexpr Int ROWS = 240;   // widened together, a multiple of twice SIX
constexpr Int APART = 16;   // values between rows, which would else compete for the same places of the cache

}  // namespace

EXPORT const Int tiles_block = 256;  // values of a row summed in the precision of the queries
EXPORT const Int tiles_group = 256;  // rows summed in the precision of the weights
EXPORT const Int tiles_vector = sizeof(Wide<float>);  // bytes
EXPORT const Int tiles_queries = FOUR;               // in a tile of weighted sums
EXPORT const Int tiles_columns = THREE * sizeof(Wide<float>);  // bytes of columns in it
EXPORT const Int tiles_rows = ROWS, tiles_length = tiles_block + APART;  // of the buffer of widened rows

namespace {

INLINE void add(Wide<double> values, double *out) { *reinterpret_cast<Wide<double> *>(out) += values; }

INLINE void add(Wide<float> values, double *out) {
    Side<float>::half halves[2];
    std::memcpy(halves, &values, sizeof values);
    add(__builtin_convertvector(halves[0], Wide<double>), out);
    add(__builtin_convertvector(halves[1], Wide<double>), out + 4);
}

// out[r, i] += the sum over k of a[k, r] v[k, i], for some numbers r and some vectors i: where the next k and the next
// vector or number are is said of each array; in ``out`` vectors lie side by side.
template <class R, int VECTORS, int NUMBERS>
INLINE void tile(
    const R *v, Int v_k, Int v_next, const R *a, Int a_k, Int a_next, double *out, Int out_next, Int count
) {
    Many<R> read;
    Wide<R> sums[NUMBERS][VECTORS] = {};
    for (Int k = 0; k < count; k++, v += v_k, a += a_k) {
        Wide<R> values[VECTORS];
#pragma GCC unroll 3
        for (int i = 0; i < VECTORS; i++) values[i] = read(v + i * v_next);
#pragma GCC unroll 12
        for (int r = 0; r < NUMBERS; r++)
#pragma GCC unroll 3
            for (int i = 0; i < VECTORS; i++) sums[r][i] += values[i] * a[r * a_next];
    }
#pragma GCC unroll 12
    for (int r = 0; r < NUMBERS; r++)
#pragma GCC unroll 3
        for (int i = 0; i < VECTORS; i++)
            add(sums[r][i], out + r * out_next + i * Side<R>::LANES);
}

template <class T, class R>
INLINE void widen(const T *row, Int size, R shift, R *out) {
    written(out, size, [=](auto read, Int i) { return read(row + i) - shift; });
}

template <class T, class R>
void products(
    const T *stored, Int dim, const Int *rows, Int count, R shift, const R *x, Int vectors, const double *less,
    Int queries, R *block, double *part, R *out
) {
    constexpr Int LANES = Side<R>::LANES, LENGTH = tiles_length;
    Int width = vectors * LANES;
    for (Int low = 0; low < count; low += ROWS) {
        Int several = count - low < ROWS ? count - low : ROWS;
        std::memset(part, 0, ROWS * width * sizeof(double));
        for (Int start = 0; start < dim; start += tiles_block) {
            Int size = dim - start < tiles_block ? dim - start : tiles_block;
            for (Int j = 0; j < several; j++)
                widen(stored + rows[low + j] * dim + start, size, shift, block + j * LENGTH);
            for (Int i = 0; i < vectors; i += 2) {  // past the last row: what the buffer held before, and nobody reads
                const R *v = x + (i * dim + start) * LANES;
                double *sums = part + i * LANES;
                if (i + 1 < vectors)
                    for (Int j = 0; j < several; j += SIX)
                        tile<R, 2, SIX>(
                            v, LANES, dim * LANES, block + j * LENGTH, 1, LENGTH, sums + j * width, width, size
                        );
                else
                    for (Int j = 0; j < several; j += 2 * SIX)
                        tile<R, 1, 2 * SIX>(
                            v, LANES, dim * LANES, block + j * LENGTH, 1, LENGTH, sums + j * width, width, size
                        );
            }
        }
        for (Int j = 0; j < several; j++)
            for (Int b = 0; b < queries; b++)
                out[(low + j) * queries + b] = R(part[j * width + b] - less[low + j]);
    }
}

template <class T, class R>
void total(
    const T *stored, Int dim, const Int *rows, Int count, R shift, const R *weights, const double *more, Int places,
    Int queries, R *strip, R *heavy, double *out, double *extra
) {
    constexpr Int LANES = Side<R>::LANES, COLUMNS = THREE * LANES;
    for (Int j = 0; j < count; j++)
        for (Int b = 0; b < queries; b++) extra[b] += weights[j * queries + b] * more[j];
    for (Int low = 0; low < count; low += tiles_group) {
        Int several = count - low < tiles_group ? count - low : tiles_group;
        for (Int b = 0; b < queries; b += FOUR)
            for (Int j = 0; j < several; j++)
                for (Int k = 0; k < FOUR; k++)
                    heavy[(b / FOUR * tiles_group + j) * FOUR + k] = weights[(low + j) * queries + b + k];
        for (Int place = 0; place < places; place++) {
            Int start = place * COLUMNS, size = dim - start;
            for (Int j = 0; j < several; j++) {
                const T *row = stored + rows[low + j] * dim + start;
                if (size < COLUMNS)
                    widen(row, size, shift, strip + j * COLUMNS);
                else
                    widen(row, COLUMNS, shift, strip + j * COLUMNS);
            }
            for (Int b = 0; b < queries; b += FOUR)
                tile<R, THREE, FOUR>(
                    strip, COLUMNS, LANES, heavy + b * tiles_group, FOUR, 1, out + (place * queries + b) * COLUMNS,
                    COLUMNS, several
                );
        }
    }
}

}  // namespace

#define DEFINE(T, t, R, r)                                                                                        \
    EXPORT void tiles_products_##t##_##r(                                                                         \
        const T *stored, Int dim, const Int *rows, Int count, double shift, const R *x, Int vectors,              \
        const double *less, Int queries, R *block, double *part, R *out                                           \
    ) {                                                                                                           \
        products<T, R>(stored, dim, rows, count, R(shift), x, vectors, less, queries, block, part, out);          \
    }                                                                                                             \
    EXPORT void tiles_total_##t##_##r(                                                                            \
        const T *stored, Int dim, const Int *rows, Int count, double shift, const R *weights, const double *more, \
        Int places, Int queries, R *strip, R *heavy, double *out, double *extra                                   \
    ) {                                                                                                           \
        total<T, R>(stored, dim, rows, count, R(shift), weights, more, places, queries, strip, heavy, out, extra); \
    }
FOR_STORED(DEFINE, float, f4)
FOR_STORED(DEFINE, double, f8)
