// The float operations of a decoder block between its linears. All tensors f32, on one device.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "svq_generated.h"

namespace svq::convert {

// x / sqrt(mean(x²) + eps) ⊙ weight over the last dimension (Zhang, Sennrich 2019).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// x · sigmoid(x) ⊙ up; `gate` may be overwritten.
at::Tensor silu_and_multiply(at::Tensor gate, const at::Tensor& up);

// Rotary embedding (Su et al. 2021) in the half-split form: pair (i, i + head_dim/2) turns by position · inv_freq[i].
struct RopeTables {
  at::Tensor cos, sin;  // [positions, head_dim / 2], already times the attention factor
};
RopeTables rope_tables(const fb::ArchitectureT& architecture, int64_t first_position, int64_t positions,
                       c10::Device device);
// x [..., positions, head_dim].
at::Tensor apply_rope(const at::Tensor& x, const RopeTables& tables);

// softmax(q kᵀ / sqrt(head_dim)) v, causal. q [n_heads, T, head_dim], k and v [n_kv_heads, S, head_dim]: the T queries
// stand at the last T of S positions; query head h reads kv head h / (n_heads / n_kv_heads). window w > 0: position p
// sees p-w+1 … p. Returns [T, n_heads · head_dim]. Scores exist for a few queries at a time.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t window);

}  // namespace svq::convert
