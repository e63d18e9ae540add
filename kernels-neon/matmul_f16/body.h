// f16 weights times f32 activations over a vector struct (simd/). One accumulator per (row, token), so that blocking by
// rows and tokens cannot change a sum; rows in blocks for one token (to have enough independent chains), rows × tokens
// in registers for several.
#pragma once
#include <cstring>

#include "kernels-neon/matmul_f16/matmul_f16.h"

namespace svq::kernels {
namespace {

template <class V, int R, int T>
void matmul_block(const uint16_t* w, size_t columns, const float* x, size_t x_stride, float* y, size_t y_stride) {
  using F = typename V::F;
  F sum[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) sum[r][t] = V::zero();
  }
  const size_t whole = columns / V::kLanes * V::kLanes, rest = columns - whole;
  // The tails, padded with zeros, before the loop: sums that a call has to keep, or that are indexed, would be stored
  // in every round; so loops over them are unrolled whole.
  uint16_t row_tail[R][V::kLanes] = {};
  float token_tail[T][V::kLanes] = {};
  if (rest) {
    for (int r = 0; r < R; ++r) std::memcpy(row_tail[r], w + r * columns + whole, rest * sizeof(uint16_t));
    for (int t = 0; t < T; ++t) std::memcpy(token_tail[t], x + t * x_stride + whole, rest * sizeof(float));
  }
  for (size_t k = 0; k < whole; k += V::kLanes) {
    F row[R];
    for (int r = 0; r < R; ++r) row[r] = V::load_f16(w + r * columns + k);
    for (int t = 0; t < T; ++t) {
      const F token = V::load(x + t * x_stride + k);
      for (int r = 0; r < R; ++r) sum[r][t] = V::fma(row[r], token, sum[r][t]);
    }
  }
  if (rest) {
    F row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) row[r] = V::load_f16(row_tail[r]);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F token = V::load(token_tail[t]);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r][t] = V::fma(row[r], token, sum[r][t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) y[t * y_stride + r] = V::sum(sum[r][t]);
  }
}

// R rows for all tokens, T at a time.
template <class V, int R, int T>
void matmul_rows(const uint16_t* w, size_t columns, const float* x, size_t x_stride, uint32_t n_tokens, float* y,
                 size_t y_stride) {
  uint32_t t = 0;
  for (; t + T <= n_tokens; t += T) {
    matmul_block<V, R, T>(w, columns, x + t * x_stride, x_stride, y + t * y_stride, y_stride);
  }
  for (; t < n_tokens; ++t) {
    matmul_block<V, R, 1>(w, columns, x + t * x_stride, x_stride, y + t * y_stride, y_stride);
  }
}

// T: tokens at a time beside 4 rows; as many as the registers hold.
template <class V, int T>
void matmul_f16_body(const uint16_t* w, uint32_t columns, uint32_t row_begin, uint32_t row_end, const float* x,
                     size_t x_stride, uint32_t n_tokens, float* y, size_t y_stride) {
  const size_t k = columns;
  uint32_t r = row_begin;
  if (n_tokens == 1) {
    for (; r + 8 <= row_end; r += 8) matmul_block<V, 8, 1>(w + r * k, k, x, x_stride, y + r, y_stride);
  }
  for (; r + 4 <= row_end; r += 4) matmul_rows<V, 4, T>(w + r * k, k, x, x_stride, n_tokens, y + r, y_stride);
  for (; r < row_end; ++r) matmul_rows<V, 1, T>(w + r * k, k, x, x_stride, n_tokens, y + r, y_stride);
}

template <class V>
void row_f16_body(const uint16_t* w, uint32_t columns, float* out) {
  uint32_t k = 0;
  for (; k + V::kLanes <= columns; k += V::kLanes) V::store(out + k, V::load_f16(w + k));
  if (k < columns) {
    uint16_t tail[V::kLanes] = {};
    float values[V::kLanes];
    std::memcpy(tail, w + k, (columns - k) * sizeof(uint16_t));
    V::store(values, V::load_f16(tail));
    std::memcpy(out + k, values, (columns - k) * sizeof(float));
  }
}

}  // namespace
}  // namespace svq::kernels
