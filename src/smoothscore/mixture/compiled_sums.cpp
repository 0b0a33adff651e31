#include "../loops.hpp"

EXPORT const Int sums_block = 256;  // values summed in the precision of the query
EXPORT const Int sums_group = 64;   // rows, likewise

namespace {

template <class T, class R>
INLINE void pair(const T *row, R shift, const R *x, const R *y, Int n, double &first, double &second) {
    constexpr int LANES = Side<R>::LANES, SUMS = 2;
    Wide<R> s[SUMS] = {}, t[SUMS] = {};
    Int i = 0;
    Many<R> read;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
#pragma GCC unroll 2
        for (int k = 0; k < SUMS; k++) {
            Wide<R> value = read(row + i + k * LANES) - shift;
            s[k] += read(x + i + k * LANES) * value;
            t[k] += read(y + i + k * LANES) * value;
        }
    R one = 0, two = 0;
    for (; i < n; i++) {
        R value = R(row[i]) - shift;
        one += x[i] * value;
        two += y[i] * value;
    }
    s[0] += s[1], t[0] += t[1];
    first += one + together<R>(s[0]);
    second += two + together<R>(t[0]);
}

template <class T, class R>
void products(const T *stored, Int dim, const Int *rows, Int count, R shift, const R *x, Int queries, double *out) {
    for (Int j = 0; j < count; j++) {
        const T *row = stored + rows[j] * dim;
        for (Int b = 0; b + 1 < queries; b += 2) {  // two queries share the reading
            double first = 0, second = 0;
            for (Int low = 0; low < dim; low += sums_block) {
                Int n = dim - low < sums_block ? dim - low : sums_block;
                pair(row + low, shift, x + b * dim + low, x + (b + 1) * dim + low, n, first, second);
            }
            out[j * queries + b] = first, out[j * queries + b + 1] = second;
        }
        if (queries % 2) {
            const R *last = x + (queries - 1) * dim;
            double alone = 0;
            for (Int low = 0; low < dim; low += sums_block) {
                Int n = dim - low < sums_block ? dim - low : sums_block;
                alone += added<R, 4>(n, [=](auto read, Int i) {
                    return read(last + low + i) * (read(row + low + i) - shift);
                });
            }
            out[j * queries + queries - 1] = alone;
        }
    }
}

template <class T, class R>
INLINE void four(R *part, const T *p, const T *q, const T *r, const T *s, R shift, R a, R b, R c, R d, Int n) {
    R back = (a + b + c + d) * shift;
    written(part, n, [=](auto read, Int i) {
        return read(part + i) + (a * read(p + i) + b * read(q + i) + c * read(r + i) + d * read(s + i) - back);
    });
}

template <class T, class R>
INLINE void one(R *part, const T *row, R shift, R factor, Int n) {
    written(part, n, [=](auto read, Int i) { return read(part + i) + factor * (read(row + i) - shift); });
}

template <class T, class R>
void total(
    const T *stored, Int dim, const Int *rows, Int count, R shift, const R *weights, Int queries, R *part, double *out
) {
    for (Int b = 0; b < queries; b++)
        for (Int low = 0; low < count; low += sums_group) {
            Int high = low + sums_group < count ? low + sums_group : count, j = low;
            std::memset(part, 0, dim * sizeof(R));
            auto row = [=](Int k) { return stored + rows[k] * dim; };
            auto weight = [=](Int k) { return weights[k * queries + b]; };
            for (; j + 4 <= high; j += 4)
                four(
                    part, row(j), row(j + 1), row(j + 2), row(j + 3), shift, weight(j), weight(j + 1), weight(j + 2),
                    weight(j + 3), dim
                );
            for (; j < high; j++) one(part, row(j), shift, weight(j), dim);
            double *__restrict sums = out + b * dim;
            for (Int i = 0; i < dim; i++) sums[i] += part[i];
        }
}

template <class T>
void squares(
    Int start, Int stop, const T *stored, Int dim, double shift, const double *x, const Int *query, const Int *rows,
    double *out
) {
    for (Int p = start; p < stop; p++) {
        const T *row = stored + rows[p] * dim;
        const double *from = x + query[p] * dim;
        out[p] = added<double, 4>(dim, [=](auto read, Int i) {
            auto apart = read(row + i) - shift - read(from + i);
            return apart * apart;
        });
    }
}

template <class T>
void totals(
    Int start, Int stop, const T *stored, Int dim, double shift, const Int *query, const Int *rows,
    const double *factors, Int count, double *out
) {
    for (Int p = 0; p < count;) {
        double *sums = out + query[p] * dim + start;
        auto row = [=](Int k) { return stored + rows[k] * dim + start; };
        bool same = p + 3 < count && query[p] == query[p + 1] && query[p] == query[p + 2] && query[p] == query[p + 3];
        const double *w = factors + p;
        if (same)  // four pairs of the same query at a time
            four(sums, row(p), row(p + 1), row(p + 2), row(p + 3), shift, w[0], w[1], w[2], w[3], stop - start);
        else
            one(sums, row(p), shift, w[0], stop - start);
        p += same ? 4 : 1;
    }
}

}  // namespace

#define DEFINE_BOTH(T, t, R, r)                                                                                   \
    EXPORT void sums_products_##t##_##r(                                                                          \
        const T *stored, Int dim, const Int *rows, Int count, double shift, const R *x, Int queries, double *out  \
    ) {                                                                                                           \
        products<T, R>(stored, dim, rows, count, R(shift), x, queries, out);                                      \
    }                                                                                                             \
    EXPORT void sums_total_##t##_##r(                                                                             \
        const T *stored, Int dim, const Int *rows, Int count, double shift, const R *weights, Int queries, R *part, \
        double *out                                                                                               \
    ) {                                                                                                           \
        total<T, R>(stored, dim, rows, count, R(shift), weights, queries, part, out);                             \
    }
FOR_STORED(DEFINE_BOTH, float, f4)
FOR_STORED(DEFINE_BOTH, double, f8)

#define DEFINE_PAIRS(T, t)                                                                                        \
    EXPORT void sums_squares_##t(                                                                                 \
        Int start, Int stop, const T *stored, Int dim, double shift, const double *x, const Int *query,           \
        const Int *rows, double *out                                                                              \
    ) {                                                                                                           \
        squares<T>(start, stop, stored, dim, shift, x, query, rows, out);                                         \
    }                                                                                                             \
    EXPORT void sums_totals_##t(                                                                                  \
        Int start, Int stop, const T *stored, Int dim, double shift, const Int *query, const Int *rows,           \
        const double *factors, Int count, double *out                                                             \
    ) {                                                                                                           \
        totals<T>(start, stop, stored, dim, shift, query, rows, factors, count, out);                             \
    }
FOR_STORED(DEFINE_PAIRS)
