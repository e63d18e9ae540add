#include "converter/job/sequences.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace svq::convert {

namespace {

constexpr int64_t kHeldOut = 8;
// Rough: of a time limit training had 0.75 on SmolLM2-135M (40 minutes) and 0.35 on Qwen2.5-1.5B (112 minutes, with too
// many sequences); of the rate of its products it reached 0.7 to 0.9.
constexpr double kTrainingShare = 0.65, kReached = 0.7;
constexpr double kHessianShare = 1.0 / 3;  // of a time limit, at the most, for Hessians and curvature
constexpr int64_t kLeastCalibration = 16;
// Sampling costs about as much as training on the tokens: what is sampled is used twice, and a text once.
double epochs(const Options& o) { return 1 + o.sampled(); }

}  // namespace

int64_t training_steps(const Options& o) {
  if (!o.trains()) return 0;
  const int64_t per_step = kSequencesPerStep * o.calibration_length;
  return std::max<int64_t>(1, (o.training_tokens() + per_step / 2) / per_step);
}

int64_t wanted_sequences(const Options& o) {
  if (!o.trains()) return o.calibration_sequences + kHeldOut;
  const int64_t all =
      std::max(training_steps(o) * kSequencesPerStep, o.progressive_tokens.value_or(0) / o.calibration_length);
  const auto distinct = static_cast<int64_t>(std::ceil(static_cast<double>(all) / epochs(o)));
  return std::max<int64_t>(distinct, o.calibration_sequences) + kHeldOut;
}

int64_t useful_sequences(const Options& o, const Plan& plan, int64_t calibration, double rate) {
  const double tokens = kTrainingShare * o.time_limit * kReached * rate / training_flops(plan);
  const double distinct = tokens / epochs(o) / static_cast<double>(o.calibration_length);
  const int64_t least = calibration + kHeldOut, most = wanted_sequences(o);
  return distinct >= static_cast<double>(most)
             ? most
             : std::clamp(static_cast<int64_t>(distinct) + kHeldOut, std::min(least, most), most);
}

int64_t affordable_calibration(const Options& o, double work, double rate) {
  const int64_t most = o.calibration_sequences, least = std::min(kLeastCalibration, most);
  if (!o.calibration_by_time) return most;
  const double share = kHessianShare * o.time_limit / (2 * work / rate);
  return share >= 1 ? most : std::max(least, static_cast<int64_t>(share * static_cast<double>(most)));
}

std::vector<int64_t> spread(const std::vector<int64_t>& sequences, int64_t count) {
  const auto n = static_cast<int64_t>(sequences.size()), used = std::min(count, n);
  std::vector<int64_t> some;
  for (int64_t i = 0; i < used; ++i) some.push_back(sequences[static_cast<size_t>(i * n / used)]);
  return some;
}

at::Tensor select(const at::Tensor& tokens, std::vector<int64_t> sequences) {
  return tokens.index_select(0, at::from_blob(sequences.data(), {static_cast<int64_t>(sequences.size())}, at::kLong));
}

SequencePlan plan_sequences(const Options& o, int64_t total) {
  SequencePlan plan;
  if (total == 1) {  // a text this short is measured on itself
    plan.calibration = plan.training = plan.held_out = {0};
    return plan;
  }
  const int64_t held_out = std::clamp<int64_t>(total / 8, 1, kHeldOut);
  for (int64_t i = 0; i < total; ++i) {
    // The middle one of every total / held_out.
    const int64_t share = i * held_out / total;
    const bool held = i == (2 * share + 1) * total / (2 * held_out);
    (held ? plan.held_out : plan.training).push_back(i);
  }
  plan.calibration = spread(plan.training, o.calibration_sequences);
  return plan;
}

}  // namespace svq::convert
