// Frequencies of the rotary embedding, with every kind of scaling that the families use.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1;            // context grown by this
  double original_context = 0;  // positions before scaling (llama3, yarn)
  // llama3
  double low_freq_factor = 1, high_freq_factor = 4;
  // yarn
  double beta_fast = 32, beta_slow = 1;   // rotations over the original context that bound the ramp
  double attention_factor = 0;            // 0: by the formula from factor and the two below
  double mscale = 0, mscale_all_dim = 0;  // 0: not given
  bool truncate = true;                   // the ramp's bounds are rounded outwards to whole pairs
};

// Sets rope_inv_freq [head_dim / 2], rope_attention_factor and rope_scaling.
//   none    f_i = theta^(-2i / head_dim)
//   linear  f_i / factor
//   llama3  wavelengths above original / low_freq_factor divided by factor, below original / high_freq_factor kept,
//   between
//           them interpolated (Llama 3.1's reference code)
//   yarn    ramp between f_i and f_i / factor over the pairs that turn beta_fast to beta_slow times in the original
//   context
//           (arXiv 2309.00071, equations 17 to 23); attention factor 0.1 ln(factor) + 1 unless given
// `divisors` (empty, or [head_dim / 2], all positive) divide the result: GGUF's rope_freqs.weight.
void set_rope(fb::ArchitectureT& architecture, double theta, const RopeScaling& scaling,
              const std::vector<float>& divisors);

}  // namespace svq::convert
