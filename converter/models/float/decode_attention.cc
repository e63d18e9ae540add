#include "converter/models/float/decode_attention.h"

#include <algorithm>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"
#include "converter/base/exp.h"

namespace svq::convert {
namespace {

constexpr int64_t kLanes = 16;

template <class T>
inline __attribute__((always_inline)) float dot(const float* a, const T* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t w = 0; w < kLanes; ++w) lanes[w] += a[i + w] * to_float(b[i + w]);
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t w = 0; w < half; ++w) lanes[w] += lanes[w + half];
  }
  float sum = lanes[0];
  for (; i < n; ++i) sum += a[i] * to_float(b[i]);
  return sum;
}

// Scores become e^(score − max); returns their sum.
SVQ_CLONES float exponentials(float* s, int64_t n) {
  float most = s[0];
  for (int64_t j = 1; j < n; ++j) most = s[j] > most ? s[j] : most;
  for (int64_t j = 0; j < n; ++j) s[j] = exp_of(s[j] - most);
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int64_t w = 0; w < kLanes; ++w) lanes[w] += s[j + w];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; j < n; ++j) sum += s[j];
  return sum;
}

template <class T>
inline __attribute__((always_inline)) void dots_of(const float* q, const T* k, int64_t group, int64_t keys, int64_t dim,
                                                   float* scores) {
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t g = 0; g < group; ++g) scores[g * keys + j] = dot(q + g * dim, k + j * dim, dim);
  }
}

template <class T>
inline __attribute__((always_inline)) void weigh(const float* p, const T* v, int64_t group, int64_t keys, int64_t dim,
                                                 float* out) {
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
