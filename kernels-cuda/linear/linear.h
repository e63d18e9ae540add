// Products of weights and activations, before their output transform.
//
// packed_product   acc[t][r] = Σ_k code[r, k] · codes[t][k] for up to 3 linears of the same columns; rows padded to 16
//                  (padding rows give 0); exact, whatever kernel computes it:
//                    1 … kGemvTokens tokens   dp4a, a lane a tile of 16 bytes, weights straight from memory
//                    more                     mma m16n8k32 (u8 × s8), weights and activations staged by cp.async
//                  Columns ≤ 65536 as on the CPU: sums of codes times 4^p stay within int32.
// f16_product      y[t][r] = (add ? y[t][r] : 0) + Σ_k w[r, k] x[t][k] + bias[r], f32: 32 partial sums by column (in
//                  eights where 8 divides columns), added up in a fixed tree: independent of n.
#pragma once
#include "kernels-cuda/types.h"

namespace svq::cuda {

inline constexpr uint32_t kGemvTokens = 2;

struct PackedProduct {
  uint32_t n = 0, count = 0;
  Packed w[kMaxGroup];
  int32_t* acc[kMaxGroup] = {};         // (n, acc_stride)
  uint32_t acc_stride[kMaxGroup] = {};  // at least the padded rows
  const int8_t* codes = nullptr;        // (n, columns padded to 64)
  uint32_t multiprocessors = 8, max_shared = 64 << 10;
};

struct F16Product {
  uint32_t n = 0, rows = 0, columns = 0;
  const uint16_t* w = nullptr;  // (rows, columns)
  const float* x = nullptr;     // (n, columns)
  const float* bias = nullptr;  // (rows)
  float* y = nullptr;           // (n, rows)
  bool add = false;
};

enum class ProductKernel { kAuto, kGemv, kGemm };
using PackedProductFn = void(Stream stream, const PackedProduct& p, ProductKernel kernel);
using F16ProductFn = void(Stream stream, const F16Product& p);

}  // namespace svq::cuda
