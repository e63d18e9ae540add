// Every linear and tensor of a model with its path in the metadata ("blocks.3.q.weight"): used by the checks, the
// checksums and the listings alike, so that none of them forgets one.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "svq_generated.h"

namespace svq::rt {

using LinearVisitor = std::function<void(const std::string& path, const fb::Linear&)>;
using TensorVisitor = std::function<void(const std::string& path, const fb::Tensor&)>;

// "embedding", "blocks.0.q", … "blocks.0.down", …, "head".
void for_each_linear(const fb::Model& model, const LinearVisitor& visit);
void for_each_tensor(const fb::Model& model, const TensorVisitor& visit);

// Tables that a generated accessor may return null for elements of: vectors of optional length.
template <class T>
uint32_t length(const flatbuffers::Vector<T>* vector) {
  return vector == nullptr ? 0 : vector->size();
}

}  // namespace svq::rt
