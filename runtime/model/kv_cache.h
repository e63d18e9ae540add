// Keys and values of every layer and position. What one head reads lies in one run: [layer][kv
// head][position][head_dim]. f16, or int8 with one scale per kv head and position.
#pragma once
#include <cstdint>

#include "runtime/base/arena.h"
#include "runtime/model/weights.h"

namespace svq::rt {

struct KvCache {
  KvCache(const Config& c, uint32_t context, uint32_t bits, Arena& arena)
      : positions(context), head_dim(c.head_dim), n_kv_heads(c.n_kv_heads), is_f16(bits == 16) {
    const uint64_t heads = uint64_t{c.n_layers} * c.n_kv_heads;
    if (is_f16) {
      k16 = arena.take<uint16_t>(heads * context * head_dim);
      v16 = arena.take<uint16_t>(heads * context * head_dim);
    } else {
      k8 = arena.take<int8_t>(heads * context * head_dim);
      v8 = arena.take<int8_t>(heads * context * head_dim);
      k_scale = arena.take<float>(heads * context);
      v_scale = arena.take<float>(heads * context);
    }
  }

  static uint64_t bytes_per_token(const Config& c, uint32_t bits) {
    const uint64_t heads = uint64_t{c.n_layers} * c.n_kv_heads;
    return 2 * heads * (bits == 16 ? 2 * uint64_t{c.head_dim} : uint64_t{c.head_dim} + sizeof(float));
  }

  // Index of a head's first position in k_scale and v_scale; times head_dim in k and v.
  uint64_t run(uint32_t layer, uint32_t kv_head) const { return (uint64_t{layer} * n_kv_heads + kv_head) * positions; }

  uint32_t positions, head_dim, n_kv_heads;
  bool is_f16;
  uint16_t* k16 = nullptr;
  uint16_t* v16 = nullptr;
  int8_t* k8 = nullptr;
  int8_t* v8 = nullptr;
  float* k_scale = nullptr;
  float* v_scale = nullptr;
};

}  // namespace svq::rt
