// Writes a random model as a Hugging Face directory: config.json, one or several safetensors, tokenizer.json and its
// company.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/sources/tiny_gguf.h"
#include "tests/sources/tiny_model.h"

namespace svq::test {

inline nlohmann::json tiny_config(const TinyShape& shape) {
  static const std::map<std::string, std::pair<std::string, bool>> classes = {
      {"llama", {"LlamaForCausalLM", false}},
      {"mistral", {"MistralForCausalLM", false}},
      {"qwen2", {"Qwen2ForCausalLM", true}},
      {"qwen3", {"Qwen3ForCausalLM", true}}};
  nlohmann::json config = {
      {"architectures", {classes.at(shape.family).first}},
      {"model_type", shape.family},
      {"hidden_size", shape.hidden},
      {"intermediate_size", shape.intermediate},
      {"num_hidden_layers", shape.layers},
      {"num_attention_heads", shape.heads},
      {"num_key_value_heads", shape.kv_heads},
      {"head_dim", shape.head_dim},
      {"max_position_embeddings", shape.context},
      {"vocab_size", tiny_vocab().tokens.size()},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", shape.theta},
      {"hidden_act", "silu"},
      {"tie_word_embeddings", shape.tied},
  };
  if (classes.at(shape.family).second) config["use_sliding_window"] = false;
  if (shape.family == "mistral") config["sliding_window"] = nullptr;
  return config;
}

inline nlohmann::json tiny_tokenizer_json() {
  const TinyVocab vocab = tiny_vocab();
  nlohmann::json added = nlohmann::json::array(), table = nlohmann::json::object();
  for (uint32_t id = 0; id < vocab.tokens.size(); ++id) {
    table[vocab.tokens[id]] = id;
    if (id < vocab.end_of_text) continue;
    added.push_back({{"id", id},
                     {"content", vocab.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", table}, {"merges", vocab.merges}}}};
}

// One safetensors file: header as given (a string, so that tests may break it), then the data.
inline std::string safetensors_file(const std::string& header, const std::string& data) {
  std::string file;
  append_number<uint64_t>(file, header.size());
  return file + header + data;
}

struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  std::string data;
};
inline std::string safetensors_file(const std::vector<SafetensorsEntry>& entries) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& entry : entries) {
    header[entry.name] = {{"dtype", entry.dtype},
                          {"shape", entry.shape},
                          {"data_offsets", {data.size(), data.size() + entry.data.size()}}};
    data += entry.data;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return safetensors_file(text, data);
}

inline std::vector<SafetensorsEntry> tiny_entries(const TinyShape& shape, TinyType type = TinyType::kBF16) {
  static const char* const kNames[] = {"F32", "F16", "BF16"};
  std::vector<SafetensorsEntry> entries;
  for (const TinyTensor& tensor : tiny_tensors(shape)) {
    std::vector<uint64_t> dims{tensor.columns};
    if (tensor.rows) dims.insert(dims.begin(), tensor.rows);
    entries.push_back({tensor.hf, kNames[static_cast<int>(type)], dims, encode_values(tensor.values, type)});
  }
  return entries;
}

// Creates `directory`. shards 1: model.safetensors; otherwise several and model.safetensors.index.json.
inline void write_tiny_hf(const std::filesystem::path& directory, const TinyShape& shape,
                          TinyType type = TinyType::kBF16, int shards = 1) {
  std::filesystem::create_directories(directory);
  const auto put = [&](const char* name, const nlohmann::json& json) { write_file(directory / name, json.dump(1)); };
  put("config.json", tiny_config(shape));
  put("tokenizer.json", tiny_tokenizer_json());
  put("tokenizer_config.json", {{"bos_token", "<|im_start|>"},
                                {"eos_token", "<|im_end|>"},
                                {"add_bos_token", false},
                                {"chat_template", kTinyChatTemplate}});
  put("generation_config.json", {{"temperature", 0.7}, {"top_p", 0.8}, {"top_k", 20}});
  const auto entries = tiny_entries(shape, type);
  if (shards == 1) return write_file(directory / "model.safetensors", safetensors_file(entries));
  nlohmann::json map = nlohmann::json::object();
  for (int shard = 0; shard < shards; ++shard) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard + 1, shards);
    std::vector<SafetensorsEntry> part;
    for (size_t i = static_cast<size_t>(shard); i < entries.size(); i += static_cast<size_t>(shards)) {
      part.push_back(entries[i]);
      map[entries[i].name] = name;
    }
    write_file(directory / name, safetensors_file(part));
  }
  put("model.safetensors.index.json", {{"metadata", nlohmann::json::object()}, {"weight_map", map}});
}

}  // namespace svq::test
