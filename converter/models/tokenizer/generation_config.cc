#include <cstdint>

#include "converter/models/tokenizer/hf_tokenizer.h"
#include "converter/models/tokenizer/json_file.h"

namespace svq::convert {

fb::GenerationT read_generation_config(const std::filesystem::path& dir) {
  const JsonFile file(dir / "generation_config.json", 1 << 20);
  fb::GenerationT g;
  // A value outside its range would only be refused by the sampler later on.
  const auto real = [&](const char* key, double low, double high, float& out) {
    const auto v = file.number(key);
    if (!v) return;
    if (*v < low || *v > high) file.fail(std::string(key) + ": " + std::to_string(*v) + " is out of range");
    out = static_cast<float>(*v);
  };
  const auto whole = [&](const char* key, int32_t& out) {
    const auto v = file.integer(key);
    if (!v) return;
    if (*v < -1 || *v > INT32_MAX) file.fail(std::string(key) + ": " + std::to_string(*v) + " is out of range");
    out = static_cast<int32_t>(*v);
  };
  real("temperature", 0, 100, g.temperature);
  real("top_p", 0, 1, g.top_p);
  real("min_p", 0, 1, g.min_p);
  real("repetition_penalty", 0, 100, g.repetition_penalty);
  whole("top_k", g.top_k);
  whole("max_new_tokens", g.max_tokens);
  return g;
}

}  // namespace svq::convert
