#include "converter/models/architecture.h"

#include <cmath>

#include "converter/base/error.h"

namespace svq::convert {

const char* slot_name(Slot slot) {
  static constexpr const char* kNames[] = {"embedding", "head",   "final_norm", "attn_norm", "q",      "k",
                                           "v",         "o",      "q_bias",     "k_bias",    "v_bias", "o_bias",
                                           "q_norm",    "k_norm", "ffn_norm",   "gate",      "up",     "down"};
  return kNames[static_cast<int>(slot)];
}

void check_architecture(const std::string& label, const fb::ArchitectureT& a) {
  if (a.n_heads % a.n_kv_heads != 0) {
    throw Error(label + ": the number of attention heads (" + std::to_string(a.n_heads) +
                ") is not a multiple of the number of key/value heads (" + std::to_string(a.n_kv_heads) + ")");
  }
  if (a.head_dim == 0 || a.head_dim % 2 != 0) {
    throw Error(label + ": the head size is " + std::to_string(a.head_dim) + ", expected a positive even number");
  }
  for (float frequency : a.rope_inv_freq) {
    if (!std::isfinite(frequency) || frequency < 0) {
      throw Error(label + ": the rotary embedding's parameters give a frequency that is not a finite number");
    }
  }
}

Shape slot_shape(const fb::ArchitectureT& a, Slot slot) {
  const uint64_t hidden = a.hidden, inner = a.intermediate;
  const uint64_t q = uint64_t{a.n_heads} * a.head_dim, kv = uint64_t{a.n_kv_heads} * a.head_dim;
  switch (slot) {
    case Slot::kEmbedding:
    case Slot::kHead:
      return {a.vocab, hidden};
    case Slot::kFinalNorm:
    case Slot::kAttnNorm:
    case Slot::kFfnNorm:
    case Slot::kOBias:
      return {1, hidden};
    case Slot::kQ:
      return {q, hidden};
    case Slot::kK:
    case Slot::kV:
      return {kv, hidden};
    case Slot::kO:
      return {hidden, q};
    case Slot::kQBias:
      return {1, q};
    case Slot::kKBias:
    case Slot::kVBias:
      return {1, kv};
    case Slot::kQNorm:
    case Slot::kKNorm:
      return {1, a.head_dim};
    case Slot::kGate:
    case Slot::kUp:
      return {inner, hidden};
    case Slot::kDown:
      return {hidden, inner};
  }
  return {0, 0};
}

}  // namespace svq::convert
