#pragma once

#include "../loops.hpp"

// In float32, to some 1e-7, for moduli below 87: 2^k times the exponential of at most half of log 2.
INLINE float exponential(float value) {
    constexpr float LOG2E = 1.4426950408889634f, ROUND = 12582912.f;  // 1.5 * 2^23: added, it rounds to whole numbers
    constexpr float HIGH = 0.693359375f, LOW = -2.12194440e-4f;  // their sum is log 2; the first has few digits
    float k = (value * LOG2E + ROUND) - ROUND;
    float t = (value - k * HIGH) - k * LOW;
    float series = 1 / 720.f;
    series = series * t + 1 / 120.f;
    series = series * t + 1 / 24.f;
    series = series * t + 1 / 6.f;
    series = series * t + 0.5f;
    series = series * t + 1;
    series = series * t + 1;
    std::int32_t bits = (std::int32_t(k) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return series * power;
}
