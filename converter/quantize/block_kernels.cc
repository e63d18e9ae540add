#include "converter/quantize/block_kernels.h"

#include <algorithm>

#include "converter/base/clones.h"

namespace svq::convert {
namespace {

// acc += Σ_{j<k} weight[j] · history[j], in the order of j. history: [k, kTileRows].
SVQ_CLONES void accumulate(const float* weight, const float* history, int64_t k, float* acc) {
  constexpr int64_t kStrip = 32;  // accumulators that stay in registers
  for (int64_t s = 0; s < kTileRows; s += kStrip) {
    float sum[kStrip];
    for (int64_t r = 0; r < kStrip; ++r) sum[r] = acc[s + r];
    for (int64_t j = 0; j < k; ++j) {
      const float m = weight[j];
      const float* h = history + j * kTileRows + s;
      for (int64_t r = 0; r < kStrip; ++r) sum[r] += m * h[r];
    }
    for (int64_t r = 0; r < kStrip; ++r) acc[s + r] = sum[r];
  }
}

// Nearest integer in [0, max_code] (halves go up).
inline float nearest_code(float v, float max_code) {
  const float low = v > 0.0f ? v : 0.0f;
  const float clamped = low < max_code ? low : max_code;
  return static_cast<float>(static_cast<int>(clamped + 0.5f));
}

SVQ_CLONES void ldlq_column(const float* acc, float max_code, float* values, float* error, uint8_t* codes) {
  for (int64_t r = 0; r < kTileRows; ++r) {
    const float c = nearest_code(acc[r], max_code);
    error[r] = values[r] - c;
    values[r] = error[r];
    codes[r] = static_cast<uint8_t>(static_cast<int>(c));
  }
}

// A code moves only if that brings it nearer by a margin well above the rounding of f32: no two codes take turns.
SVQ_CLONES int descent_column(const float* acc, float inverse_diagonal, float max_code, float* values, float* change,
                              uint8_t* codes) {
  constexpr float kMargin = 1e-3f;
  int moved = 0;
  for (int64_t r = 0; r < kTileRows; ++r) {
    const float c = static_cast<float>(static_cast<int>(codes[r]));
    const float wish = c + acc[r] * inverse_diagonal;
    const float n = nearest_code(wish, max_code);
    const float stay = wish > c ? wish - c : c - wish;
    const float move = wish > n ? wish - n : n - wish;
    const float taken = stay - move > kMargin ? n : c;
    change[r] = c - taken;
    values[r] += change[r];
    codes[r] = static_cast<uint8_t>(static_cast<int>(taken));
    moved += taken != c;
  }
  return moved;
}

// Copies a column's tile into [kTileRows], zeros beyond its width; and back.
template <class T>
void load(const T* from, int64_t width, T* to) {
  std::copy(from, from + width, to);
  std::fill(to + width, to + kTileRows, T{0});
}

}  // namespace

void ldlq_tile(const ColumnBlock& block, int64_t row_begin, int64_t row_end) {
  alignas(64) float history[kBlockColumns * kTileRows];
  alignas(64) float acc[kTileRows], values[kTileRows];
  alignas(64) uint8_t codes[kTileRows];
  const int64_t width = row_end - row_begin;
  const float max_code = static_cast<float>(block.max_code);
  for (int64_t k = 0; k < block.columns; ++k) {
    const int64_t at = k * block.stride + row_begin;
    load(block.values + at, width, values);
    load(block.base + at, width, acc);
    for (int64_t r = 0; r < kTileRows; ++r) acc[r] += values[r];
    accumulate(block.matrix + k * block.matrix_stride, history, k, acc);
    ldlq_column(acc, max_code, values, history + k * kTileRows, codes);
    std::copy(values, values + width, block.values + at);
    std::copy(codes, codes + width, block.codes + at);
  }
}

int64_t descent_tile(const ColumnBlock& block, int64_t row_begin, int64_t row_end) {
  alignas(64) float history[kBlockColumns * kTileRows];
  alignas(64) float acc[kTileRows], values[kTileRows];
  alignas(64) uint8_t codes[kTileRows];
  const int64_t width = row_end - row_begin;
  const float max_code = static_cast<float>(block.max_code);
  int64_t moved = 0;
  for (int64_t k = 0; k < block.columns; ++k) {
    const int64_t at = k * block.stride + row_begin;
    load(block.values + at, width, values);
    load(block.base + at, width, acc);  // padding rows: acc 0, code 0, nothing moves
    load(block.codes + at, width, codes);
    accumulate(block.matrix + k * block.matrix_stride, history, k, acc);
    moved += descent_column(acc, 1.0f / block.matrix[k * block.matrix_stride + k], max_code, values,
                            history + k * kTileRows, codes);
    std::copy(values, values + width, block.values + at);
    std::copy(codes, codes + width, block.codes + at);
  }
  return moved;
}

SVQ_CLONES void add_scaled(const float* x, float a, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

int64_t descent_row(const float* hessian, int64_t columns, int max_code, float* gradient, float* change, float* errors,
                    uint8_t* codes) {
  int64_t moved = 0;
  for (int64_t k = 0; k < columns; ++k) {
    const float* row = hessian + k * columns;
    const float code = static_cast<float>(codes[k]);
    const float best = nearest_code(code + gradient[k] / row[k], static_cast<float>(max_code));
    const float step = best - code;
    if (step == 0.0f) continue;
    codes[k] = static_cast<uint8_t>(best);
    errors[k] -= step;
    add_scaled(row, -step, columns, gradient);
    add_scaled(row, -step, columns, change);
    ++moved;
  }
  return moved;
}

}  // namespace svq::convert
