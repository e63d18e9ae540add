// The CPU backend's cache as a whole: shifted.
#include <cstring>

#include "runtime/model/cpu_backend.h"

namespace svq::rt {

// A key carries the rotation of its position, R(p); turning it by R(-drop) makes it the key of p - drop. The rotation's
// attention factor is in the key already.
void CpuBackend::shift_cache(uint32_t keep, uint32_t drop, uint32_t n) {
  const Config& c = w_.config;
  const uint32_t d = c.head_dim;
  const kernels::Rotation turn = key_rotation(d);
  rotary_turn(c, -static_cast<double>(drop), 1, rope_cos_, rope_sin_);
  const uint64_t count = n - keep - drop;
  pool_->split(cache_.n_runs, [&](uint64_t begin, uint64_t end, uint32_t thread) {
    float* key = scratch_[thread].rotate;  // max_columns ≥ head_dim
    for (uint64_t run = begin; run < end; ++run) {
      const uint64_t to = run * cache_.positions + keep, from = to + drop;
      for (uint64_t i = 0; i < count; ++i) {
        if (cache_.is_f16) {
          k_.row_f16(cache_.k16 + (from + i) * d, d, key);
          k_.rope(key, rope_cos_, rope_sin_, d);
          k_.store_f16(key, d, cache_.k16 + (to + i) * d);
        } else {
          const int8_t* codes = cache_.k8 + (from + i) * d;
          for (uint32_t j = 0; j < d; ++j) key[j] = static_cast<float>(codes[j]) * cache_.k_scale[from + i];
          k_.rotate(key, turn, true, nullptr);
          k_.rope(key, rope_cos_, rope_sin_, d);
          k_.rotate(key, turn, false, nullptr);
          k_.store_i8(key, d, cache_.k8 + (to + i) * d, cache_.k_scale + to + i);
        }
      }
      if (cache_.is_f16) {
        std::memmove(cache_.v16 + to * d, cache_.v16 + from * d, count * d * sizeof(uint16_t));
      } else {
        std::memmove(cache_.v8 + to * d, cache_.v8 + from * d, count * d);
        std::memmove(cache_.v_scale + to, cache_.v_scale + from, count * sizeof(float));
      }
    }
  });
}

}  // namespace svq::rt
