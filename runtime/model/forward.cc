#include "runtime/model/forward.h"

namespace svq::rt {

Forward::Forward(const Weights& weights, Backend& backend)
    : w_(weights),
      b_(backend),
      x_(b_.make_buffer(w_.config.hidden)),
      q_(b_.make_buffer(w_.config.n_heads * w_.config.head_dim)),
      k_(b_.make_buffer(w_.config.n_kv_heads * w_.config.head_dim)),
      v_(b_.make_buffer(w_.config.n_kv_heads * w_.config.head_dim)),
      attended_(b_.make_buffer(w_.config.n_heads * w_.config.head_dim)),
      gate_(b_.make_buffer(w_.config.intermediate)),
      up_(b_.make_buffer(w_.config.intermediate)),
      y_(b_.make_buffer(w_.config.hidden)) {}

bool Forward::run(uint32_t position, std::span<const int32_t> tokens, uint32_t first_logits, float* logits,
                  Pace& pace) {
  pace.begin_step();
  b_.begin(position, tokens);
  b_.embed(w_.embedding, x_);

  for (uint32_t layer = 0; layer < w_.config.n_layers; ++layer) {
    const Block& block = w_.blocks[layer];

    // x += o(attention(rope(q), rope(k), v)),  q, k, v of attn_norm(x)
    const Projection qkv[] = {{block.q, q_}, {block.k, k_}, {block.v, v_}};
    b_.project(x_, {.apply = true, .weight = block.attn_norm}, qkv);
    b_.rope_and_store(layer, q_, k_, v_, block.q_norm, block.k_norm);
    b_.attend(layer, q_, attended_);
    const Projection o[] = {{block.o, y_}};
    b_.project(attended_, {}, o);
    b_.add(x_, y_);

    // x += down(silu(gate) ⊙ up),  gate, up of ffn_norm(x)
    const Projection gate_up[] = {{block.gate, gate_}, {block.up, up_}};
    b_.project(x_, {.apply = true, .weight = block.ffn_norm}, gate_up);
    b_.silu_mul(gate_, up_);
    const Projection down[] = {{block.down, y_}};
    b_.project(gate_, {}, down);
    b_.add(x_, y_);
    if (!pace.step()) return false;
  }

  if (logits != nullptr) {
    b_.head(x_, {.apply = true, .weight = w_.final_norm}, w_.head, first_logits, logits);
    (void)pace.step();  // all is done: a stop is for the next chunk
  }
  return true;
}

}  // namespace svq::rt
