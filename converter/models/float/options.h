// How the float forward pass runs.
#pragma once
#include <c10/core/Device.h>

#include <algorithm>
#include <cstdint>

namespace svq::convert {

struct ForwardOptions {
  c10::Device device = c10::kCPU;
  // Weights and inputs of the linears in bfloat16 (products summed in float32, results rounded to bfloat16). The
  // residual stream, norms, attention and what the hooks receive stay float32.
  bool bf16_linears = false;
  // Tokens whose intermediate activations exist at a time.
  int64_t tokens_per_pass = 2048;
  int64_t sequences_per_pass(int64_t length) const {
    return std::max<int64_t>(1, tokens_per_pass / std::max<int64_t>(1, length));
  }
};

}  // namespace svq::convert
