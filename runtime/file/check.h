// The checks between a structurally valid flatbuffer and a model that may be run: every number that the forward pass
// relies on. After check_model, dimensions agree with each other and every tensor lies in the data section with the
// type, shape and size that its use expects. Tensors' values are arbitrary. The tokenizer checks its own tables.
#pragma once
#include <cstdint>
#include <string>

#include "svq_generated.h"

namespace svq::rt {

// Upper limits of the dimensions. They leave an order of magnitude above the largest published models, and keep every
// product of two of them, and all sizes in bytes, within 64 bits.
struct ModelLimits {
  static constexpr uint32_t kWidth =
      1u << 16;  // hidden, intermediate, heads · head_dim: the kernels' int32 sums hold that far
  static constexpr uint32_t kLayers = 1024;
  static constexpr uint32_t kHeads = 4096;
  static constexpr uint32_t kHeadDim = 1024;
  static constexpr uint32_t kVocab = 1u << 24;
  static constexpr uint32_t kContext = 1u << 24;
  static constexpr uint32_t kMixFactor = 2048;  // a mixed rotation's DCT takes factor² floats
  static constexpr uint32_t kSideRank = 4096;
  static constexpr uint64_t kMixBytes = 64u << 20;  // of all distinct factors
};

// Throws Error (FORMAT or UNSUPPORTED): one sentence with file, field, what it is and what was expected.
void check_model(const fb::Model& model, uint64_t data_size, const std::string& file);

}  // namespace svq::rt
