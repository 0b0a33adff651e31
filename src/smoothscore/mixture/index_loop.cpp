#include "../loops.hpp"

namespace {

template <class T>
void add(
    const T *stored, Int count, Int known, const float *query, Int queries, const float *norms, Int number,
    const float *factors, float *values, float *peaks, float *estimate, Int pieces
) {
    Int size = (count + pieces - 1) / pieces;
    for (Int piece = 0; piece < pieces; piece++)
        for (Int b = 0; b < queries; b++) {
            float most = -__builtin_inff(), near = most;
            const float *own = query + b * known, *share = factors + b * number;
            Int stop = (piece + 1) * size < count ? (piece + 1) * size : count;
            for (Int j = piece * size; j < stop; j++) {
                const T *row = stored + j * known;
                const float *norm = norms + j * number;
                float value = values[j * queries + b];
                value += added<float, 4>(known, [=](auto read, Int i) { return read(row + i) * read(own + i); });
                near = value > near ? value : near;
                value += added<float, 1>(number, [=](auto read, Int i) { return read(norm + i) * read(share + i); });
                values[j * queries + b] = value;
                most = value > most ? value : most;
            }
            peaks[piece * queries + b] = most, estimate[piece * queries + b] = near;
        }
}

}  // namespace

#define DEFINE(T, t)                                                                                              \
    EXPORT void index_add_##t(                                                                                    \
        const T *stored, Int count, Int known, const float *query, Int queries, const float *norms, Int number,   \
        const float *factors, float *values, float *peaks, float *estimate, Int pieces                            \
    ) {                                                                                                           \
        add<T>(stored, count, known, query, queries, norms, number, factors, values, peaks, estimate, pieces);    \
    }
DEFINE(std::int16_t, i2)
DEFINE(std::int8_t, i1)
