// Everything between two integer products: output transform of the one, norm and input transform of the next.
//
// input       codes, scales = int8(Aᵀ H (scale ⊙ norm(x))) for tokens first … first + n − 1, one block a token.
//             The result of token first + i goes to row i. x is one of
//               x (plain);   x += y, y a product (residual: x is updated too);   silu(gate) ⊙ up.
//             normed ≠ null: norm(x) is written there too. codes null: that is all.
// output      out[t] = scale ⊙ Hᵀ(delta · acc[t] + beta + middle · lost) + bias of up to 3 products, one block
//             each and token.
// gate_up     the same for gate and up; the block that ends last goes on with input of silu(gate) ⊙ up.
// qkv         for q, k, v: the product's output if it has one, else what the buffer holds; then per head the
//             RMSNorm, if weights are given, and the rotary turn of q and k; q goes to its buffer, k and v to the
//             cache. For a cache in int8 q and k are rotated last, by a Hadamard transform along runs of the
//             largest power of two that divides head_dim.
// shift       positions [from, from + count) of every head move to [to, …), their keys turned by the angles of
//             cos, sin.
// add, silu_mul   x += y;  gate = silu(gate) ⊙ up.
//
// Contracts as on the CPU (kernels-neon: input_transform, output_transform, elementwise, attention's store). Hadamard
// transforms equal the reference bit for bit; max |z| is exact for the z at hand; sums (mean of squares, beta, mix) are
// f32, in an order that n alone decides: within epsilon · sqrt(n) of the reference. A value that is not finite gives
// zeros with delta NaN, as there. max_shared: what a block of this device may have; longer vectors go through
// `scratch`, (blocks, 2, padded) floats.
#pragma once
#include "kernels-cuda/types.h"

namespace svq::cuda {

inline constexpr float kQuantizeFloor = 0x1p-100f;

struct Input {
  uint32_t columns = 0, n = 0, first = 0;
  // x
  float* x = nullptr;  // (tokens, columns)
  Product y;           // residual if y.acc is set
  const float* gate = nullptr;
  const float* up = nullptr;  // (tokens, columns) both: silu
  // norm
  bool norm = false;
  const float* weight = nullptr;  // (columns)
  float eps = 0;
  float* normed = nullptr;  // (n, columns)
  // transform
  const uint16_t* scale = nullptr;  // f16 (columns)
  Rotation rotation;
  Affine affine;
  int8_t* codes = nullptr;    // (n, codes_stride)
  uint32_t codes_stride = 0;  // columns padded to 64
  Scale* scales = nullptr;    // (n)
  float* scratch = nullptr;
  uint32_t max_shared = 48 << 10;
  Prefetch prefetch;
};

struct Output {
  uint32_t n = 0, count = 0;
  Product product[kMaxGroup];
  float* out[kMaxGroup] = {};  // (n, rows)
  float* scratch = nullptr;
  uint32_t max_shared = 48 << 10;
};

struct Qkv {
  uint32_t n = 0, n_heads = 0, n_kv_heads = 0;
  Product product[3];     // acc null: the buffer holds the values
  float* buffer[3] = {};  // (n, heads · head_dim)
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;  // (head_dim)
  float eps = 0;
  const float* cos = nullptr;
  const float* sin = nullptr;  // (n, head_dim / 2)
  Cache cache;
  const Step* step = nullptr;
  float* scratch = nullptr;
  uint32_t max_shared = 48 << 10;
  Prefetch prefetch;
};

struct Shift {
  uint32_t n_layers = 0, n_kv_heads = 0, from = 0, to = 0, count = 0;  // to < from
  Cache cache;                                                         // of the first layer
  uint64_t values = 0, scales = 0;                                     // bytes from one layer's to the next
  const float* cos = nullptr;
  const float* sin = nullptr;  // (head_dim / 2)
};

using InputFn = void(Stream stream, const Input& in);
using OutputFn = void(Stream stream, const Output& out);
// counters: (n) zero before and after.
using GateUpFn = void(Stream stream, const Output& out, const Input& in, uint32_t* counters);
using QkvFn = void(Stream stream, const Qkv& args);
using ShiftFn = void(Stream stream, const Shift& s);
using AddFn = void(Stream stream, float* x, const float* y, uint64_t n);
using SiluMulFn = void(Stream stream, float* gate, const float* up, uint64_t n);
// Floats of scratch for `blocks` blocks with vectors of up to n; 0 where shared memory suffices.
constexpr uint64_t transform_scratch(uint64_t blocks, uint32_t n, uint32_t max_shared) {
  const uint64_t vector = n + 31 + (n + 31) / 32;
  return 384 + 2 * vector * sizeof(float) <= max_shared ? 0 : blocks * 2 * vector;
}

}  // namespace svq::cuda
