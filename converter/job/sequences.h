// Which token sequences serve what: Hessians, training, and measuring on text that neither has seen.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "converter/job/plan.h"

namespace svq::convert {

struct SequencePlan {
  std::vector<int64_t> calibration;  // indices of sequences
  std::vector<int64_t> training, held_out;
  int64_t total() const { return static_cast<int64_t>(training.size() + held_out.size()); }
};

// `total` sequences are split: every so-manieth is held out, the rest trained on (with fine-tuning), and
// --calibration-sequences of these, evenly spread, make the Hessians.
SequencePlan plan_sequences(const Options& options, int64_t total);
// How many sequences to read or sample.
int64_t wanted_sequences(const Options& options);
int64_t training_steps(const Options& options);
// With a time limit: no more than training will use as often as wanted_sequences() has in mind, where products of
// matrices run at `rate` FLOP/s, and no fewer than `calibration` for the Hessians. To sample more, and to run the float
// model on them, would take training's time.
int64_t useful_sequences(const Options& options, const Plan& plan, int64_t calibration, double rate);

// The number that Hessians are measured on: --calibration-sequences, or what a time limit allows if that was not given.
// work: multiply-adds of the Hessians and of what leads to them; rate as above.
int64_t affordable_calibration(const Options& options, double work, double rate);

// At most `count` of them, evenly spread.
std::vector<int64_t> spread(const std::vector<int64_t>& sequences, int64_t count);

// The given rows of tokens [S, T].
at::Tensor select(const at::Tensor& tokens, std::vector<int64_t> sequences);

inline constexpr int64_t kSequencesPerStep = 2;

}  // namespace svq::convert
