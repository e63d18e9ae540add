// One head of causal attention and its gradients, sixteen queries at a time. No libtorch here. All sums are f32.
#pragma once
#include <cstdint>

namespace svq::convert {

struct HeadShape {
  int64_t length, dim;
  int64_t window;  // keys that a query sees, itself included; 0: all before it
  float scale;     // of q kᵀ
};

// out [length, dim] = softmax(scale q kᵀ) v, log_sum [length] = ln Σ_j e^(scale q·k_j). q, k, v [length, dim].
void attend_head(const float* q, const float* k, const float* v, const HeadShape& shape, float* out, float* log_sum);

// Gradients of the above, given that of out: dq is set, dk and dv are added to.
void attend_head_backward(const float* q, const float* k, const float* v, const float* out, const float* log_sum,
                          const float* d_out, const HeadShape& shape, float* dq, float* dk, float* dv);

}  // namespace svq::convert
