// One group of linears, quantized or in half precision, to its part file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>

#include "converter/job/plan.h"
#include "converter/quantize/quantize.h"

namespace svq::convert {

QuantizeOptions quantize_options(const Options& options);

// Quantizes the packed linears of `group`, and writes them, its half-precision linears, biases and norms to `path`.
// hessian: [K, K] f32 of the group's input, or undefined where the plan needs none. Returns the metadata written.
// Throws Error naming the tensor if a value exceeds what 16 bits hold.
fb::PartT write_group(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                      const at::Tensor& hessian, const std::filesystem::path& path,
                      const std::function<void(double)>& progress);

}  // namespace svq::convert
