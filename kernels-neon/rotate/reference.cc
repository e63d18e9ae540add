#include <cmath>
#include <cstring>

#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels {

void make_mix(uint32_t factor, float* m) {
  const double r = factor;
  for (uint32_t i = 0; i < factor; ++i) {
    const double norm = std::sqrt((i ? 2.0 : 1.0) / r);
    for (uint32_t j = 0; j < factor; ++j) {
      // (2j+1)·i modulo 4r: the cosine's period, so that the argument stays small and exact.
      const uint64_t phase = (2ull * j + 1) * i % (4ull * factor);
      m[static_cast<size_t>(i) * factor + j] =
          static_cast<float>(norm * std::cos(3.14159265358979323846 * static_cast<double>(phase) / (2.0 * r)));
    }
  }
}

namespace scalar {
namespace {

void hadamard(float* x, uint32_t n) {
  const float norm = 1.0f / std::sqrt(static_cast<float>(n));
  for (uint32_t i = 0; i < n; ++i) x[i] *= norm;
  for (uint32_t h = 1; h < n; h *= 2) {
    for (uint32_t i = 0; i < n; i += 2 * h) {
      for (uint32_t j = i; j < i + h; ++j) {
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  }
}

void mix(float* x, const Rotation& r, bool transpose, float* scratch) {
  const size_t block = r.block, factor = r.factor;
  std::memcpy(scratch, x, block * factor * sizeof(float));
  for (size_t i = 0; i < factor; ++i) {
    for (size_t c = 0; c < block; ++c) {
      float sum = 0;
      for (size_t j = 0; j < factor; ++j) {
        sum += r.mix[transpose ? j * factor + i : i * factor + j] * scratch[j * block + c];
      }
      x[i * block + c] = sum;
    }
  }
}

}  // namespace

void rotate(float* x, const Rotation& r, bool inverse, float* scratch) {
  if (r.kind == 0) return;
  const bool mixed = r.kind == 2 && r.factor > 1;
  if (mixed && inverse) mix(x, r, true, scratch);
  for (size_t f = 0; f < r.factor; ++f) hadamard(x + f * r.block, r.block);
  if (mixed && !inverse) mix(x, r, false, scratch);
}

}  // namespace scalar
}  // namespace svq::kernels
