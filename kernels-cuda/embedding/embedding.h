// embed   Starts a step: x[t] = row tokens[t] of the embedding, out_scale[v] · scale ⊙ Hᵀ (A_g code_g + B_g), or the
// f16
//         row; and copies what the host prepared for the step, position and rotary factors, to where later kernels read
//         it. One block a token.
// The host's part is pinned memory that the device reads in place. Within epsilon · factor of the CPU's decode_row and
// rotate; f16 rows are exact.
#pragma once
#include "kernels-cuda/types.h"

namespace svq::cuda {

struct Embed {
  uint32_t n = 0, columns = 0, half_dim = 0;
  // pinned host memory
  const Step* host_step = nullptr;
  const int32_t* tokens = nullptr;  // (n)
  const float* host_cos = nullptr;
  const float* host_sin = nullptr;  // (n, half_dim)
  // the embedding
  Packed packed;
  Affine affine;
  Rotation rotation;                    // of the input transform
  const uint16_t* scale = nullptr;      // f16 (columns)
  const uint16_t* out_scale = nullptr;  // f16 (vocab)
  const uint16_t* f16 = nullptr;        // (vocab, columns); set: not packed
  // results
  float* x = nullptr;  // (n, columns)
  Step* step = nullptr;
  float* cos = nullptr;
  float* sin = nullptr;  // (n, half_dim)
  float* scratch = nullptr;
  uint32_t max_shared = 48 << 10;
};
using EmbedFn = void(Stream stream, const Embed& e);

}  // namespace svq::cuda
