// Keys and values of every layer and position. What one head reads lies in one run: [layer][kv
// head][position][head_dim]. f16, or int8 with one scale per kv head and position.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels-neon/kernels.h"
#include "runtime/base/arena.h"
#include "runtime/model/weights.h"

namespace svq::rt {

// Keys in int8, and the queries that meet them, are rotated: a few large channels would leave the others one code or
// two.
inline kernels::Rotation key_rotation(uint32_t head_dim) {
  const uint32_t block = 1u << std::countr_zero(head_dim);
  return {.kind = 1, .block = block, .factor = head_dim / block};
}

struct KvCache {
  KvCache(const Config& c, uint32_t context, uint32_t bits, Arena& arena)
      : n_runs(uint64_t{c.n_layers} * c.n_kv_heads),
        positions(context),
        head_dim(c.head_dim),
        n_kv_heads(c.n_kv_heads),
        is_f16(bits == 16) {
    const uint64_t heads = n_runs;
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

  // visit(data, bytes) of positions [0, n) in every run: keys, values, then their scales.
  template <class Visit>
  void for_each_run(uint32_t n, const Visit& visit) const {
    const auto all = [&](auto* base, uint64_t width) {  // values of a position
      if (base == nullptr) return;
      for (uint64_t r = 0; r < n_runs; ++r) {
        visit(reinterpret_cast<uint8_t*>(base + r * positions * width), n * width * sizeof *base);
      }
    };
    all(k16, head_dim);
    all(v16, head_dim);
    all(k8, head_dim);
    all(v8, head_dim);
    all(k_scale, 1);
    all(v_scale, 1);
  }

  // Positions [0, n) of a cache of the same model and width.
  void copy_from(const KvCache& other, uint32_t n) const {
    const auto copy = [&](auto* to, const auto* from, uint64_t width) {
      if (to == nullptr) return;
      for (uint64_t r = 0; r < n_runs; ++r) {
        std::memcpy(to + r * positions * width, from + r * other.positions * width, n * width * sizeof *to);
      }
    };
    copy(k16, other.k16, head_dim);
    copy(v16, other.v16, head_dim);
    copy(k8, other.k8, head_dim);
    copy(v8, other.v8, head_dim);
    copy(k_scale, other.k_scale, 1);
    copy(v_scale, other.v_scale, 1);
  }

  static uint64_t bytes_per_token(const Config& c, uint32_t bits) {
    const uint64_t heads = uint64_t{c.n_layers} * c.n_kv_heads;
    return 2 * heads * (bits == 16 ? 2 * uint64_t{c.head_dim} : uint64_t{c.head_dim} + sizeof(float));
  }

  // Index of a head's first position in k_scale and v_scale; times head_dim in k and v.
  uint64_t run(uint32_t layer, uint32_t kv_head) const { return (uint64_t{layer} * n_kv_heads + kv_head) * positions; }

  uint64_t n_runs;  // layers · kv heads
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
