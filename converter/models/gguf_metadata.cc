#include "converter/models/gguf_metadata.h"

#include <limits>
#include <utility>

#include "converter/base/error.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

int64_t id_or_none(const GgufFile& file, const char* key) {
  const auto id = file.get_uint(key);
  if (!id) return -1;
  if (*id > std::numeric_limits<uint32_t>::max()) {
    throw Error(file.label() + ": metadata key " + in_quotes(key) + " is " + std::to_string(*id) +
                ", expected a token id");
  }
  return static_cast<int64_t>(*id);
}

float float_or_none(const GgufFile& file, const char* key) {
  const auto value = file.get_float(key);
  if (value && *value < 0) throw Error(file.label() + ": metadata key " + in_quotes(key) + " is negative");
  return value ? static_cast<float>(*value) : -1.0f;
}

}  // namespace

bool read_tokenizer_keys(const GgufFile& file, GgufTokenizer& keys) {
  keys.model = file.get_string("tokenizer.ggml.model").value_or("");
  if (keys.model.empty() || keys.model == "none" || keys.model == "no_vocab") return false;
  keys.pre = file.get_string("tokenizer.ggml.pre").value_or("");
  if (auto tokens = file.get_strings("tokenizer.ggml.tokens")) keys.tokens = std::move(*tokens);
  if (auto scores = file.get_floats("tokenizer.ggml.scores")) keys.scores = std::move(*scores);
  if (auto merges = file.get_strings("tokenizer.ggml.merges")) keys.merges = std::move(*merges);
  if (const auto types = file.get_ints("tokenizer.ggml.token_type")) {
    keys.types.reserve(types->size());
    for (int64_t type : *types) {
      if (type < 0 || type > std::numeric_limits<int32_t>::max()) {
        throw Error(file.label() + ": metadata key \"tokenizer.ggml.token_type\" holds " + std::to_string(type));
      }
      keys.types.push_back(static_cast<int32_t>(type));
    }
  }
  keys.bos = id_or_none(file, "tokenizer.ggml.bos_token_id");
  keys.eos = id_or_none(file, "tokenizer.ggml.eos_token_id");
  keys.eot = id_or_none(file, "tokenizer.ggml.eot_token_id");
  keys.eom = id_or_none(file, "tokenizer.ggml.eom_token_id");
  keys.pad = id_or_none(file, "tokenizer.ggml.padding_token_id");
  keys.unk = id_or_none(file, "tokenizer.ggml.unknown_token_id");
  keys.add_bos = file.get_bool("tokenizer.ggml.add_bos_token");
  keys.add_eos = file.get_bool("tokenizer.ggml.add_eos_token");
  keys.add_space_prefix = file.get_bool("tokenizer.ggml.add_space_prefix");
  keys.chat_template = file.get_string("tokenizer.chat_template").value_or("");
  return true;
}

fb::GenerationT read_sampling_keys(const GgufFile& file) {
  fb::GenerationT generation;
  generation.temperature = float_or_none(file, "general.sampling.temp");
  generation.top_p = float_or_none(file, "general.sampling.top_p");
  generation.min_p = float_or_none(file, "general.sampling.min_p");
  generation.repetition_penalty = float_or_none(file, "general.sampling.penalty_repeat");
  if (const auto top_k = file.get_uint("general.sampling.top_k")) {
    if (*top_k > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      throw Error(file.label() + ": metadata key \"general.sampling.top_k\" is " + std::to_string(*top_k));
    }
    generation.top_k = static_cast<int32_t>(*top_k);
  }
  return generation;
}

}  // namespace svq::convert
