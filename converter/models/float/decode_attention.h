// Attention of one query a head over a cache, on the CPU: a plain loop over the keys in place, where matrix products of
// this shape (a few rows each) cost mostly their calls.
#pragma once
#include <cstdint>

namespace svq::convert {

// The query heads that share one kv head: out_g = Σ_j softmax_j(q_g · k_j) v_j. q, out [group][dim] f32, k, v
// [keys][dim] f32 or bfloat16, contiguous; scores: [group][keys] to work in.
void attend_one(const float* q, const float* k, const float* v, int64_t group, int64_t keys, int64_t dim, float* scores,
                float* out);
void attend_one(const float* q, const uint16_t* k, const uint16_t* v, int64_t group, int64_t keys, int64_t dim,
                float* scores, float* out);

}  // namespace svq::convert
