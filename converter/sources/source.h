// A source of weights: a GGUF file or a directory of safetensors, mapped and read lazily. No libtorch here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace svq::convert {

enum class WeightType {
  kF32,
  kF16,
  kBF16,
  kF64,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kU8,      // bytes, numbers 0 … 255
  kCrumbs,  // four codes 0 … 3 a byte, the first in the top bits
};
const char* weight_type_name(WeightType type);  // "Q4_1"
// Elements of a block and its bytes; a row is a whole number of blocks.
struct BlockSize {
  uint32_t elements, bytes;
};
BlockSize block_size(WeightType type);

struct TensorView {
  std::string name;
  std::vector<uint64_t> shape;  // row-major, as in PyTorch: [rows, columns] (GGUF lists the reverse)
  WeightType type;
  const std::byte* data;  // in the mapping; bounds already checked
  uint64_t bytes;
};

class Source {
 public:
  virtual ~Source() = default;
  virtual const std::string& format() const = 0;  // "GGUF v3", "safetensors"
  virtual const std::vector<TensorView>& tensors() const = 0;
  const TensorView* find(std::string_view name) const;  // null if absent
  // XXH3-128, hex, of everything that the conversion depends on (tensors' bytes, metadata files). Reads it all once.
  virtual std::string hash() const = 0;
  // Bytes of tensors that have been read and will not be for a while: mapped pages leave this process's memory.
  virtual void release(std::span<const std::byte>) const {}
};

// Rows [row_begin, row_end) of a tensor (a vector counts as one row) as f32, row-major. No check for NaN.
void dequantize(const TensorView& tensor, uint64_t row_begin, uint64_t row_end, float* out);

}  // namespace svq::convert
