// Models of random weights in memory: a shape's speed without its file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/file/model_file.h"

namespace svq::rt {

const char* shape_name(size_t index);  // null past the last

// The metadata that a converter would write for this shape, random codes, scales that keep activations near unit
// variance, no tokenizer. bits: of the blocks' linears; embedding and head take 4, or 16 with 16. Throws Error
// (INVALID_ARGUMENT) for an unknown shape or width.
ModelFile create_random_model(const std::string& shape, uint32_t bits, uint64_t seed);

}  // namespace svq::rt
