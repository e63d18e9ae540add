// Qwen3 (dense): RMSNorm on the heads of q and k, a head size of its own, biases only where "attention_bias" is set.
#include "converter/models/family.h"

namespace svq::convert {

const Family kQwen3 = {
    .name = "qwen3",
    .gguf_architecture = "qwen3",
    .hf_class = "Qwen3ForCausalLM",
    .own_tensors =
        {
            {Slot::kQNorm, "blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_norm.weight"},
            {Slot::kKNorm, "blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_norm.weight"},
            {Slot::kQBias, "blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", false},
            {Slot::kKBias, "blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", false},
            {Slot::kVBias, "blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias", false},
            {Slot::kOBias, "blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias", false},
        },
    .window = WindowRule::kSwitched,
    .default_kv_heads = 32,
    .default_head_dim = 128,
    .default_window = 4096,
};

}  // namespace svq::convert
