#include "converter/train/tile_kernels.h"

#include <algorithm>
#include <cmath>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"
#include "converter/base/vector.h"
#include "converter/quantize/dct.h"

namespace svq::convert {
namespace {

constexpr int64_t W = kTileTokens;

// Two steps of butterflies in each pass over the tile, then the last one if their number is odd.
SVQ_CLONES void hadamard(float* t, int64_t n, float norm) {
  float m = norm;  // the normalisation goes with the first pass
  int64_t half = 1;
  for (; half * 4 <= n; half *= 4, m = 1.0f) {
    const int64_t run = half * W;
    for (int64_t start = 0; start < n * W; start += 4 * run) {
      float *x0 = t + start, *x1 = x0 + run, *x2 = x1 + run, *x3 = x2 + run;
      for (int64_t i = 0; i < run; ++i) {
        const float a = x0[i] * m, b = x1[i] * m, c = x2[i] * m, d = x3[i] * m;
        const float ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        x0[i] = ab + cd;
        x1[i] = a_b + c_d;
        x2[i] = ab - cd;
        x3[i] = a_b - c_d;
      }
    }
  }
  if (half == n) return;
  float *low = t, *high = t + half * W;
  for (int64_t i = 0; i < half * W; ++i) {
    const float a = low[i] * m, b = high[i] * m;
    low[i] = a + b;
    high[i] = a - b;
  }
}

// out[o] = Σ_j m[o·m_out + j·m_in] x[j·step], C columns each, for two outputs. V: lanes of the CPU's vectors.
template <int V, int64_t C>
SVQ_INLINE void two_sums(const float* m, int64_t m_out, int64_t m_in, const float* x, int64_t step, int64_t count,
                         float* out0, float* out1) {
  using Lanes = typename Vector<V>::Lanes;
  constexpr int64_t S = C * W;
  // Vectors at a time: sums that outlast the latency of an addition and stay in registers, 32 of them or 16.
  constexpr int64_t kParts = std::min<int64_t>(V == 16 ? 8 : 4, S / V), kRun = kParts * V;
  for (int64_t s = 0; s < S; s += kRun) {
    Lanes sum0[kParts] = {}, sum1[kParts] = {};
    for (int64_t j = 0; j < count; ++j) {
      const float c0 = m[j * m_in], c1 = m[m_out + j * m_in];
      const float* in = x + s + j * step;
      for (int64_t k = 0; k < kParts; ++k) {
        const Lanes v = Vector<V>::at(in + k * V);
        sum0[k] += c0 * v;
        sum1[k] += c1 * v;
      }
    }
    for (int64_t k = 0; k < kParts; ++k) {
      Vector<V>::at(out0 + s + k * V) = sum0[k];
      Vector<V>::at(out1 + s + k * V) = sum1[k];
    }
  }
}

// The DCT-II across `factor` runs of values, in place, C columns at a time. m[i][r−1−j] = (−1)^i m[i][j]: even outputs
// need the sums x_j + x_{r−1−j} alone, odd ones the differences. scratch: factor · C columns.
template <int V, int64_t C>
SVQ_INLINE void mix_forward(float* x, const float* m, int64_t factor, int64_t run, float* scratch) {
  constexpr int64_t S = C * W;
  const int64_t r = factor, half = r / 2;
  float spare[S];
  for (int64_t s = 0; s < run; s += S) {
    for (int64_t j = 0; j < half; ++j) {
      float *low = x + j * run + s, *high = x + (r - 1 - j) * run + s;
      for (int64_t k = 0; k < S; ++k) {
        const float a = low[k], b = high[k];
        low[k] = a + b;
        high[k] = a - b;
      }
    }
    for (int64_t i = 0; i < r; i += i % 4 == 1 ? 3 : 1) {  // 0, 1, 4, 5, … with the output after next
      const bool odd = i % 2;
      const bool alone = i + 2 >= r;
      two_sums<V, C>(m + i * r, alone ? 0 : 2 * r, 1, odd ? x + (r - 1) * run + s : x + s, odd ? -run : run,
                     odd ? half : r - half, scratch + i * S, alone ? spare : scratch + (i + 2) * S);
    }
    for (int64_t j = 0; j < r; ++j) std::copy(scratch + j * S, scratch + (j + 1) * S, x + j * run + s);
  }
}

// The transpose: with E_j the sum over even i and O_j over odd i, x_j = E_j + O_j and x_{r−1−j} = E_j − O_j.
template <int V, int64_t C>
SVQ_INLINE void mix_inverse(float* x, const float* m, int64_t factor, int64_t run, float* scratch) {
  constexpr int64_t S = C * W;
  const int64_t r = factor, half = r / 2;
  for (int64_t s = 0; s < run; s += S) {
    for (int64_t j = 0; j < r - half; j += 2) {
      const bool alone = j + 1 >= r - half;
      float even[2][S], odd[2][S];
      two_sums<V, C>(m + j, alone ? 0 : 1, 2 * r, x + s, 2 * run, r - half, even[0], even[1]);
      two_sums<V, C>(m + r + j, alone ? 0 : 1, 2 * r, x + run + s, 2 * run, half, odd[0], odd[1]);
      for (int64_t o = 0; o < (alone ? 1 : 2); ++o) {
        float *low = scratch + (j + o) * S, *high = scratch + (r - 1 - j - o) * S;
        for (int64_t k = 0; k < S; ++k) {
          const float e = even[o][k], d = odd[o][k];
          high[k] = e - d;
          low[k] = e + d;  // where both are one, the middle, nothing is odd
        }
      }
    }
    for (int64_t j = 0; j < r; ++j) std::copy(scratch + j * S, scratch + (j + 1) * S, x + j * run + s);
  }
}

// Eight columns at a time where there are as many: a run of x serves two outputs.
template <int V>
SVQ_INLINE void mix_by(float* x, const float* m, int64_t factor, int64_t run, float* scratch, bool inverse) {
  if (run % (8 * W) == 0) {
    inverse ? mix_inverse<V, 8>(x, m, factor, run, scratch) : mix_forward<V, 8>(x, m, factor, run, scratch);
  } else {
    inverse ? mix_inverse<V, 1>(x, m, factor, run, scratch) : mix_forward<V, 1>(x, m, factor, run, scratch);
  }
}

#ifdef SVQ_AVX2
SVQ_AVX512 void mix_blocks(float* x, const float* m, int64_t factor, int64_t run, float* scratch, bool inverse) {
  mix_by<16>(x, m, factor, run, scratch, inverse);
}
SVQ_AVX2 void mix_blocks(float* x, const float* m, int64_t factor, int64_t run, float* scratch, bool inverse) {
  mix_by<8>(x, m, factor, run, scratch, inverse);
}
#endif
SVQ_OTHER void mix_blocks(float* x, const float* m, int64_t factor, int64_t run, float* scratch, bool inverse) {
  mix_by<4>(x, m, factor, run, scratch, inverse);
}

template <int64_t D>
SVQ_INLINE void affine_groups(const float* u, const float* a, const float* b, int64_t groups, float* z, float* beta) {
  for (int64_t g = 0; g < groups; ++g, u += D * W, z += D * W) {
    for (int64_t j = 0; j < D; ++j) {
      float sum[W] = {};
      for (int64_t i = 0; i < D; ++i) {
        for (int64_t w = 0; w < W; ++w) sum[w] += a[i * D + j] * u[i * W + w];
      }
      for (int64_t w = 0; w < W; ++w) z[j * W + w] = sum[w];
      for (int64_t w = 0; w < W; ++w) beta[w] += b[j] * u[j * W + w];
    }
  }
}

template <int64_t D>
SVQ_INLINE void affine_groups_backward(const float* u, const float* dz, const float* dbeta, const float* a,
                                       const float* b, int64_t groups, float* du, float* da, float* db) {
  float sum_a[D * D * W] = {}, sum_b[D * W] = {};
  for (int64_t g = 0; g < groups; ++g, u += D * W, dz += D * W, du += D * W) {
    for (int64_t i = 0; i < D; ++i) {
      float sum[W];
      for (int64_t w = 0; w < W; ++w) sum[w] = b[i] * dbeta[w];
      for (int64_t j = 0; j < D; ++j) {
        for (int64_t w = 0; w < W; ++w) sum[w] += a[i * D + j] * dz[j * W + w];
        for (int64_t w = 0; w < W; ++w) sum_a[(i * D + j) * W + w] += u[i * W + w] * dz[j * W + w];
      }
      for (int64_t w = 0; w < W; ++w) du[i * W + w] += sum[w];
      for (int64_t w = 0; w < W; ++w) sum_b[i * W + w] += u[i * W + w] * dbeta[w];
    }
  }
  for (int64_t i = 0; i < D * D; ++i) {
    for (int64_t w = 0; w < W; ++w) da[i] += sum_a[i * W + w];
  }
  for (int64_t i = 0; i < D; ++i) {
    for (int64_t w = 0; w < W; ++w) db[i] += sum_b[i * W + w];
  }
}

// target_clones does not reach templates: one plain function per group size.
SVQ_CLONES void affine4(const float* u, const float* a, const float* b, int64_t groups, float* z, float* beta) {
  affine_groups<4>(u, a, b, groups, z, beta);
}
SVQ_CLONES void affine8(const float* u, const float* a, const float* b, int64_t groups, float* z, float* beta) {
  affine_groups<8>(u, a, b, groups, z, beta);
}
SVQ_CLONES void affine4_backward(const float* u, const float* dz, const float* dbeta, const float* a, const float* b,
                                 int64_t groups, float* du, float* da, float* db) {
  affine_groups_backward<4>(u, dz, dbeta, a, b, groups, du, da, db);
}
SVQ_CLONES void affine8_backward(const float* u, const float* dz, const float* dbeta, const float* a, const float* b,
                                 int64_t groups, float* du, float* da, float* db) {
  affine_groups_backward<8>(u, dz, dbeta, a, b, groups, du, da, db);
}

// Eight by eight values at a time: rows of eight, transposed in three steps of shuffles.
typedef float Eight __attribute__((vector_size(32), aligned(4)));
typedef int32_t EightInts __attribute__((vector_size(32)));
typedef uint32_t EightWords __attribute__((vector_size(32)));
typedef uint16_t EightHalves __attribute__((vector_size(16), aligned(2)));

SVQ_INLINE void load8(const float* p, Eight& v) { v = *reinterpret_cast<const Eight*>(p); }
SVQ_INLINE void load8(const uint16_t* p, Eight& v) {
  v = reinterpret_cast<Eight>(__builtin_convertvector(*reinterpret_cast<const EightHalves*>(p), EightWords) << 16);
}
SVQ_INLINE void store8(const Eight& v, float* p) { *reinterpret_cast<Eight*>(p) = v; }
SVQ_INLINE void store8(const Eight& v, uint16_t* p) {
  const EightWords bits = reinterpret_cast<EightWords>(v);
  *reinterpret_cast<EightHalves*>(p) = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, EightHalves);
}

SVQ_INLINE void transpose8(Eight* v) {
  constexpr EightInts low = {0, 8, 1, 9, 4, 12, 5, 13}, high = {2, 10, 3, 11, 6, 14, 7, 15};
  constexpr EightInts even = {0, 1, 8, 9, 4, 5, 12, 13}, odd = {2, 3, 10, 11, 6, 7, 14, 15};
  constexpr EightInts first = {0, 1, 2, 3, 8, 9, 10, 11}, second = {4, 5, 6, 7, 12, 13, 14, 15};
  Eight a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shuffle(v[i], v[i + 1], low);
    a[i + 1] = __builtin_shuffle(v[i], v[i + 1], high);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int k = 0; k < 2; ++k) {
      b[i + 2 * k] = __builtin_shuffle(a[i + k], a[i + k + 2], even);
      b[i + 2 * k + 1] = __builtin_shuffle(a[i + k], a[i + k + 2], odd);
    }
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = __builtin_shuffle(b[i], b[i + 4], first);
    v[i + 4] = __builtin_shuffle(b[i], b[i + 4], second);
  }
}

