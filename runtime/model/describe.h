// A model's metadata as JSON, for people and scripts.
#pragma once
#include <string>

#include "runtime/model/model.h"

namespace svq::rt {

// Keys are listed in runtime/README.md. with_tensors adds every linear and tensor.
std::string describe(const Model& model, bool with_tensors);

}  // namespace svq::rt
