// One group of linears, quantized or in half precision, to its part file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "converter/job/plan.h"
#include "converter/quantize/quantize.h"

namespace svq::convert {

class Correction;  // prefix.h

QuantizeOptions quantize_options(const Options& options);

// Quantizes the packed linears of `group`, and writes them, its half-precision linears, biases and norms to `path`.
// hessian: [K, K] f32 of the group's input, or undefined where the plan needs none. correction: of the weights,
// or null. output_hessian(linear): LinearJob's; may be empty.
// Returns the metadata written. Throws Error naming
// the tensor if a value exceeds what 16 bits hold.
fb::PartT write_group(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                      at::Tensor hessian, std::unique_ptr<Correction> correction,
                      const std::function<at::Tensor(const PlannedLinear&)>& output_hessian,
                      const std::filesystem::path& path, const std::function<void(double)>& progress);

// f32 → f16. Throws Error naming `name`, the tensor as the user knows it, if a value is beyond its range.
at::Tensor to_half(const at::Tensor& values, const std::string& name);

// What a part holds, as tensors.
struct GroupContent {
  QuantizedGroup quantized;  // the packed linears
  std::map<std::string, at::Tensor>
      floats;  // norms and biases by tensor name; write_part reads absent ones from the source
  at::Tensor float_tensor(const std::string& name) const {  // undefined if there is none
    const auto found = floats.find(name);
    return found == floats.end() ? at::Tensor() : found->second;
  }
};

fb::PartT write_part(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                     const GroupContent& content, double seconds, const std::filesystem::path& path);

// Throws Error if the file cannot be read. `part` is its metadata (read_part), which has verified it.
GroupContent read_content(const fb::PartT& part, const std::filesystem::path& path);

}  // namespace svq::convert
