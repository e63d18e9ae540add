// A contiguous tensor's memory, for files.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

namespace svq::convert {

inline std::span<std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<std::byte*>(contiguous.data_ptr()), contiguous.nbytes()};
}

}  // namespace svq::convert
