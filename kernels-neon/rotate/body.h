// The rotation over a vector struct (simd/). Blocks smaller than the vector fall back to the reference.
#pragma once
#include <cstring>

#include "kernels-neon/f16.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels {
namespace {

// u = scale ⊙ x; scale null: ones.
template <class V>
void scale_body(const float* x, const uint16_t* scale, size_t n, float* u) {
  if (!scale) {
    if (u != x) std::memcpy(u, x, n * sizeof(float));
    return;
  }
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(u + i, V::mul(V::load(x + i), V::load_f16(scale + i)));
  for (; i < n; ++i) u[i] = x[i] * soft::half_to_float(scale[i]);
}

// v ← scale ⊙ v + bias
template <class V>
void scale_bias_body(float* v, const uint16_t* scale, const float* bias, size_t n) {
  if (!scale && !bias) return;
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    auto x = V::load(v + i);
    if (scale) x = V::mul(x, V::load_f16(scale + i));
    if (bias) x = V::add(x, V::load(bias + i));
    V::store(v + i, x);
  }
  for (; i < n; ++i) {
    if (scale) v[i] *= soft::half_to_float(scale[i]);
    if (bias) v[i] += bias[i];
  }
}

// The butterflies between R vectors that are in registers, the nearest first.
template <class V, int R>
inline __attribute__((always_inline)) void butterflies(typename V::F* a) {
  if constexpr (R > 1) {
    butterflies<V, R / 2>(a);
    butterflies<V, R / 2>(a + R / 2);
#pragma GCC unroll 8
    for (int i = 0; i < R / 2; ++i) {
      const auto low = a[i], high = a[i + R / 2];
      a[i] = V::add(low, high);
      a[i + R / 2] = V::sub(low, high);
    }
  }
}

// One pass over memory: the butterflies between vectors h, 2h, … R/2 · h apart. `in` and `out` take an index.
template <class V, int R, class In, class Out>
inline void butterfly_pass(size_t n, size_t h, const In& in, const Out& out) {
  for (size_t i = 0; i < n; i += R * h) {
    for (size_t j = i; j < i + h; j += V::kLanes) {
      typename V::F a[R];
#pragma GCC unroll 16
      for (int k = 0; k < R; ++k) a[k] = in(j + k * h);
      butterflies<V, R>(a);
#pragma GCC unroll 16
      for (int k = 0; k < R; ++k) out(j + k * h, a[k]);
    }
  }
}

// Stages that a pass does in registers beside the loads: 16 vectors of the 32 that AVX-512 has, 8 of 16 or 32
// elsewhere.
template <class V>
constexpr int kPassStages = V::kLanes == 16 ? 4 : 3;

// The first pass: the butterflies within a register, then `stages` beyond.
template <class V, class In, class Out>
inline void first_pass(int stages, size_t n, const In& in, const Out& out) {
  constexpr size_t h = V::kLanes;
  switch (stages) {
    case 0:
      return butterfly_pass<V, 1>(n, h, in, out);
    case 1:
      return butterfly_pass<V, 2>(n, h, in, out);
    case 2:
      return butterfly_pass<V, 4>(n, h, in, out);
    case 3:
      return butterfly_pass<V, 8>(n, h, in, out);
    default:
      return butterfly_pass<V, 1 << kPassStages<V>>(n, h, in, out);
  }
}

// x = out_scale ⊙ H (in_scale ⊙ from) + bias over one block of n ≥ kLanes values, H the normalised Hadamard matrix; the
// ends' scales and bias stand at the block's first value. As few passes over memory as registers allow, the scales
// within the first and the last.
template <class V>
void hadamard(float* x, size_t n, const RotateEnds& ends) {
  using F = typename V::F;
  constexpr int kMost = kPassStages<V>;
  const F norm = V::splat(1.0f / __builtin_sqrtf(static_cast<float>(n)));
  const auto load = [&](size_t i) { return V::load(x + i); };
  const auto store = [&](size_t i, F v) { V::store(x + i, v); };
  const auto first = [&](size_t i) {
    F v = V::load(ends.from + i);
    if (ends.in_scale) v = V::mul(v, V::load_f16(ends.in_scale + i));
    return V::hadamard_lanes(V::mul(v, norm));
  };
  const auto last = [&](size_t i, F v) {
    if (ends.out_scale) v = V::mul(v, V::load_f16(ends.out_scale + i));
    if (ends.bias) v = V::add(v, V::load(ends.bias + i));
    V::store(x + i, v);
  };
  const int stages = __builtin_ctzll(n / V::kLanes);
  const int more = stages > kMost ? (stages - 1) / kMost : 0;  // passes after the first, kMost stages each
  const int before = stages - more * kMost;
  if (more == 0) return first_pass<V>(before, n, first, last);
  first_pass<V>(before, n, first, store);
  size_t h = V::kLanes << before;
  for (int i = 1; i < more; ++i, h <<= kMost) butterfly_pass<V, 1 << kMost>(n, h, load, store);
  butterfly_pass<V, 1 << kMost>(n, h, load, last);
}

