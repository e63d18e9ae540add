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
  uint8_t** pages;  // (n_pages)
  // A page of the cache, kSegment positions: keys (n_layers, n_kv_heads, kSegment, head_dim), values, their scales.
  uint64_t layer_values, layer_scales;  // bytes of a layer's keys or values, and of their scales
  uint64_t page_bytes;
  uint32_t n_pages;

  // pinned
  cuda::Step* host_step;
  int32_t* tokens;  // (max_tokens)
  float* host_cos;
  float* host_sin;
  cuda::TopK* top;
};

}  // namespace svq::rt
