#include <cmath>
#include <limits>

#include "kernels-neon/attention/attention.h"
#include "kernels-neon/f16.h"

namespace svq::kernels::scalar {
namespace {

// key(p, i), value(p, i): element i of position p in f32.
template <class Key, class Value>
void attend(const AttendQuery& query, Key key, Value value, uint32_t head_dim, float scale) {
  const auto [q, out, first, last, state] = query;
  float largest = -std::numeric_limits<float>::infinity(), total = 0;
  for (uint32_t i = 0; i < head_dim; ++i) out[i] = 0;
  for (uint64_t begin = first; begin <= last;) {
    uint64_t end = (begin / kAttentionBlock + 1) * kAttentionBlock;
    if (end > uint64_t{last} + 1) end = uint64_t{last} + 1;
    const uint32_t n = static_cast<uint32_t>(end - begin);
    float score[kAttentionBlock];
    float now = largest;
    for (uint32_t j = 0; j < n; ++j) {
      float sum = 0;
      for (uint32_t i = 0; i < head_dim; ++i) sum += q[i] * key(begin + j, i);
      score[j] = sum * scale;
      if (score[j] > now) now = score[j];
    }
    const float shrink = std::exp(largest - now);  // 0 in the first block
    total *= shrink;
    for (uint32_t i = 0; i < head_dim; ++i) out[i] *= shrink;
    for (uint32_t j = 0; j < n; ++j) {
      const float p = std::exp(score[j] - now);
      total += p;
      for (uint32_t i = 0; i < head_dim; ++i) out[i] += p * value(begin + j, i);
    }
    largest = now;
    begin = end;
  }
  if (state != nullptr) {
    state[0] = largest;
    state[1] = total;
  } else {
    for (uint32_t i = 0; i < head_dim; ++i) out[i] /= total;
  }
}

}  // namespace

void attend_f16(const AttendQuery* queries, uint32_t n, const uint16_t* k, const uint16_t* v, size_t stride,
                uint32_t head_dim, float scale) {
  for (uint32_t i = 0; i < n; ++i) {
    attend(
        queries[i], [=](size_t p, uint32_t c) { return soft::half_to_float(k[p * stride + c]); },
        [=](size_t p, uint32_t c) { return soft::half_to_float(v[p * stride + c]); }, head_dim, scale);
  }
}

void attend_i8(const AttendQuery* queries, uint32_t n, const int8_t* k, const int8_t* v, const float* k_scale,
               const float* v_scale, size_t stride, size_t scale_stride, uint32_t head_dim, float scale) {
  for (uint32_t i = 0; i < n; ++i) {
    attend(
        queries[i],
        [=](size_t p, uint32_t c) { return static_cast<float>(k[p * stride + c]) * k_scale[p * scale_stride]; },
        [=](size_t p, uint32_t c) { return static_cast<float>(v[p * stride + c]) * v_scale[p * scale_stride]; },
        head_dim, scale);
  }
}

void store_f16(const float* x, uint32_t n, uint16_t* out) {
  for (uint32_t i = 0; i < n; ++i) out[i] = soft::float_to_half(x[i]);
}

void store_i8(const float* x, uint32_t n, int8_t* out, float* scale) {
  float largest = 0;
  bool finite = true;
  for (uint32_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    if (std::fabs(x[i]) > largest) largest = std::fabs(x[i]);
  }
  const bool usable = finite && largest >= 0x1p-100f;
  *scale = !finite ? std::numeric_limits<float>::quiet_NaN() : usable ? largest / 127.0f : 0.0f;
  const float inverse = usable ? 127.0f / largest : 0.0f;
  for (uint32_t i = 0; i < n; ++i) out[i] = usable ? static_cast<int8_t>(std::nearbyint(x[i] * inverse)) : int8_t{0};
}

}  // namespace svq::kernels::scalar
