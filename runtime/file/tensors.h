// Every linear and tensor of a model with its path in the metadata ("blocks.3.q.weight"): used by the checks, the
// checksums and the listings alike, so that none of them forgets one.
#pragma once
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "svq_generated.h"

namespace svq::rt {

using LinearVisitor = std::function<void(const std::string& path, const fb::Linear&)>;
using TensorVisitor = std::function<void(const std::string& path, const fb::Tensor&)>;

// "embedding", "blocks.0.q", … "blocks.0.down", …, "head".
void for_each_linear(const fb::Model& model, const LinearVisitor& visit);
void for_each_tensor(const fb::Model& model, const TensorVisitor& visit);

// Length of a vector that may be absent.
template <class T>
uint32_t length(const flatbuffers::Vector<T>* vector) {
  return vector == nullptr ? 0 : vector->size();
}

// Dimension i of a tensor. By memcpy: the verifier aligns a vector's length, not its 64-bit elements.
inline uint64_t dimension(const fb::Tensor& tensor, uint32_t i) {
  uint64_t value;
  std::memcpy(&value, tensor.shape()->Data() + i * sizeof value, sizeof value);
  return flatbuffers::EndianScalar(value);
}

}  // namespace svq::rt