// target_clones does not reach templates: one plain function per type below.
template <class T>
SVQ_INLINE void load_whole(const T* rows, int64_t columns, float* tile) {
  Eight v[8];
  for (int64_t k = 0; k < columns; k += 8) {
    for (int64_t w = 0; w < W; w += 8) {
      for (int i = 0; i < 8; ++i) load8(rows + (w + i) * columns + k, v[i]);
      transpose8(v);
      for (int i = 0; i < 8; ++i) store8(v[i], tile + (k + i) * W + w);
    }
  }
}

template <class T>
SVQ_INLINE void store_whole(const float* tile, int64_t columns, T* rows) {
  Eight v[8];
  for (int64_t k = 0; k < columns; k += 8) {
    for (int64_t w = 0; w < W; w += 8) {
      for (int i = 0; i < 8; ++i) load8(tile + (k + i) * W + w, v[i]);
      transpose8(v);
      for (int i = 0; i < 8; ++i) store8(v[i], rows + (w + i) * columns + k);
    }
  }
}

SVQ_CLONES void load_whole_f32(const float* rows, int64_t columns, float* tile) { load_whole(rows, columns, tile); }
SVQ_CLONES void load_whole_bf16(const uint16_t* rows, int64_t columns, float* tile) { load_whole(rows, columns, tile); }
SVQ_CLONES void store_whole_f32(const float* tile, int64_t columns, float* rows) { store_whole(tile, columns, rows); }
SVQ_CLONES void store_whole_bf16(const float* tile, int64_t columns, uint16_t* rows) {
  store_whole(tile, columns, rows);
}

