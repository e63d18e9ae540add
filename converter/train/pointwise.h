// Differentiable functions of single rows and values, and the loss, each in one pass. f32 on the CPU.
#pragma once
#include <ATen/ATen.h>

namespace svq::convert {

// x / sqrt(mean(x²) + eps) ⊙ weight over the last dimension; weight may be undefined.
at::Tensor normalise(const at::Tensor& x, const at::Tensor& weight, double eps);

// silu(gate) ⊙ up, of the same shape.
at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up);

// Sum over rows of KL(softmax(wanted) ‖ softmax(logits)), nats. wanted [n, vocab] f32 or bf16; logits [n, vocab] f32
// becomes the sum's gradient times `weight`.
double kl_gradient(const at::Tensor& wanted, at::Tensor& logits, double weight);

}  // namespace svq::convert
