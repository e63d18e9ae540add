// Where a session's memory lies on the GPU and in pinned memory of the host.
#pragma once
#include "runtime/cuda/cuda_backend.h"

namespace svq::rt {

struct CudaBackend::Layout {
  Layout(const Weights& w, uint32_t max_shared, const CudaOptions& o, DeviceArena& device, DeviceArena& pinned);

  // device
  cuda::Step* step;
  float* cos;  // (max_tokens, head_dim / 2)
  float* sin;
  uint32_t code_stride;                  // max_columns padded to 64
  int8_t* codes[cuda::kMaxGroup];        // (max_tokens, code_stride), one for each distinct input of a group
  cuda::Scale* scales[cuda::kMaxGroup];  // (max_tokens)
  int32_t* acc;                          // (tokens, rows) of a group's products
  float* normed;                         // (max_tokens, max_columns) null: no linear needs it
  float* side;                           // (max_tokens, max_side_rank)
  float* scratch;                        // of transforms
  float* logits;                         // (kHeadTokens, vocab)
  uint32_t* top_scratch;
  float* partial;      // of attention
  uint32_t* counters;  // zero
  uint32_t n_counters;
  uint64_t cache_values, cache_scales;  // elements of a layer
  uint8_t* k;                           // (n_layers, n_kv_heads, context, head_dim)
  uint8_t* v;
  float* k_scale;  // (n_layers, n_kv_heads, context)
  float* v_scale;

  // pinned
  cuda::Step* host_step;
  int32_t* tokens;  // (max_tokens)
  float* host_cos;
  float* host_sin;
  cuda::TopK* top;
};

}  // namespace svq::rt
