#include "converter/train/tile_kernels.h"

#include <algorithm>
#include <cmath>

#include "converter/base/clones.h"
#include "converter/quantize/dct.h"

namespace svq::convert {
namespace {

constexpr int64_t W = kTileTokens;

SVQ_CLONES void hadamard(float* t, int64_t n, float norm) {
  for (int64_t half = 1; half < n; half *= 2) {
    const float m = half == 1 ? norm : 1.0f;  // the normalisation goes with the first step
    for (int64_t start = 0; start < n; start += 2 * half) {
      float* low = t + start * W;
      float* high = low + half * W;
      for (int64_t i = 0; i < half * W; ++i) {
        const float a = low[i] * m, b = high[i] * m;
        low[i] = a + b;
        high[i] = a - b;
      }
    }
  }
}

// out_i = Σ_j m[i·row + j·column] in_j over runs of `run` values.
SVQ_CLONES void mix_runs(const float* in, const float* m, int64_t row, int64_t column, int64_t factor, int64_t run,
                         float* out) {
  constexpr int64_t kStrip = 64;
  for (int64_t s = 0; s < run; s += kStrip) {
    const int64_t n = run - s < kStrip ? run - s : kStrip;
    for (int64_t i = 0; i < factor; ++i) {
      float sum[kStrip] = {};
      if (n == kStrip) {
        for (int64_t j = 0; j < factor; ++j) {
          const float c = m[i * row + j * column];
          const float* x = in + j * run + s;
          for (int64_t k = 0; k < kStrip; ++k) sum[k] += c * x[k];
        }
      } else {
        for (int64_t j = 0; j < factor; ++j) {
          const float c = m[i * row + j * column];
          const float* x = in + j * run + s;
          for (int64_t k = 0; k < n; ++k) sum[k] += c * x[k];
        }
      }
      float* y = out + i * run + s;
      for (int64_t k = 0; k < n; ++k) y[k] = sum[k];
    }
  }
}

template <int64_t D>
inline __attribute__((always_inline)) void affine_groups(const float* u, const float* a, const float* b, int64_t groups,
                                                         float* z, float* beta) {
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
inline __attribute__((always_inline)) void affine_groups_backward(const float* u, const float* dz, const float* dbeta,
                                                                  const float* a, const float* b, int64_t groups,
                                                                  float* du, float* da, float* db) {
  float sum_a[D * D * W] = {}, sum_b[D * W] = {};
  for (int64_t g = 0; g < groups; ++g, u += D * W, dz += D * W, du += D * W) {
    for (int64_t i = 0; i < D; ++i) {
      float sum[W];
      for (int64_t w = 0; w < W; ++w) sum[w] = b[i] * dbeta[w];
      for (int64_t j = 0; j < D; ++j) {
        for (int64_t w = 0; w < W; ++w) sum[w] += a[i * D + j] * dz[j * W + w];
        for (int64_t w = 0; w < W; ++w) sum_a[(i * D + j) * W + w] += u[i * W + w] * dz[j * W + w];
      }
      for (int64_t w = 0; w < W; ++w) du[i * W + w] = sum[w];
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

SVQ_CLONES void load_whole(const float* rows, int64_t stride, int64_t columns, float* tile) {
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) tile[k * W + w] = rows[w * stride + k];
  }
}

SVQ_CLONES void store_whole(const float* tile, int64_t columns, float* rows, int64_t stride) {
  constexpr int64_t kRun = 16;  // a cache line of every token at a time
  for (int64_t k = 0; k < columns; k += kRun) {
    const int64_t end = k + kRun < columns ? k + kRun : columns;
    for (int64_t w = 0; w < W; ++w) {
      for (int64_t c = k; c < end; ++c) rows[w * stride + c] = tile[c * W + w];
    }
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
  if (!mixed_) return;
  mix_runs(tile, matrix_.data(), inverse ? 1 : factor_, inverse ? factor_ : 1, factor_, block_ * W, scratch);
  std::copy(scratch, scratch + size() * W, tile);
}

void TileRotation::apply(float* tile, float* scratch, bool inverse) const {
  if (inverse) mix(tile, scratch, true);
  for (int64_t f = 0; block_ > 1 && f < factor_; ++f) hadamard(tile + f * block_ * W, block_, norm_);
  if (!inverse) mix(tile, scratch, false);
}

void load_tile(const float* rows, int64_t stride, int64_t tokens, int64_t columns, float* tile) {
  if (tokens == W) return load_whole(rows, stride, columns, tile);
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) tile[k * W + w] = w < tokens ? rows[w * stride + k] : 0.0f;
  }
}

void store_tile(const float* tile, int64_t tokens, int64_t columns, float* rows, int64_t stride) {
  if (tokens == W) return store_whole(tile, columns, rows, stride);
  for (int64_t w = 0; w < tokens; ++w) {
    for (int64_t k = 0; k < columns; ++k) rows[w * stride + k] = tile[k * W + w];
  }
}

SVQ_CLONES void scale_tile(float* tile, const float* scale, int64_t columns) {
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) tile[k * W + w] *= scale[k];
  }
}

SVQ_CLONES void add_tokens(float* tile, const float* per_token, int64_t columns) {
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t w = 0; w < W; ++w) tile[k * W + w] += per_token[w];
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
