// Attention over a vector struct (simd/): one kernel, two cache formats behind the small Cache structs.
#pragma once
#include <cstring>

#include "kernels-neon/attention/attention.h"
#include "kernels-neon/simd/exp.h"

namespace svq::kernels {
namespace {

// Positions of a f16 cache; `scale` is 1 and disappears.
template <class V>
struct F16Cache {
  const uint16_t* base;
  size_t stride;
  const uint16_t* at(size_t p) const { return base + p * stride; }
  static typename V::F load(const uint16_t* p) { return V::load_f16(p); }
  float scale(size_t) const { return 1.0f; }
};

template <class V>
struct I8Cache {
  const int8_t* base;
  size_t stride;
  const float* scales;
  size_t scale_stride;
  const int8_t* at(size_t p) const { return base + p * stride; }
  static typename V::F load(const int8_t* p) { return V::load_i8(p); }
  float scale(size_t p) const { return scales[p * scale_stride]; }
};

// The element type has no lane to read alone, so a tail is copied into a padded vector.
template <class V, class Cache, class T>
inline typename V::F load_tail(const T* p, size_t n) {
  T tail[V::kLanes] = {};
  std::memcpy(tail, p, n * sizeof(T));
  return Cache::load(tail);
}

template <class V, class Cache, int P>
inline void dots(const float* q, const Cache& k, size_t position, size_t n, float* score) {
  using F = typename V::F;
  F sum[P];
  for (int j = 0; j < P; ++j) sum[j] = V::zero();
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    const F query = V::load(q + i);
    for (int j = 0; j < P; ++j) sum[j] = V::fma(query, Cache::load(k.at(position + j) + i), sum[j]);
  }
  if (i < n) {
    float tail[V::kLanes] = {};
    std::memcpy(tail, q + i, (n - i) * sizeof(float));
    const F query = V::load(tail);
    for (int j = 0; j < P; ++j) {
      sum[j] = V::fma(query, load_tail<V, Cache>(k.at(position + j) + i, n - i), sum[j]);
    }
  }
  if constexpr (P == 4) {
    V::sum4(sum, score);
  } else {
    for (int j = 0; j < P; ++j) score[j] = V::sum(sum[j]);
  }
  for (int j = 0; j < P; ++j) score[j] *= k.scale(position + j);
}

// out[C vectors at column i] = out · shrink + Σ_j p[j] v_j, with the accumulators in registers over the block.
template <class V, class Cache, int C>
inline void weigh(const Cache& v, size_t position, uint32_t n, const float* p, float shrink, size_t i, float* out) {
  using F = typename V::F;
  F sum[C];
  for (int c = 0; c < C; ++c) sum[c] = V::mul(V::load(out + i + c * V::kLanes), V::splat(shrink));
  for (uint32_t j = 0; j < n; ++j) {
    const F weight = V::splat(p[j]);
    const auto* value = v.at(position + j) + i;
    for (int c = 0; c < C; ++c) sum[c] = V::fma(weight, Cache::load(value + c * V::kLanes), sum[c]);
  }
  for (int c = 0; c < C; ++c) V::store(out + i + c * V::kLanes, sum[c]);
}

template <class V, class Cache>
void attend_body(const float* q, const Cache& k, const Cache& v, uint32_t first, uint32_t last, uint32_t head_dim,
                 float scale, float* out) {
  using F = typename V::F;
  constexpr size_t kLanes = V::kLanes;
  const size_t whole = head_dim / kLanes * kLanes, rest = head_dim - whole;
  float tail[kLanes] = {};  // out's elements past `whole`
  for (size_t i = 0; i < head_dim; ++i) out[i] = 0;
  float largest = -__builtin_inff(), total = 0;
  for (uint64_t begin = first; begin <= last;) {
    uint64_t end = (begin / kAttentionBlock + 1) * kAttentionBlock;
    if (end > uint64_t{last} + 1) end = uint64_t{last} + 1;
    const uint32_t n = static_cast<uint32_t>(end - begin);
    alignas(64) float score[kAttentionBlock];
    uint32_t j = 0;
    for (; j + 4 <= n; j += 4) dots<V, Cache, 4>(q, k, begin + j, head_dim, score + j);
    for (; j < n; ++j) dots<V, Cache, 1>(q, k, begin + j, head_dim, score + j);
    for (; j < kAttentionBlock; ++j) score[j] = -__builtin_inff();
    F most = V::splat(largest);
    for (j = 0; j < kAttentionBlock; j += kLanes) {
      const F s = V::mul(V::load(score + j), V::splat(scale));
      V::store(score + j, s);
      most = V::max(s, most);
    }
    const float now = V::largest(most);
    for (j = 0; j < kAttentionBlock; j += kLanes)
      V::store(score + j, exp<V>(V::sub(V::load(score + j), V::splat(now))));
    for (j = n; j < kAttentionBlock; ++j) score[j] = 0;  // exp is never 0
    F block_total = V::zero();
    for (j = 0; j < kAttentionBlock; j += kLanes) block_total = V::add(block_total, V::load(score + j));
    float lane[kLanes];
    V::store(lane, exp<V>(V::splat(largest - now)));
    const float shrink = lane[0];
    total = total * shrink + V::sum(block_total);
    largest = now;
    for (j = 0; j < n; ++j) score[j] *= v.scale(begin + j);
    size_t i = 0;
    for (; i + 4 * kLanes <= whole; i += 4 * kLanes) weigh<V, Cache, 4>(v, begin, n, score, shrink, i, out);
    for (; i < whole; i += kLanes) weigh<V, Cache, 1>(v, begin, n, score, shrink, i, out);
    if (rest) {
      F sum = V::mul(V::load(tail), V::splat(shrink));
      for (j = 0; j < n; ++j) sum = V::fma(V::splat(score[j]), load_tail<V, Cache>(v.at(begin + j) + whole, rest), sum);
      V::store(tail, sum);
    }
    begin = end;
  }
  std::memcpy(out + whole, tail, rest * sizeof(float));
  for (size_t i = 0; i < head_dim; ++i) out[i] /= total;
}

template <class V>
void store_f16_body(const float* x, uint32_t n, uint16_t* out) {
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store_f16(out + i, V::load(x + i));
  if (i < n) {
    float tail[V::kLanes] = {};
    uint16_t halves[V::kLanes];
    std::memcpy(tail, x + i, (n - i) * sizeof(float));
    V::store_f16(halves, V::load(tail));
    std::memcpy(out + i, halves, (n - i) * sizeof(uint16_t));
  }
}

template <class V>
void store_i8_body(const float* x, uint32_t n, int8_t* out, float* scale) {
  using F = typename V::F;
  float last[V::kLanes] = {};
  const uint32_t whole = n / V::kLanes * V::kLanes;
  std::memcpy(last, x + whole, (n - whole) * sizeof(float));
  F most = V::abs(V::load(last)), bad = V::mul(V::load(last), V::zero());
  for (uint32_t i = 0; i < whole; i += V::kLanes) {
    most = V::max(most, V::abs(V::load(x + i)));
    bad = V::fma(V::load(x + i), V::zero(), bad);
  }
  const float largest = V::largest(most);
  const bool finite = V::sum(bad) == 0.0f, usable = finite && largest >= 0x1p-100f;
  *scale = !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
  if (!usable) {
    std::memset(out, 0, n);
    return;
  }
  const F inverse = V::splat(127.0f / largest);
  for (uint32_t i = 0; i < whole; i += V::kLanes) V::store_i8(out + i, V::mul(V::load(x + i), inverse));
  int8_t codes[V::kLanes];
  V::store_i8(codes, V::mul(V::load(last), inverse));
  std::memcpy(out + whole, codes, n - whole);
}

}  // namespace
}  // namespace svq::kernels
