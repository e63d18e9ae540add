// Sums and maxima over a row in 16 lanes, in plain C++ that compilers vectorise: always inlined, so that a caller with
// SVQ_CLONES gets them for every instruction set. The order of the additions is the same in all of them.
#pragma once
#include <cstdint>
#include <limits>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"

namespace svq::convert {

constexpr int64_t kLanes = 16;

// Σ_i term(i), i < n, in f32.
template <class Term>
SVQ_INLINE float sum_of(int64_t n, const Term& term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t w = 0; w < kLanes; ++w) lanes[w] += term(i + w);
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < n; ++i) sum += term(i);
  return sum;
}

// The largest of n values; -inf if there are none.
template <class T>
SVQ_INLINE float largest(const T* x, int64_t n) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t w = 0; w < kLanes; ++w) {
      const float v = to_float(x[i + w]);
      lanes[w] = lanes[w] < v ? v : lanes[w];
    }
  }
  float most = lanes[0];
  for (const float lane : lanes) most = most < lane ? lane : most;
  for (; i < n; ++i) most = most < to_float(x[i]) ? to_float(x[i]) : most;
  return most;
}

}  // namespace svq::convert
