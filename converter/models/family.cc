#include "converter/models/family.h"

#include <charconv>
#include <optional>

#include "converter/base/error.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

const TensorName kCommon[] = {
    {Slot::kEmbedding, "token_embd.weight", "model.embed_tokens.weight"},
    {Slot::kHead, "output.weight", "lm_head.weight", false},
    {Slot::kFinalNorm, "output_norm.weight", "model.norm.weight"},
    {Slot::kAttnNorm, "blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
    {Slot::kQ, "blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight"},
    {Slot::kK, "blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight"},
    {Slot::kV, "blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight"},
    {Slot::kO, "blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight"},
    {Slot::kFfnNorm, "blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {Slot::kGate, "blk.#.ffn_gate.weight", "model.layers.#.mlp.gate_proj.weight"},
    {Slot::kUp, "blk.#.ffn_up.weight", "model.layers.#.mlp.up_proj.weight"},
    {Slot::kDown, "blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight"},
};

// Buffers, not weights. rope_freqs.weight is read with the architecture (gguf_config.cc).
const char* const kIgnored[] = {"rope_freqs.weight", "blk.#.attn_rot_embd.weight",
                                "model.layers.#.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"};

const Family* const kFamilies[] = {&kLlama, &kMistral, &kQwen2, &kQwen3};

// The layer's number where `name` has the form of `pattern`; -1 for a pattern without one.
std::optional<int> match(std::string_view pattern, std::string_view name) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return pattern == name ? std::optional(-1) : std::nullopt;
  const std::string_view before = pattern.substr(0, hash), after = pattern.substr(hash + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after))
    return std::nullopt;
  const std::string_view digits = name.substr(before.size(), name.size() - before.size() - after.size());
  if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
  unsigned layer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  if (error != std::errc() || end != digits.data() + digits.size() || layer > 1'000'000) return std::nullopt;
  return static_cast<int>(layer);
}

const char* pattern_of(const TensorName& entry, Naming naming) {
  return naming == Naming::kGguf ? entry.gguf : entry.hf;
}

template <typename Visit>
void for_each_tensor(const Family& family, Visit visit) {
  for (const TensorName& entry : kCommon) visit(entry);
  for (const TensorName& entry : family.own_tensors) visit(entry);
}

}  // namespace

std::span<const TensorName> common_tensors() { return kCommon; }
std::span<const Family* const> families() { return kFamilies; }

std::string supported_gguf_architectures() {
  std::string list;
  for (const Family* family : kFamilies) {
    if (family->gguf_architecture) list += (list.empty() ? "" : ", ") + std::string(family->gguf_architecture);
  }
  return list;
}

std::string supported_hf_classes() {
  std::string list;
  for (const Family* family : kFamilies) list += (list.empty() ? "" : ", ") + std::string(family->hf_class);
  return list;
}

bool place_tensor(const Family& family, Naming naming, const std::string& label, std::string_view name, Place& place) {
  bool found = false;
  std::string supported;
  for_each_tensor(family, [&](const TensorName& entry) {
    if (const auto layer = match(pattern_of(entry, naming), name)) {
      place = {entry.slot, *layer};
      found = true;
    }
  });
  if (found) return true;
  for (const char* ignored : kIgnored) {
    if (match(ignored, name)) return false;
  }
  for_each_tensor(family, [&](const TensorName& entry) {
    supported += (supported.empty() ? "" : ", ") + std::string(pattern_of(entry, naming));
  });
  throw Error(label + ": tensor " + in_quotes(name) + " is not supported in a model of the family " + family.name +
              "; supported are (# = layer) " + supported);
}

std::string tensor_name(const Family& family, Naming naming, Slot slot, int layer) {
  std::string result;
  for_each_tensor(family, [&](const TensorName& entry) {
    if (entry.slot == slot) result = pattern_of(entry, naming);
  });
  if (const size_t hash = result.find('#'); hash != std::string::npos) result.replace(hash, 1, std::to_string(layer));
  return result;
}

}  // namespace svq::convert
