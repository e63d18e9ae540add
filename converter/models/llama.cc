// Llama 2 and 3, SmolLM and SmolLM2; as GGUF also Mistral. Biases of the attention's projections are optional
// ("attention_bias").
#include "converter/models/family.h"

namespace svq::convert {

const Family kLlama = {
    .name = "llama",
    .gguf_architecture = "llama",
    .hf_class = "LlamaForCausalLM",
    .own_tensors =
        {
            {Slot::kQBias, "blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", false},
            {Slot::kKBias, "blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", false},
            {Slot::kVBias, "blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias", false},
            {Slot::kOBias, "blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias", false},
        },
    .interleaved_in_gguf = true,
    .kv_heads_default_to_heads = true,
};

}  // namespace svq::convert
