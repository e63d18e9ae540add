// Text sampled from the float model: many sequences in parallel, partly scripted (chat turns).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

// What one sequence is made of: `start` is given, the rest sampled. When the model ends a text or a turn, turns[i] is
// given (i = 0, 1, …, beginning again at the end), in place of the token that ended it. Nothing to give: sampling goes
// on after the end token.
struct SequenceScript {
  std::vector<int64_t> start;  // at least one token
  std::vector<std::vector<int64_t>> turns;
};

struct SampleOptions {
  int64_t length = 512;  // tokens of each sequence
  double temperature = 1.0;
  int top_k = 0;  // only the k most likely; 0: all
  uint64_t seed = 0;
  std::vector<int64_t> ends{};  // tokens that end a text or a turn
  uint64_t memory_budget = 0;   // bytes for weights and cache; 0: half of this machine's memory
  double seconds = 0;           // as many sequences as this allows, but no fewer than 32; 0: all
};

// How sequences are sampled within a budget. Weights stay in memory as `forward` has them, or else as bf16, if that
// takes no more than three quarters of the budget; otherwise they are read from the source for every token, which is
// slow.
struct SamplePlan {
  ForwardOptions forward;
  bool keep_weights;
  int64_t batch;   // sequences side by side
  uint64_t bytes;  // of weights that are kept, and of the cache
};
// n sequences of `length` tokens; memory_budget as in SampleOptions.
SamplePlan plan_sampling(const Model& model, int64_t n, int64_t length, uint64_t memory_budget,
                         const ForwardOptions& forward);

// As plan_sampling has it. progress(fraction) returning false cancels. Returns
// [scripts, length] int64, fewer rows if the time was short, or an undefined tensor if cancelled. But for that the same
// for the same arguments, machine and number of threads: the random number of a choice is a function of (seed,
// sequence, position) alone, see uniform().
at::Tensor sample_sequences(const Model& model, const std::vector<SequenceScript>& scripts,
                            const SampleOptions& options, const ForwardOptions& forward,
                            const std::function<bool(double)>& progress);

// Bytes that weights may take of a memory budget as in SampleOptions.
uint64_t weight_budget(uint64_t memory_budget = 0);

// In [0, 1), 53 bits: splitmix64's output function (Steele, Lea, Flood 2014) applied to seed, sequence and position in
// turn.
double uniform(uint64_t seed, uint64_t sequence, uint64_t position);

// The smallest index with (sum of p[0 … index]) > u · (sum of all p): inverse of the cumulative distribution, summed in
// double. p: n values ≥ 0, not all 0.
int64_t pick(const float* p, int64_t n, double u);

}  // namespace svq::convert
