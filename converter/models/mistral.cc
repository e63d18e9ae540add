// Mistral 7B and its descendants: Llama with a sliding window (version 0.1) or without. GGUF files carry them as
// "llama".
#include "converter/models/family.h"

namespace svq::convert {

const Family kMistral = {
    .name = "mistral",
    .gguf_architecture = nullptr,
    .hf_class = "MistralForCausalLM",
    .own_tensors = {},
    .window = WindowRule::kAlways,
    .default_kv_heads = 8,
    .default_window = 4096,
};

}  // namespace svq::convert
