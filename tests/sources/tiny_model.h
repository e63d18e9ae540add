// A random model of a few thousand weights, to be written as GGUF (tiny_gguf.h) or as a Hugging Face directory
// (tiny_hf.h). Every weight is a small multiple of a power of two, so that F32, F16 and BF16 hold it exactly.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "converter/models/model.h"

namespace svq::test {

struct TinyShape {
  std::string family = "llama";  // llama, mistral, qwen2, qwen3
  uint32_t hidden = 64, intermediate = 128, layers = 2, heads = 4, kv_heads = 2, head_dim = 16;
  uint32_t context = 256;
  bool tied = true;
  double theta = 10000;
  uint64_t seed = 1;
};

struct TinyTensor {
  convert::Slot slot;
  int layer;
  std::string gguf, hf;
  uint64_t rows, columns;     // rows 0: a vector
  std::vector<float> values;  // [rows, columns], q and k in the half-split order
};

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // Sum of twelve uniforms less six: mean 0, variance 1, within ±6; the same on every machine.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  uint64_t state_;
};

// Byte-level BPE: the 256 bytes in GPT-2's alphabet, a few merges, three control tokens.
struct TinyVocab {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;  // "left right"
  uint32_t end_of_text = 0, im_start = 0, im_end = 0;
};

// GPT-2's printable stand-in for a byte, UTF-8.
inline std::string byte_letter(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !printable(b);
  }
  std::string text;
  if (code < 0x80) return text += static_cast<char>(code);
  text += static_cast<char>(0xC0 | (code >> 6));
  return text += static_cast<char>(0x80 | (code & 63));
}

inline TinyVocab tiny_vocab() {
  TinyVocab vocab;
  for (int byte = 0; byte < 256; ++byte) vocab.tokens.push_back(byte_letter(byte));
  const std::string space = byte_letter(' ');
  const std::pair<std::string, std::string> merges[] = {
      {space, "t"}, {"h", "e"},   {space, "a"}, {"i", "n"}, {"r", "e"}, {space + "t", "he"}, {"o", "n"},
      {"e", "r"},   {space, "s"}, {"in", "g"},  {"a", "t"}, {"o", "r"}, {space, "o"},
  };
  for (const auto& [left, right] : merges) {
    vocab.tokens.push_back(left + right);
    vocab.merges.push_back(left + " " + right);
  }
  vocab.end_of_text = static_cast<uint32_t>(vocab.tokens.size());
  for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) vocab.tokens.emplace_back(special);
  vocab.im_start = vocab.end_of_text + 1;
  vocab.im_end = vocab.end_of_text + 2;
  return vocab;  // 272 tokens
}

inline const char* const kTinyChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

inline std::vector<TinyTensor> tiny_tensors(const TinyShape& s) {
  using convert::Slot;
  const uint64_t vocab = tiny_vocab().tokens.size(), q = uint64_t{s.heads} * s.head_dim,
                 kv = uint64_t{s.kv_heads} * s.head_dim;
  std::vector<TinyTensor> tensors;
  const auto add = [&](Slot slot, int layer, const std::string& gguf, const std::string& hf, uint64_t rows,
                       uint64_t columns) {
    TinyTensor tensor{slot, layer, gguf, hf, rows, columns, std::vector<float>(std::max<uint64_t>(rows, 1) * columns)};
    // Its own stream for each tensor: leaving one out changes no other.
    Random random(s.seed * 1000003 + static_cast<uint64_t>(layer + 1) * 64 + static_cast<uint64_t>(slot));
    const bool norm = hf.find("norm") != std::string::npos;
    const double spread = norm ? 0.1 : rows ? 1.0 / std::sqrt(static_cast<double>(columns)) : 0.05;
    for (float& value : tensor.values) {
      // At most 8 significant bits: what bfloat16 holds.
      const double raw = (norm ? 1.0 : 0.0) + spread * random.normal();
      value = static_cast<float>(std::clamp(std::round(raw * 128), -255.0, 255.0) / 128);
    }
    tensors.push_back(std::move(tensor));
  };
  add(Slot::kEmbedding, -1, "token_embd.weight", "model.embed_tokens.weight", vocab, s.hidden);
  for (int i = 0; i < static_cast<int>(s.layers); ++i) {
    const std::string g = "blk." + std::to_string(i) + ".", h = "model.layers." + std::to_string(i) + ".";
    add(Slot::kAttnNorm, i, g + "attn_norm.weight", h + "input_layernorm.weight", 0, s.hidden);
    add(Slot::kQ, i, g + "attn_q.weight", h + "self_attn.q_proj.weight", q, s.hidden);
    add(Slot::kK, i, g + "attn_k.weight", h + "self_attn.k_proj.weight", kv, s.hidden);
    add(Slot::kV, i, g + "attn_v.weight", h + "self_attn.v_proj.weight", kv, s.hidden);
    add(Slot::kO, i, g + "attn_output.weight", h + "self_attn.o_proj.weight", s.hidden, q);
    if (s.family == "qwen2") {
      add(Slot::kQBias, i, g + "attn_q.bias", h + "self_attn.q_proj.bias", 0, q);
      add(Slot::kKBias, i, g + "attn_k.bias", h + "self_attn.k_proj.bias", 0, kv);
      add(Slot::kVBias, i, g + "attn_v.bias", h + "self_attn.v_proj.bias", 0, kv);
    }
    if (s.family == "qwen3") {
      add(Slot::kQNorm, i, g + "attn_q_norm.weight", h + "self_attn.q_norm.weight", 0, s.head_dim);
      add(Slot::kKNorm, i, g + "attn_k_norm.weight", h + "self_attn.k_norm.weight", 0, s.head_dim);
    }
    add(Slot::kFfnNorm, i, g + "ffn_norm.weight", h + "post_attention_layernorm.weight", 0, s.hidden);
    add(Slot::kGate, i, g + "ffn_gate.weight", h + "mlp.gate_proj.weight", s.intermediate, s.hidden);
    add(Slot::kUp, i, g + "ffn_up.weight", h + "mlp.up_proj.weight", s.intermediate, s.hidden);
    add(Slot::kDown, i, g + "ffn_down.weight", h + "mlp.down_proj.weight", s.hidden, s.intermediate);
  }
  add(Slot::kFinalNorm, -1, "output_norm.weight", "model.norm.weight", 0, s.hidden);
  if (!s.tied) add(Slot::kHead, -1, "output.weight", "lm_head.weight", vocab, s.hidden);
  return tensors;
}

// Exact for values that binary16 holds as normal numbers or zero, which those above are.
inline uint16_t exact_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  if ((bits & 0x7FFFFFFFu) == 0) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | (((bits & 0x7FFFFFFFu) >> 13) - (112u << 10)));
}

enum class TinyType { kF32, kF16, kBF16 };
inline size_t tiny_type_size(TinyType type) { return type == TinyType::kF32 ? 4 : 2; }

inline std::string encode_values(const std::vector<float>& values, TinyType type) {
  std::string bytes;
  bytes.reserve(values.size() * tiny_type_size(type));
  for (float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t word = type == TinyType::kF32 ? bits : type == TinyType::kF16 ? exact_half(value) : bits >> 16;
    bytes.append(reinterpret_cast<const char*>(&word), tiny_type_size(type));  // little-endian
  }
  return bytes;
}

}  // namespace svq::test
