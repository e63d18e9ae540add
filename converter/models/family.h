// What tells one family of models from another: the names of its tensors and a few rules. One file per family defines
// one of these; family.cc lists them all.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "converter/models/model.h"

namespace svq::convert {

struct TensorName {
  Slot slot;
  const char* gguf;  // '#' stands for the layer's number
  const char* hf;
  bool required = true;  // false: in every layer or in none
};

// How config.json says which layers attend through a window.
enum class WindowRule {
  kNone,      // full attention whatever the file says
  kAlways,    // "sliding_window", null for full attention
  kSwitched,  // "sliding_window" where "use_sliding_window" is true, from layer "max_window_layers" on
};

struct Family {
  const char* name;
  const char* gguf_architecture;        // general.architecture; null: none of its own
  const char* hf_class;                 // in config.json's "architectures"
  std::vector<TensorName> own_tensors;  // beside common_tensors()
  bool interleaved_in_gguf = false;     // GGUF keeps the two halves of q's and k's heads interleaved
  WindowRule window = WindowRule::kNone;
  // Defaults of the family's configuration class for keys that config.json may leave out; 0: the key is required
  // (kv heads), or computed (head_dim = hidden / heads).
  uint32_t default_kv_heads = 0;
  bool kv_heads_default_to_heads = false;
  uint32_t default_head_dim = 0;
  uint32_t default_window = 0;
};

std::span<const TensorName> common_tensors();  // of every family
std::span<const Family* const> families();

extern const Family kLlama, kMistral, kQwen2, kQwen3;

// "llama, qwen2, qwen3" and "LlamaForCausalLM, …"
std::string supported_gguf_architectures();
std::string supported_hf_classes();

// The slot that `name` stands for: layer -1 outside the blocks.
struct Place {
  Slot slot;
  int layer;
};
enum class Naming { kGguf, kHf };
// Throws Error naming the tensor, with the list of those supported, when the family has none of that name. Returns
// false for tensors that carry nothing (buffers of rotary frequencies that older tools wrote).
bool place_tensor(const Family& family, Naming naming, const std::string& label, std::string_view name, Place& place);
std::string tensor_name(const Family& family, Naming naming, Slot slot, int layer);

}  // namespace svq::convert
