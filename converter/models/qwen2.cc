// Qwen2 and Qwen2.5: biases on q, k and v.
#include "converter/models/family.h"

namespace svq::convert {

const Family kQwen2 = {
    .name = "qwen2",
    .gguf_architecture = "qwen2",
    .hf_class = "Qwen2ForCausalLM",
    .own_tensors =
        {
            {Slot::kQBias, "blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
            {Slot::kKBias, "blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
            {Slot::kVBias, "blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
        },
    .window = WindowRule::kSwitched,
    .default_kv_heads = 32,
    .default_window = 4096,
};

}  // namespace svq::convert