void put(float x, float& out) { out = x; }
void put(float x, uint16_t& out) { out = to_bf16(x); }

template <class T, class Whole>
void load_any(const T* rows, int64_t tokens, int64_t columns, float* tile, const Whole& whole) {
  if (tokens == W && columns % 8 == 0) return whole(rows, columns, tile);
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) tile[k * W + w] = w < tokens ? to_float(rows[w * columns + k]) : 0.0f;
  }
}

template <class T, class Whole>
void store_any(const float* tile, int64_t tokens, int64_t columns, T* rows, const Whole& whole) {
  if (tokens == W && columns % 8 == 0) return whole(tile, columns, rows);
  for (int64_t w = 0; w < tokens; ++w) {
    for (int64_t k = 0; k < columns; ++k) put(tile[k * W + w], rows[w * columns + k]);
  }
}

}  // namespace

TileRotation::TileRotation(int64_t block, int64_t factor, bool mixed)
    : block_(block),
      factor_(factor),
      mixed_(mixed && factor > 1),
      norm_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)))) {
  if (!mixed_) return;
  matrix_.resize(static_cast<size_t>(factor * factor));
  for (int64_t i = 0; i < factor; ++i) {
    for (int64_t j = 0; j < factor; ++j) {
      matrix_[static_cast<size_t>(i * factor + j)] = static_cast<float>(dct_entry(factor, i, j));
    }
  }
}

