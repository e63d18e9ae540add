// Draws the next token from logits, in this order:
//   1. repetition penalty: logits of the distinct tokens among the last `repetition_window` are divided (positive) or
//      multiplied (negative) by it
//   2. temperature 0: the first maximum, and nothing of what follows
//   3. top-k: the k largest (ties: the lower id first)
//   4. top-p: of the softmax at temperature 1 over what is left, the shortest prefix with at least this share
//   5. min-p: those with at least this share of the most probable one
//   6. temperature: weights exp((logit - max) / temperature), one uniform number picks by them
// Random numbers: SplitMix64 (Steele, Lea, Flood 2014) from the seed, one per drawn token, its upper 53 bits as a
// fraction of 1. Settings, seed and logits determine the tokens.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "runtime/base/arena.h"
#include "runtime/sampling/top_logit.h"

namespace svq::rt {

struct SamplerSettings {
  double temperature = 0.8;
  uint32_t top_k = 40;
  double top_p = 0.95;
  double min_p = 0.05;
  double repetition_penalty = 1.0;
  uint32_t repetition_window = 64;
};

class Sampler {
 public:
  Sampler(uint32_t vocab, Arena& arena);

  SamplerSettings settings;
  void seed(uint64_t seed) { state_ = seed; }
  uint64_t state() const { return state_; }  // seed(state()) goes on with the same numbers

  // logits (vocab); history: the tokens so far. Allocates nothing. Throws Error (INTERNAL) if a logit is NaN or
  // infinite, or all are -infinity; -infinity excludes a token.
  // allowed: null, or a bit per token, of which at least one is set: the others are excluded before all else.
  int32_t sample(const float* logits, std::span<const int32_t> history, const uint64_t* allowed = nullptr);
  // The same from the largest logits alone, in order and free of NaN: nothing if they do not suffice under the
  // settings.
  std::optional<int32_t> sample_top(std::span<const TopLogit> top, std::span<const int32_t> history);

 private:
  using Candidate = TopLogit;
  static bool before(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
  const float* exclude(const float* logits, const uint64_t* allowed);
  const float* penalise(const float* logits, std::span<const int32_t> window);
  Candidate* collect(const float* logits, float top);
  Candidate* collect_largest(const float* logits);
  Candidate* cut_top_p(Candidate* end, float top);
  int32_t draw(const float* logits);
  int32_t draw(Candidate* end, float top, bool ordered);
  double uniform();

  const uint32_t vocab_;
  Candidate* candidates_;  // (vocab)
  float* penalised_;       // (vocab) logits after the repetition penalty and the exclusions, when there are any
  uint8_t* seen_;          // (vocab) zero between two calls
  uint64_t state_ = 0;
};

}  // namespace svq::rt
