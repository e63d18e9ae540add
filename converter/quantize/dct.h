// The orthonormal DCT-II across the blocks of a mixed rotation (schema/FORMAT.md).
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

namespace svq::convert {

// Entry [i, j] of the factor × factor matrix.
inline double dct_entry(int64_t factor, int64_t i, int64_t j) {
  return std::sqrt((i == 0 ? 1.0 : 2.0) / static_cast<double>(factor)) *
         std::cos(std::numbers::pi * static_cast<double>((2 * j + 1) * i) / static_cast<double>(2 * factor));
}

}  // namespace svq::convert
