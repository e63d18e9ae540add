// Codes of a linear whose outputs do not count alike: minimises tr(Eᵀ H_out E H_in), E = W − Ŵ, the second-order change
// of a loss whose curvature over W is H_out ⊗ H_in (Kronecker factors: Martens & Grosse 2015; rounding under both:
// YAQA, Tseng et al. 2025). LDLQ over columns goes on as ever; what earlier rows left over is fed into later ones.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "converter/quantize/scales.h"

namespace svq::convert {

// errors: [N, K] f32, targets in code units on entry, w − c on return; codes: [N, K] u8; both contiguous. output:
// [N, N] f64 over rows in code units, damped in place. LDLQ on both sides, at most `passes` of coordinate descent, then
// the search, over rows and over columns in turn. name: of the linear, for errors.
void choose_codes_two_sided_(at::Tensor& errors, at::Tensor& codes, const CodeMetric& input, at::Tensor& output,
                             double output_damping, int bits, int passes, const SearchOptions& search,
                             const std::string& name);

}  // namespace svq::convert
