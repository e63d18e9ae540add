// Vectors of W floats or indices for the lanes of one CPU's registers. Compilers take wider ones apart, often lane by
// lane and through memory, so that what is to be fast everywhere is a template by W with a version for each target.
#pragma once
#include <cstdint>

#include "converter/base/clones.h"

namespace svq::convert {

template <int W>
struct Vector {
  typedef float Lanes __attribute__((vector_size(sizeof(float) * W), aligned(sizeof(float)), may_alias));
  typedef int32_t Indices __attribute__((vector_size(sizeof(int32_t) * W)));
  static SVQ_INLINE const Lanes& at(const float* x) { return *reinterpret_cast<const Lanes*>(x); }
  static SVQ_INLINE Lanes& at(float* x) { return *reinterpret_cast<Lanes*>(x); }
};

}  // namespace svq::convert
