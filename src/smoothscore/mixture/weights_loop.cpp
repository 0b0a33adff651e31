#include "exponential.hpp"

EXPORT Int weights_weigh(
    const float *__restrict middle, const float *__restrict steep, const float *__restrict s, Int count, Int queries,
    double floor_, double room_, double least_, float *__restrict weights, double *__restrict sums,
    std::uint8_t *__restrict carries
) {
    float floor = float(floor_), room = float(room_), least = float(least_);
    std::memset(sums, 0, 2 * queries * sizeof(double));
    std::int32_t above = 0;
    Int number = 0;
    for (Int j = 0; j < count; j++) {
        std::int32_t hits = 0;
        const float *row = s + j * queries;
        float *own = weights + j * queries;
#pragma omp simd reduction(| : hits, above)
        for (Int b = 0; b < queries; b++) {
            float logit = (row[b] - middle[b]) * steep[b];
            hits |= logit > floor;
            above |= logit > room;
            own[b] = exponential(logit < least ? least : logit);
        }
        carries[j] = hits > 0;
        number += hits > 0;
        for (Int b = 0; b < queries; b++) sums[b] += own[b];
    }
    return above ? -1 : number;
}
