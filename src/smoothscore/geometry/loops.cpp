#include "../loops.hpp"

// ``record`` (K,) and ``top`` (K, L) are buffers.
EXPORT void geometry_climb(
    const Int *order, const double *squares, Int count, const double *center_noise, Int noises, const double *steep,
    const double *bent, Int levels, double *record, double *top, double *out
) {
    for (Int k = 0; k < noises; k++) record[k] = -__builtin_inf();
    for (Int i = 0; i < noises * levels; i++) top[i] = -__builtin_inf();
    for (Int i = 0; i < count; i++) {
        double distant = squares[order[i]];
        const double *row = center_noise + order[i] * noises;
        if (distant == __builtin_inf()) break;
        std::int32_t higher = 0;
        for (Int k = 0; k < noises; k++) higher += row[k] > record[k];
        if (higher == 0) continue;
        for (Int k = 0; k < noises; k++)
            if (row[k] > record[k]) {
                record[k] = row[k];
                double *best = top + k * levels;
                for (Int level = 0; level < levels; level++) {
                    double value = steep[level] * row[k] + bent[level] * distant;
                    best[level] = value > best[level] ? value : best[level];
                }
            }
    }
    for (Int level = 0; level < levels; level++)
        for (Int k = 0; k < noises; k++) out[level * noises + k] = top[k * levels + level];
}

EXPORT void geometry_add_overlaps(
    const double *distances, Int centers, const Int *rows, Int count, double sigma, double end, const double *pieces,
    Int parts, double *out
) {
    double width = end / parts;
    for (Int n = 0; n < count; n++) {
        const double *row = distances + rows[n] * centers;
        double total = 0;
        for (Int j = 0; j < centers && total < 1; j++) {
            if (!(row[j] < end * sigma)) continue;
            double place = row[j] / sigma;
            Int p = Int(place / width);
            p = p < parts - 1 ? p : parts - 1;
            double x = place - p * width;
            double overlap = ((pieces[p] * x + pieces[parts + p]) * x + pieces[2 * parts + p]) * x + pieces[3 * parts + p];
            total += overlap < 0 ? 0 : overlap > 1 ? 1 : overlap;
        }
        out[n] = total < 1 ? total : 1;
    }
}
