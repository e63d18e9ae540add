// The exponential as plain C++ that compilers vectorise.
#pragma once
#include <bit>
#include <cstdint>

#include "converter/base/clones.h"

namespace svq::convert {

// e^x for |x| < 87, to about 2 ulp, by the method of Cephes: x = n ln 2 + r, |r| ≤ ln 2 / 2, and a polynomial of r.
// Beyond that the value at the end of the range; -inf gives about 1e-38.
SVQ_INLINE float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // rounds to an integer in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace svq::convert
