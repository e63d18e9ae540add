// GGUF: whatever the bytes are, a model whose every tensor can be read, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "converter/base/error.h"
#include "converter/models/open_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace svq::convert;
  try {
    const auto model =
        open_gguf(std::make_unique<GgufFile>("fuzz.gguf", std::as_bytes(std::span(data, size))), "fuzz.gguf");
    for (int layer = -1; layer < static_cast<int>(model->architecture().n_layers); ++layer) {
      for (int s = 0; s <= static_cast<int>(Slot::kDown); ++s) {
        const auto slot = static_cast<Slot>(s);
        if (!model->has(slot, layer)) continue;
        const Shape shape = model->shape(slot, layer);
        std::vector<float> values(shape.rows * shape.columns);
        model->read(slot, layer, values);
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
