// One safetensors file: whatever the bytes are, tensors inside the file, or an Error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "converter/base/error.h"
#include "converter/sources/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace svq::convert;
  try {
    for (const TensorView& tensor : parse_safetensors("fuzz.safetensors", std::as_bytes(std::span(data, size)))) {
      uint64_t rows = 1;
      for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
      std::vector<float> row(tensor.shape.empty() ? 1 : tensor.shape.back());
      dequantize(tensor, 0, std::min<uint64_t>(rows, 1), row.data());
      dequantize(tensor, rows - 1, rows, row.data());
    }
  } catch (const Error&) {
  }
  return 0;
}
