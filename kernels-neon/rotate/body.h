// The rotation over a vector struct (simd/). Blocks smaller than the vector fall back to the reference.
#pragma once
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels {
namespace {

// Stages h and 2h of four vectors h apart.
template <class V>
inline void two_stages(typename V::F& a, typename V::F& b, typename V::F& c, typename V::F& d) {
  const auto ab = V::add(a, b), a_b = V::sub(a, b), cd = V::add(c, d), c_d = V::sub(c, d);
  a = V::add(ab, cd);
  b = V::add(a_b, c_d);
  c = V::sub(ab, cd);
  d = V::sub(a_b, c_d);
}

// Normalised Hadamard of one block, n ≥ kLanes: the butterflies within a register together with the first two stages
// beyond, then pairs of stages (radix 4), so that each costs one pass over memory, then one single stage if one is
// left.
template <class V>
void hadamard(float* x, size_t n) {
  using F = typename V::F;
  constexpr size_t kLanes = V::kLanes;
  const F norm = V::splat(1.0f / __builtin_sqrtf(static_cast<float>(n)));
  const auto lanes = [&](size_t i) { return V::hadamard_lanes(V::mul(V::load(x + i), norm)); };
  size_t h = kLanes;
  if (n >= 4 * kLanes) {
    for (size_t i = 0; i < n; i += 4 * kLanes) {
      F a = lanes(i), b = lanes(i + kLanes), c = lanes(i + 2 * kLanes), d = lanes(i + 3 * kLanes);
      two_stages<V>(a, b, c, d);
      V::store(x + i, a);
      V::store(x + i + kLanes, b);
      V::store(x + i + 2 * kLanes, c);
      V::store(x + i + 3 * kLanes, d);
    }
    h = 4 * kLanes;
  } else {
    for (size_t i = 0; i < n; i += kLanes) V::store(x + i, lanes(i));
  }
  for (; h * 4 <= n; h *= 4) {
    for (size_t i = 0; i < n; i += 4 * h) {
      for (size_t j = i; j < i + h; j += kLanes) {
        F a = V::load(x + j), b = V::load(x + j + h), c = V::load(x + j + 2 * h), d = V::load(x + j + 3 * h);
        two_stages<V>(a, b, c, d);
        V::store(x + j, a);
        V::store(x + j + h, b);
        V::store(x + j + 2 * h, c);
        V::store(x + j + 3 * h, d);
      }
    }
  }
  if (h < n) {
    for (size_t j = 0; j < h; j += kLanes) {
      const F a = V::load(x + j), b = V::load(x + j + h);
      V::store(x + j, V::add(a, b));
      V::store(x + j + h, V::sub(a, b));
    }
  }
}

// out[o][C vectors] = Σ_j m[o · m_out + j · m_in] · s[j][C vectors] for outputs o < O; s rows are C vectors apart.
template <class V, int C, int O>
inline void mix_outputs(const float* m, size_t m_out, size_t m_in, const float* s, size_t count,
                        typename V::F (*out)[C]) {
  using F = typename V::F;
  for (int o = 0; o < O; ++o) {
    for (int c = 0; c < C; ++c) out[o][c] = V::zero();
  }
  for (size_t j = 0; j < count; ++j, s += C * V::kLanes) {
    F in[C];
    for (int c = 0; c < C; ++c) in[c] = V::load(s + c * V::kLanes);
    for (int o = 0; o < O; ++o) {
      const F coefficient = V::splat(m[o * m_out + j * m_in]);
      for (int c = 0; c < C; ++c) out[o][c] = V::fma(coefficient, in[c], out[o][c]);
    }
  }
}

template <class V, int C>
inline void store_row(float* to, const typename V::F* v) {
  for (int c = 0; c < C; ++c) V::store(to + c * V::kLanes, v[c]);
}

// O outputs i, i + 2, … of the forward mix, from the folded rows s.
template <class V, int C, int O>
inline void forward_rows(const float* mix, size_t r, size_t i, const float* s, size_t count, float* x, size_t block) {
  typename V::F out[O][C];
  mix_outputs<V, C, O>(mix + i * r, 2 * r, 1, s, count, out);
  for (int o = 0; o < O; ++o) store_row<V, C>(x + (i + 2 * o) * block, out[o]);
}

// y_i = Σ_j m[i][j] x_j over C vectors of columns at x (rows `block` apart). Row i of the DCT-II satisfies
// m[i][r−1−j] = (−1)^i m[i][j]: even outputs need the sums x_j + x_{r−1−j} alone, odd ones the differences.
template <class V, int C>
void mix_forward(float* x, const Rotation& rotation, float* scratch) {
  using F = typename V::F;
  const size_t r = rotation.factor, block = rotation.block, half = r / 2, row = C * V::kLanes;
  float* sums = scratch;                            // [ceil(r/2)][row]; for odd r the last is the middle row itself
  float* differences = scratch + (r - half) * row;  // [half][row]
  for (size_t j = 0; j < half; ++j) {
    for (int c = 0; c < C; ++c) {
      const F a = V::load(x + j * block + c * V::kLanes), b = V::load(x + (r - 1 - j) * block + c * V::kLanes);
      V::store(sums + j * row + c * V::kLanes, V::add(a, b));
      V::store(differences + j * row + c * V::kLanes, V::sub(a, b));
    }
  }
  if (r % 2) {
    for (int c = 0; c < C; ++c) V::store(sums + half * row + c * V::kLanes, V::load(x + half * block + c * V::kLanes));
  }
  for (size_t parity = 0; parity < 2; ++parity) {
    const float* s = parity ? differences : sums;
    const size_t count = parity ? half : r - half;
    size_t i = parity;
    for (; i + 6 < r; i += 8) forward_rows<V, C, 4>(rotation.mix, r, i, s, count, x, block);
    for (; i < r; i += 2) forward_rows<V, C, 1>(rotation.mix, r, i, s, count, x, block);
  }
}

// Rows j … j + O − 1 and their mirror images of the inverse mix.
template <class V, int C, int O>
inline void inverse_rows(const float* mix, size_t r, size_t j, const float* even, const float* odd, float* x,
                         size_t block) {
  typename V::F e[O][C], o[O][C];
  mix_outputs<V, C, O>(mix + j, 1, 2 * r, even, r - r / 2, e);
  mix_outputs<V, C, O>(mix + r + j, 1, 2 * r, odd, r / 2, o);
  for (int k = 0; k < O; ++k) {
    typename V::F low[C], high[C];
    for (int c = 0; c < C; ++c) {
      low[c] = V::add(e[k][c], o[k][c]);
      high[c] = V::sub(e[k][c], o[k][c]);
    }
    store_row<V, C>(x + (j + k) * block, low);
    if (r - 1 - j - k != j + k) store_row<V, C>(x + (r - 1 - j - k) * block, high);
  }
}

// x_j = Σ_i m[i][j] y_i: with E_j over even i and O_j over odd i, x_j = E_j + O_j and x_{r−1−j} = E_j − O_j.
template <class V, int C>
void mix_inverse(float* x, const Rotation& rotation, float* scratch) {
  const size_t r = rotation.factor, block = rotation.block, row = C * V::kLanes;
  float* even = scratch;                     // [ceil(r/2)][row]
  float* odd = scratch + (r - r / 2) * row;  // [r/2][row]
  for (size_t i = 0; i < r; ++i) {
    float* to = (i % 2 ? odd : even) + i / 2 * row;
    for (int c = 0; c < C; ++c) V::store(to + c * V::kLanes, V::load(x + i * block + c * V::kLanes));
  }
  size_t j = 0;
  const size_t half = r - r / 2;
  for (; j + 2 <= half; j += 2) inverse_rows<V, C, 2>(rotation.mix, r, j, even, odd, x, block);
  for (; j < half; ++j) inverse_rows<V, C, 1>(rotation.mix, r, j, even, odd, x, block);
}

template <class V>
void mix(float* x, const Rotation& r, bool inverse, float* scratch) {
  const size_t step = r.block >= 2 * V::kLanes ? 2 * V::kLanes : V::kLanes;
  for (size_t c = 0; c < r.block; c += step) {
    if (step == V::kLanes) {
      inverse ? mix_inverse<V, 1>(x + c, r, scratch) : mix_forward<V, 1>(x + c, r, scratch);
    } else {
      inverse ? mix_inverse<V, 2>(x + c, r, scratch) : mix_forward<V, 2>(x + c, r, scratch);
    }
  }
}

template <class V>
void rotate_body(float* x, const Rotation& r, bool inverse, float* scratch) {
  if (r.kind == 0) return;
  if (r.block < V::kLanes) return scalar::rotate(x, r, inverse, scratch);
  const bool mixed = r.kind == 2 && r.factor > 1;
  if (mixed && inverse) mix<V>(x, r, true, scratch);
  for (size_t f = 0; f < r.factor; ++f) hadamard<V>(x + f * r.block, r.block);
  if (mixed && !inverse) mix<V>(x, r, false, scratch);
}

}  // namespace
}  // namespace svq::kernels
