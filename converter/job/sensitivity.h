// What every linear costs the model if it alone is quantized: the losses that a budget of bits is spent by.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "converter/job/allocate.h"
#include "converter/job/float_pass.h"

namespace svq::convert {

// Fills the loss of every level: KL(float model ‖ the same with this one linear quantized), nats a token. Of the
// blocks' linears it is measured at the least width, by the quantizer's own result for their Hessians (without
// coordinate descent), and follows for the others from how its error shrinks with the width; embedding and head are
// measured at each. tokens [S, T] i64: all of them make the Hessians, the beginnings of the first two sequences are
// measured on. Every block is loaded once; hidden states of all variants measured go through it together.
// progress(fraction) may throw.
void measure_losses(const Model& model, const Options& options, const Plan& plan, const FloatPass& pass,
                    const at::Tensor& tokens, std::vector<Choice>& choices,
                    const std::function<void(double)>& progress);

// Error of `bits` wide codes relative to that of 2 bits, weighted by the Hessian: of SmolLM2-135M's linears, geometric
// means of 0.0303 and 0.0084 (3 bits) with feedback alone, 0.0214 and 0.0025 (4 bits) as converted. 8 bits: a step 64
// times finer.
double relative_error_of_width(int bits);

}  // namespace svq::convert
