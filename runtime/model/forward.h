// One decoder-only transformer, described once for every backend.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "runtime/model/backend.h"
#include "runtime/model/pace.h"
#include "runtime/model/weights.h"

namespace svq::rt {

class Forward {
 public:
  // Takes the buffers it needs from the backend. Weights and backend must outlive it.
  Forward(const Weights& weights, Backend& backend);

  // Evaluates a chunk whose first token is at `position`. logits null: none are computed; else (n - first_logits,
  // vocab) for the chunk's tokens from first_logits on. keep: the last token's are computed, and stay with the backend.
  // False: `pace` ended it; nothing of the chunk counts as evaluated.
  bool run(uint32_t position, std::span<const int32_t> tokens, uint32_t first_logits, float* logits, bool keep,
           Pace& pace);

  // Evaluates a token of each of several sessions (backend.h) and computes their logits. False as above.
  bool run_rows(std::span<const Row> rows, Pace& pace);

  // Of the buffers it takes.
  static std::array<uint32_t, 8> buffer_widths(const Weights& weights);

 private:
  bool layers_and_head(uint32_t first_logits, float* logits, bool head, Pace& pace);

  const Weights& w_;
  Backend& b_;
  Buffer x_;         // (n, hidden) residual stream
  Buffer q_;         // (n, n_heads * head_dim)
  Buffer k_;         // (n, n_kv_heads * head_dim)
  Buffer v_;         // (n, n_kv_heads * head_dim)
  Buffer attended_;  // (n, n_heads * head_dim)
  Buffer gate_;      // (n, intermediate)
  Buffer up_;        // (n, intermediate)
  Buffer y_;         // (n, hidden) what a half block adds to the stream
};

}  // namespace svq::rt
