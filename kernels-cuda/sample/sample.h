// logits   out[t] = scale ⊙ (delta · acc[t] + beta + middle · lost) + bias of a head without output rotation.
// top_k    the kTop largest of one token's logits, largest first, equal ones by the lower id, into memory that the host
//          reads; -infinity is left out. bad is set if a logit is NaN or +infinity: the candidates then mean nothing.
#pragma once
#include "kernels-cuda/types.h"

namespace svq::cuda {

struct TopK {
  uint32_t count, bad;
  Candidate candidate[kTop];
};

inline constexpr uint32_t kSorted = 4096;  // logits that a block sorts
// Words of scratch that top_k takes.
constexpr uint64_t top_k_scratch(uint32_t vocab) {
  const uint64_t blocks = (uint64_t{vocab} + kSorted - 1) / kSorted;
  return 2 * (2 * blocks * kTop + kTop) + blocks;
}

using LogitsFn = void(Stream stream, const Product& p, uint32_t n, float* out);
using TopKFn = void(Stream stream, const float* logits, uint32_t vocab, uint32_t* scratch, TopK* host);

}  // namespace svq::cuda