// Across R runs of `block` values, R odd and small: y_i = Σ_j m[i][j] x_j. Row i of the DCT-II satisfies
// m[i][R−1−j] = (−1)^i m[i][j]: even outputs need the sums x_j + x_{R−1−j} alone, odd ones the differences.
template <class V, int R>
void mix_few_forward(float* x, const float* m, size_t block) {
  using F = typename V::F;
  constexpr int kHalf = R / 2;
  for (size_t c = 0; c < block; c += V::kLanes) {
    F sum[kHalf + 1], difference[kHalf];
#pragma GCC unroll 4
    for (int j = 0; j < kHalf; ++j) {
      const F a = V::load(x + j * block + c), b = V::load(x + (R - 1 - j) * block + c);
      sum[j] = V::add(a, b);
      difference[j] = V::sub(a, b);
    }
    sum[kHalf] = V::load(x + kHalf * block + c);
#pragma GCC unroll 9
    for (int i = 0; i < R; ++i) {
      const F* const in = i % 2 ? difference : sum;
      F y = V::mul(V::splat(m[i * R]), in[0]);
#pragma GCC unroll 4
      for (int j = 1; j < kHalf + 1 - i % 2; ++j) y = V::fma(V::splat(m[i * R + j]), in[j], y);
      V::store(x + i * block + c, y);
    }
  }
}

// The inverse, x_j = Σ_i m[i][j] y_i: with E_j over even i and O_j over odd i, x_j = E_j + O_j and x_{R−1−j} = E_j −
// O_j.
template <class V, int R>
void mix_few_inverse(float* x, const float* m, size_t block) {
  using F = typename V::F;
  constexpr int kHalf = R / 2;
  for (size_t c = 0; c < block; c += V::kLanes) {
    F y[R];
#pragma GCC unroll 9
    for (int i = 0; i < R; ++i) y[i] = V::load(x + i * block + c);
#pragma GCC unroll 5
    for (int j = 0; j <= kHalf; ++j) {
      F even = V::mul(V::splat(m[j]), y[0]), odd = V::mul(V::splat(m[R + j]), y[1]);
#pragma GCC unroll 4
      for (int i = 2; i < R; i += 2) even = V::fma(V::splat(m[i * R + j]), y[i], even);
      if (j == kHalf) {  // the middle row of an odd output is 0
        V::store(x + j * block + c, even);
        continue;
      }
#pragma GCC unroll 4
      for (int i = 3; i < R; i += 2) odd = V::fma(V::splat(m[i * R + j]), y[i], odd);
      V::store(x + j * block + c, V::add(even, odd));
      V::store(x + (R - 1 - j) * block + c, V::sub(even, odd));
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

// Calls f.template operator()<O>() with O = n, 1 … kMixRows: rows that are summed up side by side.
constexpr size_t kMixRows = 6;
template <class F>
inline void with_rows(size_t n, const F& f) {
  switch (n) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    default:
      return f.template operator()<kMixRows>();
  }
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
    for (size_t i = parity; i < r; i += 2 * kMixRows) {
      const size_t left = (r - i + 1) / 2;
      with_rows(left < kMixRows ? left : kMixRows,
                [&]<int O>() { forward_rows<V, C, O>(rotation.mix, r, i, s, count, x, block); });
    }
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
  for (size_t j = 0, half = r - r / 2; j < half; j += kMixRows) {
    with_rows(half - j < kMixRows ? half - j : kMixRows,
              [&]<int O>() { inverse_rows<V, C, O>(rotation.mix, r, j, even, odd, x, block); });
  }
}

template <class V, int R>
void mix_few(float* x, const Rotation& r, bool inverse) {
  inverse ? mix_few_inverse<V, R>(x, r.mix, r.block) : mix_few_forward<V, R>(x, r.mix, r.block);
}

template <class V>
void mix(float* x, const Rotation& r, bool inverse, float* scratch) {
  switch (r.factor) {
    case 3:
      return mix_few<V, 3>(x, r, inverse);
    case 5:
      return mix_few<V, 5>(x, r, inverse);
    case 7:
      return mix_few<V, 7>(x, r, inverse);
    case 9:
      return mix_few<V, 9>(x, r, inverse);
    default:
      break;
  }
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
void rotate_ends_body(float* x, const Rotation& r, uint32_t n, bool inverse, const RotateEnds& ends, float* scratch) {
  RotateEnds at = ends;
  if (r.kind == 0 || r.block < V::kLanes) {
    scale_body<V>(at.from, at.in_scale, n, x);
    scalar::rotate(x, r, inverse, scratch);
    return scale_bias_body<V>(x, at.out_scale, at.bias, n);
  }
  const bool mixed = r.kind == 2 && r.factor > 1;
  if (mixed && inverse) {
    scale_body<V>(at.from, at.in_scale, n, x);
    at.from = x;
    at.in_scale = nullptr;
    mix<V>(x, r, true, scratch);
  }
  if (mixed && !inverse) at.out_scale = nullptr, at.bias = nullptr;
  for (size_t f = 0; f < r.factor; ++f) {
    const size_t i = f * r.block;
    hadamard<V>(x + i, r.block,
                {at.from + i, at.in_scale ? at.in_scale + i : nullptr, at.out_scale ? at.out_scale + i : nullptr,
                 at.bias ? at.bias + i : nullptr});
  }
  if (mixed && !inverse) {
    mix<V>(x, r, false, scratch);
    scale_bias_body<V>(x, ends.out_scale, ends.bias, n);
  }
}

template <class V>
void rotate_body(float* x, const Rotation& r, bool inverse, float* scratch) {
  if (r.kind == 0) return;
  rotate_ends_body<V>(x, r, r.block * r.factor, inverse, {.from = x}, scratch);
}

}  // namespace
}  // namespace svq::kernels
