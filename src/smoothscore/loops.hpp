// What the loops of this package share.
//
// Arrays are C-contiguous and do not overlap. Nothing is allocated, buffers are arguments, and nothing can fail. The
// Python caller beside each loop says what it does and what its arguments are. Types are named as NumPy does: u1 for
// bytes, f4 and f8 for the two precisions, i1 and i2 for small integers.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

using Int = std::int64_t;

#define EXPORT extern "C" __attribute__((visibility("default")))
#define INLINE inline __attribute__((always_inline))

// DEFINE(type, its name, ...) for every kind that values are stored in.
#define FOR_STORED(DEFINE, ...) \
    DEFINE(std::uint8_t, u1, ##__VA_ARGS__) DEFINE(float, f4, ##__VA_ARGS__) DEFINE(double, f8, ##__VA_ARGS__)

// Values side by side, as many as registers of 32 bytes hold; narrower registers take several for one.
template <class R>
struct Side {
    typedef R type __attribute__((vector_size(32), aligned(sizeof(R)), may_alias));
    typedef R half __attribute__((vector_size(16), may_alias));
    static constexpr int LANES = 32 / sizeof(R);
};
template <class R>
using Wide = typename Side<R>::type;

// Stored values read as R: one, or as many as stand side by side.
template <class R>
struct One {
    template <class T>
    INLINE R operator()(const T *p) const { return R(*p); }
};
template <class R>
struct Many {
    template <class T>
    INLINE Wide<R> operator()(const T *p) const {
        Wide<R> values;
        for (int lane = 0; lane < Side<R>::LANES; lane++) values[lane] = R(p[lane]);
        return values;
    }
    INLINE Wide<R> operator()(const R *p) const { return *reinterpret_cast<const Wide<R> *>(p); }
};
#ifdef __AVX2__  // what the compiler does not find by itself
#define READ(R, T, EXPRESSION) \
    template <>                \
    template <>                \
    INLINE Wide<R> Many<R>::operator()(const T *p) const { return EXPRESSION; }
READ(float, std::uint8_t, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadu_si64(p))))
READ(float, std::int8_t, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadu_si64(p))))
READ(float, std::int16_t, _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p))))
READ(double, std::uint8_t, _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_loadu_si32(p))))
READ(double, float, _mm256_cvtps_pd(_mm_loadu_ps(p)))
#undef READ
#endif

// The sum of what stands side by side, by halves.
template <class R>
INLINE R together(Wide<R> values) {
    typename Side<R>::half halves[2];
    std::memcpy(halves, &values, sizeof values);
    auto half = halves[0] + halves[1];
    if constexpr (sizeof(R) == 4) return (half[0] + half[2]) + (half[1] + half[3]);
    return half[0] + half[1];
}

// The sum of term(read, i) for i < n, where ``read`` reads what stands at i and perhaps what follows: in so many sums at
// once, since one alone would wait for its last addition.
template <class R, int SUMS, class Term>
INLINE R added(Int n, Term term) {
    constexpr int LANES = Side<R>::LANES;
    Wide<R> sums[SUMS] = {};
    Int i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
#pragma GCC unroll 4
        for (int k = 0; k < SUMS; k++) sums[k] += term(Many<R>(), i + k * LANES);
    for (; i + LANES <= n; i += LANES) sums[0] += term(Many<R>(), i);
    R total = 0;
    for (; i < n; i++) total += term(One<R>(), i);
    for (int k = 1; k < SUMS; k++) sums[0] += sums[k];
    return total + together<R>(sums[0]);
}

// out[i] = value(read, i) for i < n, which may read out[i].
template <class R, class Value>
INLINE void written(R *out, Int n, Value value) {
    constexpr int LANES = Side<R>::LANES;
    Int i = 0;
#pragma GCC unroll 2
    for (; i + LANES <= n; i += LANES) *reinterpret_cast<Wide<R> *>(out + i) = value(Many<R>(), i);
    for (; i < n; i++) out[i] = value(One<R>(), i);
}
