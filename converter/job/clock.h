// Elapsed time, and how often long steps save their state.
#pragma once
#include <chrono>

namespace svq::convert {

using Clock = std::chrono::steady_clock;

inline constexpr double kSecondsBetweenSaves = 60;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace svq::convert
