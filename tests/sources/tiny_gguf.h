// Writes GGUF files in memory: any content by GgufWriter, a whole random model by tiny_gguf().
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/sources/tiny_model.h"

namespace svq::test {

template <typename T>
void append_number(std::string& to, T value) {
  static_assert(std::is_arithmetic_v<T>);
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void append_string(std::string& to, std::string_view text) {
  append_number<uint64_t>(to, text.size());
  to.append(text);
}

// Fields may be set to anything, sane or not; build() does not check.
class GgufWriter {
 public:
  struct Key {
    std::string name;
    uint32_t type;        // GGUF's number
    std::string payload;  // as in the file
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // GGUF's order: columns first
    uint32_t type;               // ggml's number
    std::string data;
    int64_t offset = -1;  // -1: behind the previous tensor, aligned
  };
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<Key> keys;
  std::vector<Tensor> tensors;
  int64_t claimed_keys = -1, claimed_tensors = -1;  // -1: as many as there are

  void add_uint(const std::string& name, uint32_t value) { add(name, 4, value); }
  void add_float(const std::string& name, float value) { add(name, 6, value); }
  void add_bool(const std::string& name, bool value) { add<uint8_t>(name, 7, value); }
  void add_string(const std::string& name, std::string_view value) {
    std::string payload;
    append_string(payload, value);
    keys.push_back({name, 8, payload});
  }
  void add_strings(const std::string& name, const std::vector<std::string>& values) {
    std::string payload = array_head(8, values.size());
    for (const auto& value : values) append_string(payload, value);
    keys.push_back({name, 9, payload});
  }
  template <typename T>
  void add_array(const std::string& name, uint32_t element_type, const std::vector<T>& values) {
    std::string payload = array_head(element_type, values.size());
    for (T value : values) append_number(payload, value);
    keys.push_back({name, 9, payload});
  }
  template <typename T>
  void add(const std::string& name, uint32_t type, T value) {
    std::string payload;
    append_number(payload, value);
    keys.push_back({name, type, payload});
  }
  static std::string array_head(uint32_t element_type, uint64_t count) {
    std::string payload;
    append_number(payload, element_type);
    append_number(payload, count);
    return payload;
  }

  Key* key(std::string_view name) {
    for (Key& k : keys) {
      if (k.name == name) return &k;
    }
    return nullptr;
  }
  void remove_key(std::string_view name) {
    std::erase_if(keys, [&](const Key& k) { return k.name == name; });
  }
  Tensor* tensor(std::string_view name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return &t;
    }
    return nullptr;
  }
  void remove_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
  }

  // Size of everything before the data section, before alignment: where the structure is.
  size_t head_size() const { return head().size(); }

  std::string build() const {
    std::string file = head();
    const auto pad = [&](std::string& bytes) { bytes.resize((bytes.size() + alignment - 1) / alignment * alignment); };
    pad(file);
    const size_t data_begin = file.size();
    for (const Tensor& tensor : tensors) {
      if (tensor.offset >= 0) {
        file.resize(std::max(file.size(), data_begin + static_cast<size_t>(std::min<int64_t>(tensor.offset, 1 << 20))));
      }
      file += tensor.data;
      pad(file);
    }
    return file;
  }

 private:
  std::string head() const {
    std::string file = "GGUF";
    append_number(file, version);
    append_number<uint64_t>(file, claimed_tensors < 0 ? tensors.size() : static_cast<uint64_t>(claimed_tensors));
    append_number<uint64_t>(file, claimed_keys < 0 ? keys.size() : static_cast<uint64_t>(claimed_keys));
    for (const Key& k : keys) {
      append_string(file, k.name);
      append_number(file, k.type);
      file += k.payload;
    }
    uint64_t offset = 0;
    for (const Tensor& tensor : tensors) {
      append_string(file, tensor.name);
      append_number(file, static_cast<uint32_t>(tensor.dims.size()));
      for (uint64_t dim : tensor.dims) append_number(file, dim);
      append_number(file, tensor.type);
      append_number<uint64_t>(file, tensor.offset < 0 ? offset : static_cast<uint64_t>(tensor.offset));
      offset += (tensor.data.size() + alignment - 1) / alignment * alignment;
    }
    return file;
  }
};

