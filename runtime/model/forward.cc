#include "runtime/model/forward.h"

namespace svq::rt {

std::array<uint32_t, 8> Forward::buffer_widths(const Weights& weights) {
  const Config& c = weights.config;
  const uint32_t q = c.n_heads * c.head_dim, kv = c.n_kv_heads * c.head_dim;
  return {c.hidden, q, kv, kv, q, c.intermediate, c.intermediate, c.hidden};
}

Forward::Forward(const Weights& weights, Backend& backend) : w_(weights), b_(backend) {
  Buffer* const buffers[] = {&x_, &q_, &k_, &v_, &attended_, &gate_, &up_, &y_};
  const auto widths = buffer_widths(weights);
  for (size_t i = 0; i < widths.size(); ++i) *buffers[i] = b_.make_buffer(widths[i]);
}

bool Forward::run(uint32_t position, std::span<const int32_t> tokens, uint32_t first_logits, float* logits, bool keep,
                  Pace& pace) {
  pace.begin_step();
  b_.set_pace(&pace);
  b_.begin(position, tokens);
  return layers_and_head(first_logits, logits, logits != nullptr || keep, pace);
}

bool Forward::run_rows(std::span<const Row> rows, Pace& pace) {
  pace.begin_step();
  b_.set_pace(&pace);
  b_.begin_rows(rows);
  return layers_and_head(0, nullptr, true, pace);
}

bool Forward::layers_and_head(uint32_t first_logits, float* logits, bool head, Pace& pace) {
  const bool queues = b_.queues();  // then the chunk is one step
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
    if (!queues && !pace.step()) return false;
  }

  if (head) b_.head(x_, {.apply = true, .weight = w_.final_norm}, w_.head, first_logits, logits);
  if (queues) b_.finish();
  if (head || queues) (void)pace.step();
  return !pace.given_up();  // else all is done: a stop is for the next chunk
}

}  // namespace svq::rt