void TileRotation::mix(float* tile, float* scratch, bool inverse) const {
  if (mixed_) mix_blocks(tile, matrix_.data(), factor_, block_ * W, scratch, inverse);
}

void TileRotation::apply(float* tile, float* scratch, bool inverse) const {
  if (inverse) mix(tile, scratch, true);
  for (int64_t f = 0; block_ > 1 && f < factor_; ++f) hadamard(tile + f * block_ * W, block_, norm_);
  if (!inverse) mix(tile, scratch, false);
}

void load_tile(const float* rows, int64_t tokens, int64_t columns, float* tile) {
  load_any(rows, tokens, columns, tile, load_whole_f32);
}
void load_tile(const uint16_t* rows, int64_t tokens, int64_t columns, float* tile) {
  load_any(rows, tokens, columns, tile, load_whole_bf16);
}
void store_tile(const float* tile, int64_t tokens, int64_t columns, float* rows) {
  store_any(tile, tokens, columns, rows, store_whole_f32);
}
void store_tile(const float* tile, int64_t tokens, int64_t columns, uint16_t* rows) {
  store_any(tile, tokens, columns, rows, store_whole_bf16);
}

// Bound by memory: eight lanes serve every CPU, and keep GCC from transposing columns to multiply them by one vector.
SVQ_CLONES void scale_tile(float* tile, const float* scale, int64_t columns) {
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; w += 8) Vector<8>::at(tile + k * W + w) *= scale[k];
  }
}

SVQ_CLONES void add_tokens(float* tile, const float* per_token, int64_t columns) {
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; w += 8) Vector<8>::at(tile + k * W + w) += Vector<8>::at(per_token + w);
  }
}

SVQ_CLONES void dot_tiles(const float* a, const float* b, int64_t columns, float* out) {
  for (int64_t k = 0; k < columns; ++k) {
    float product[W];
    for (int64_t w = 0; w < W; ++w) product[w] = a[k * W + w] * b[k * W + w];
    float sum = 0;
    for (int64_t w = 0; w < W; ++w) sum += product[w];
    out[k] = sum;
  }
}

SVQ_CLONES void sum_columns(const float* tile, int64_t columns, float* per_token) {
  float sum[W] = {};
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) sum[w] += tile[k * W + w];
  }
  for (int64_t w = 0; w < W; ++w) per_token[w] = sum[w];
}

void affine_tile(const float* u, const float* a, const float* b, int64_t d, int64_t groups, float* z, float* beta) {
  (d == 4 ? affine4 : affine8)(u, a, b, groups, z, beta);
}

void affine_backward_tile(const float* u, const float* dz, const float* dbeta, const float* a, const float* b,
                          int64_t d, int64_t groups, float* du, float* da, float* db) {
  (d == 4 ? affine4_backward : affine8_backward)(u, dz, dbeta, a, b, groups, du, da, db);
}

}  // namespace svq::convert
