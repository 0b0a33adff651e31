#include "../mixture/exponential.hpp"

EXPORT const Int levels_line = 16;  // queries taken together, whose values share a line of the cache

namespace {

struct Table {
    const double *rows;
    Int count, columns, first, drop;
    double shift, last, tail;

    // F and its derivative.
    INLINE void look_up(double r2, double &value, double &slope) const {
        double near = r2 < 0 ? 0 : r2, rho;
        near = near > last ? last : near;
        rho = near + shift;
        Int cell;
        std::memcpy(&cell, &rho, sizeof cell);
        cell = (cell >> drop) - first;
        cell = cell < 0 ? 0 : cell > count - 1 ? count - 1 : cell;
        const double *row = rows + cell * columns;
        double t = (rho - row[6]) * row[7];
        value = ((((row[5] * t + row[4]) * t + row[3]) * t + row[2]) * t + row[1]) * t + row[0];
        value -= tail * (r2 - near);
        slope = (((5 * row[5] * t + 4 * row[4]) * t + 3 * row[3]) * t + 2 * row[2]) * t + row[1];
        slope *= row[7];
    }
};

}  // namespace

#define TABLE const double *rows, Int cells, Int columns, Int first, Int drop, double shift, double last, double tail
#define FIELDS {rows, cells, columns, first, drop, shift, last, tail}

#define DEFINE(R, r)                                                                                              \
    EXPORT void levels_relative_##r(                                                                              \
        TABLE, const double *base, const double *cold, Int queries, const R *offset, Int count, R *ratio,         \
        R *precision                                                                                              \
    ) {                                                                                                           \
        const Table table FIELDS;                                                                                 \
        for (Int b = 0; b < queries; b++) {                                                                       \
            double middle, value, slope;                                                                          \
            table.look_up(base[b], middle, slope);                                                                \
            for (Int j = b; j < count * queries; j += queries) {                                                  \
                table.look_up(base[b] + offset[j], value, slope);                                                 \
                ratio[j] = R((value - middle) * cold[b]);                                                         \
                precision[j] = R(-2 * slope);                                                                     \
            }                                                                                                     \
        }                                                                                                         \
    }
DEFINE(float, f4)
DEFINE(double, f8)

// ``columns_`` and ``precision`` are buffers of levels_line and one times ``count`` values.
EXPORT Int levels_weigh(
    TABLE, const double *base, const double *cold, const double *middle, Int queries, const float *s, Int count,
    double floor_, double room_, double least_, float *columns_, float *__restrict precision, float *weights,
    double *sums, std::uint8_t *__restrict carries
) {
    const Table table FIELDS;
    float floor = float(floor_), room = float(room_), least = float(least_);
    std::memset(carries, 0, count);
    std::int32_t above = 0;
    for (Int start = 0; start < queries; start += levels_line) {
        Int some = queries - start < levels_line ? queries - start : levels_line;
        for (Int j = 0; j < count; j++)
            for (Int k = 0; k < some; k++) columns_[k * count + j] = s[j * queries + start + k];
        for (Int k = 0; k < some; k++) {
            Int b = start + k;
            float *__restrict own = columns_ + k * count;
            double zero, slope, heavy = 0, steep = 0;
            table.look_up(base[b], zero, slope);
            for (Int j = 0; j < count; j++) {
                double value;
                table.look_up(base[b] + 2 * (middle[b] - own[j]), value, slope);
                own[j] = float((value - zero) * cold[b]);
                precision[j] = float(-2 * slope);
            }
            for (Int j = 0; j < count; j++) carries[j] |= own[j] > floor;
#pragma omp simd reduction(| : above)
            for (Int j = 0; j < count; j++) {
                above |= own[j] > room;
                own[j] = exponential(own[j] < least ? least : own[j]);
            }
#pragma omp simd reduction(+ : heavy, steep)
            for (Int j = 0; j < count; j++) {
                float pull = own[j] * precision[j];
                heavy += own[j];
                steep += pull;
                own[j] = pull;
            }
            sums[b] = heavy, sums[queries + b] = steep;
        }
        for (Int j = 0; j < count; j++)
            for (Int k = 0; k < some; k++) weights[j * queries + start + k] = columns_[k * count + j];
    }
    Int number = 0;
    for (Int j = 0; j < count; j++) number += carries[j];
    return above ? -1 : number;
}
