// Causal attention with gradients, head by head and in blocks of queries: the weights are computed again in the
// backward pass instead of being kept, so memory grows with the length, not with its square (as FlashAttention, Dao et
// al. 2022).
#pragma once
#include <ATen/ATen.h>

#include <cstdint>

namespace svq::convert {

// softmax(q kᵀ / sqrt(head_dim)) v. q [B, heads, T, head_dim], k and v [B, kv heads, T, head_dim], f32 on the CPU;
// query head h reads kv head h / (heads / kv heads). window w > 0: position p sees p-w+1 … p. Returns q's shape.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t window);

}  // namespace svq::convert
