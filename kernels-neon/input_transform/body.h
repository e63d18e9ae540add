// The input transform over a vector struct (simd/).
#pragma once
#include "kernels-neon/input_transform/input_transform.h"

namespace svq::kernels {
namespace {

// What the passes over z carry along. Two of each, for vectors in turn: one would be waited for longer than the rest of
// a vector takes.
constexpr size_t kChains = 2;
template <class V>
struct Statistics {
  typename V::F largest, beta, bad;  // max|z|; Σ B·u; z · 0: 0 for finite z, otherwise NaN, and a NaN stays in the sum
};

template <class V>
inline void observe(typename V::F z, typename V::F u, typename V::F b, Statistics<V>* s) {
  s->largest = V::max(s->largest, V::abs(z));
  s->bad = V::fma(z, V::zero(), s->bad);
  s->beta = V::fma(u, b, s->beta);
}

template <class V, class F>
inline void in_turn(size_t n, const F& f) {  // f(first column, chain); n a multiple of kLanes
  size_t k = 0;
  for (; k + kChains * V::kLanes <= n; k += kChains * V::kLanes) {
    for (size_t c = 0; c < kChains; ++c) f(k + c * V::kLanes, c);
  }
  for (; k < n; k += V::kLanes) f(k, 0);
}

// Groups of 4 with one map, columns a multiple of kLanes: a vector holds kLanes / 4 groups.
template <class V>
inline void affine4(const float* u, const float* a, const float* b, size_t n, float* zf, Statistics<V>* s) {
  using F = typename V::F;
  const F a0 = V::load_quad(a), a1 = V::load_quad(a + 4), a2 = V::load_quad(a + 8), a3 = V::load_quad(a + 12);
  const F offset = V::load_quad(b);
  in_turn<V>(n, [&](size_t k, size_t chain) {
    const F x = V::load(u + k);
    F z = V::mul(V::template splat_in_quad<0>(x), a0);
    z = V::fma(V::template splat_in_quad<1>(x), a1, z);
    z = V::fma(V::template splat_in_quad<2>(x), a2, z);
    z = V::fma(V::template splat_in_quad<3>(x), a3, z);
    V::store(zf + k, z);
    observe<V>(z, x, offset, s + chain);
  });
}

template <class V>
inline void affine_scalar(const float* u, float a, float b, size_t n, float* zf, Statistics<V>* s) {
  using F = typename V::F;
  const F scale = V::splat(a), offset = V::splat(b);
  in_turn<V>(n, [&](size_t k, size_t chain) {
    const F x = V::load(u + k), z = V::mul(x, scale);
    V::store(zf + k, z);
    observe<V>(z, x, offset, s + chain);
  });
}

// Any group size, any number of columns: column by column.
struct ScalarStatistics {
  float largest = 0, beta = 0, bad = 0;
};
inline void affine_general(const float* u, const float* a, const float* b, uint32_t d, size_t n, float* zf,
                           ScalarStatistics* s) {
  for (size_t k = 0; k < n; k += d) {
    for (uint32_t j = 0; j < d; ++j) {
      float sum = 0;
      for (uint32_t i = 0; i < d; ++i) sum += a[i * d + j] * u[k + i];
      zf[k + j] = sum;
      s->beta += b[j] * u[k + j];
      s->bad += sum * 0.0f;
      const float magnitude = __builtin_fabsf(sum);
      if (magnitude > s->largest) s->largest = magnitude;
    }
  }
}

template <class V>
void affine_quantize_body(const float* u, const Affine& a, uint32_t n, float* zf, Quantized* q) {
  using F = typename V::F;
  const uint32_t d = a.dim;
  const size_t span = a.columns_per_map ? a.columns_per_map : n;
  Statistics<V> s[kChains];
  for (Statistics<V>& chain : s) chain = {V::zero(), V::zero(), V::zero()};
  ScalarStatistics rest;
  for (size_t begin = 0, map = 0; begin < n; begin += span, ++map) {
    const float* matrix = a.a + map * d * d;  // [d, d]
    const float* offset = a.b + map * d;      // [d]
    const size_t count = n - begin < span ? n - begin : span;
    const size_t whole = d == 4 || a.scalar ? count / V::kLanes * V::kLanes : 0;
    if (a.scalar) {
      affine_scalar<V>(u + begin, matrix[0], offset[0], whole, zf + begin, s);
    } else if (d == 4) {
      affine4<V>(u + begin, matrix, offset, whole, zf + begin, s);
    }
    // The vector path of a scalar map may stop inside a group of 8; A = a·I lets the rest be taken one by one.
    if (a.scalar) {
      affine_general(u + begin + whole, matrix, offset, 1, count - whole, zf + begin + whole, &rest);
    } else {
      affine_general(u + begin + whole, matrix, offset, d, count - whole, zf + begin + whole, &rest);
    }
  }
  static_assert(kChains == 2);
  q->beta = V::sum(V::add(s[0].beta, s[1].beta)) + rest.beta;
  const float bad = V::sum(V::add(s[0].bad, s[1].bad)) + rest.bad;
  const float in_vectors = V::largest(V::max(s[0].largest, s[1].largest));
  const float largest = in_vectors > rest.largest ? in_vectors : rest.largest;
  const bool finite = bad == 0.0f, usable = finite && largest >= kQuantizeFloor;
  q->delta = !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
  const size_t padded = (static_cast<size_t>(n) + 63) / 64 * 64;
  q->lost = 0.0f;
  if (!usable) {
    std::memset(q->z, 0, padded);
    return;
  }
  const F inverse = V::splat(127.0f / largest), minus_delta = V::splat(-q->delta);
  F lost[kChains] = {V::zero(), V::zero()};
  const auto round = [&](const float* z, int8_t* codes, size_t chain) {
    const F exact = V::load(z), rounded = V::round(V::mul(exact, inverse));
    V::store_i8(codes, rounded);
    lost[chain] = V::add(lost[chain], V::fma(minus_delta, rounded, exact));
  };
  const size_t k = n / V::kLanes * V::kLanes;
  in_turn<V>(k, [&](size_t i, size_t chain) { round(zf + i, q->z + i, chain); });
  if (k < n) {
    float last[V::kLanes] = {};
    std::memcpy(last, zf + k, (n - k) * sizeof(float));
    int8_t codes[V::kLanes];
    round(last, codes, 0);
    std::memcpy(q->z + k, codes, n - k);
  }
  q->lost = V::sum(V::add(lost[0], lost[1]));
  std::memset(q->z + n, 0, padded - n);
}

}  // namespace
}  // namespace svq::kernels
