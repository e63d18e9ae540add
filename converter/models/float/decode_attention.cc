#include "converter/models/float/decode_attention.h"

#include <algorithm>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"
#include "converter/base/exp.h"
#include "converter/base/lanes.h"

namespace svq::convert {
namespace {

// Scores become e^(score − max); returns their sum.
SVQ_CLONES float exponentials(float* s, int64_t n) {
  const float most = largest(s, n);
  for (int64_t j = 0; j < n; ++j) s[j] = exp_of(s[j] - most);
  return sum_of(n, [=](int64_t j) { return s[j]; });
}

template <class T>
SVQ_INLINE void dots_of(const float* q, const T* k, int64_t group, int64_t keys, int64_t dim, float* scores) {
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t g = 0; g < group; ++g)
      scores[g * keys + j] = sum_of(dim, [=](int64_t d) { return q[g * dim + d] * to_float(k[j * dim + d]); });
  }
}

template <class T>
SVQ_INLINE void weigh(const float* p, const T* v, int64_t group, int64_t keys, int64_t dim, float* out) {
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t g = 0; g < group; ++g) {
      const float weight = p[g * keys + j];
      for (int64_t d = 0; d < dim; ++d) out[g * dim + d] += weight * to_float(v[j * dim + d]);
    }
  }
}

// target_clones does not reach templates: one plain function for each type.
SVQ_CLONES void dots(const float* q, const float* k, int64_t group, int64_t keys, int64_t dim, float* scores) {
  dots_of(q, k, group, keys, dim, scores);
}
SVQ_CLONES void dots(const float* q, const uint16_t* k, int64_t group, int64_t keys, int64_t dim, float* scores) {
  dots_of(q, k, group, keys, dim, scores);
}
SVQ_CLONES void weighted(const float* p, const float* v, int64_t group, int64_t keys, int64_t dim, float* out) {
  weigh(p, v, group, keys, dim, out);
}
SVQ_CLONES void weighted(const float* p, const uint16_t* v, int64_t group, int64_t keys, int64_t dim, float* out) {
  weigh(p, v, group, keys, dim, out);
}

template <class T>
void attend(const float* q, const T* k, const T* v, int64_t group, int64_t keys, int64_t dim, float* scores,
            float* out) {
  dots(q, k, group, keys, dim, scores);
  for (int64_t g = 0; g < group; ++g) {
    const float factor = 1.0f / exponentials(scores + g * keys, keys);
    for (int64_t j = 0; j < keys; ++j) scores[g * keys + j] *= factor;
  }
  std::fill_n(out, group * dim, 0.0f);
  weighted(scores, v, group, keys, dim, out);
}

}  // namespace

void attend_one(const float* q, const float* k, const float* v, int64_t group, int64_t keys, int64_t dim, float* scores,
                float* out) {
  attend(q, k, v, group, keys, dim, scores, out);
}
void attend_one(const float* q, const uint16_t* k, const uint16_t* v, int64_t group, int64_t keys, int64_t dim,
                float* scores, float* out) {
  attend(q, k, v, group, keys, dim, scores, out);
}

}  // namespace svq::convert