inline uint32_t gguf_type_number(TinyType type) { return type == TinyType::kF32 ? 0 : type == TinyType::kF16 ? 1 : 30; }

// q or k rows [heads, 2, head_dim / 2] as GGUF's "llama" keeps them: [heads, head_dim / 2, 2].
inline std::vector<float> interleave_halves(const std::vector<float>& values, uint64_t head_dim, uint64_t columns) {
  std::vector<float> result(values.size());
  const uint64_t heads = values.size() / columns / head_dim, half = head_dim / 2;
  for (uint64_t h = 0; h < heads; ++h) {
    for (uint64_t side = 0; side < 2; ++side) {
      for (uint64_t j = 0; j < half; ++j) {
        const float* from = values.data() + (h * head_dim + side * half + j) * columns;
        std::copy(from, from + columns,
                  result.begin() + static_cast<std::ptrdiff_t>((h * head_dim + 2 * j + side) * columns));
      }
    }
  }
  return result;
}

// Matrices in `type`, vectors in F32, as llama.cpp's converter does. Families: llama, qwen2, qwen3 (mistral is
// "llama").
inline GgufWriter tiny_gguf(const TinyShape& shape, TinyType type = TinyType::kF16) {
  GgufWriter writer;
  const std::string arch = shape.family == "mistral" ? "llama" : shape.family;
  writer.add_string("general.architecture", arch);
  writer.add_string("general.name", "Tiny " + shape.family);
  writer.add_uint(arch + ".block_count", shape.layers);
  writer.add_uint(arch + ".context_length", shape.context);
  writer.add_uint(arch + ".embedding_length", shape.hidden);
  writer.add_uint(arch + ".feed_forward_length", shape.intermediate);
  writer.add_uint(arch + ".attention.head_count", shape.heads);
  writer.add_uint(arch + ".attention.head_count_kv", shape.kv_heads);
  if (shape.head_dim * shape.heads != shape.hidden || shape.family == "qwen3") {
    writer.add_uint(arch + ".attention.key_length", shape.head_dim);
    writer.add_uint(arch + ".attention.value_length", shape.head_dim);
  }
  writer.add_float(arch + ".rope.freq_base", static_cast<float>(shape.theta));
  writer.add_float(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);

  const TinyVocab vocab = tiny_vocab();
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", "gpt-2");
  writer.add_strings("tokenizer.ggml.tokens", vocab.tokens);
  std::vector<int32_t> types(vocab.tokens.size(), 1);
  for (uint32_t id : {vocab.end_of_text, vocab.im_start, vocab.im_end}) types[id] = 3;
  writer.add_array("tokenizer.ggml.token_type", 5, types);
  writer.add_strings("tokenizer.ggml.merges", vocab.merges);
  writer.add_uint("tokenizer.ggml.bos_token_id", vocab.im_start);
  writer.add_uint("tokenizer.ggml.eos_token_id", vocab.im_end);
  writer.add_bool("tokenizer.ggml.add_bos_token", false);
  writer.add_string("tokenizer.chat_template", kTinyChatTemplate);

  using convert::Slot;
  for (const TinyTensor& tensor : tiny_tensors(shape)) {
    const bool permuted = arch == "llama" && (tensor.slot == Slot::kQ || tensor.slot == Slot::kK);
    const auto values = permuted ? interleave_halves(tensor.values, shape.head_dim, tensor.columns) : tensor.values;
    const TinyType stored = tensor.rows ? type : TinyType::kF32;
    std::vector<uint64_t> dims{tensor.columns};
    if (tensor.rows) dims.push_back(tensor.rows);
    writer.tensors.push_back({tensor.gguf, dims, gguf_type_number(stored), encode_values(values, stored)});
  }
  return writer;
}

inline void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace svq::test
