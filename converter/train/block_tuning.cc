#include "converter/train/block_tuning.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "converter/train/adam.h"
#include "converter/train/distill.h"
#include "converter/train/parallel.h"
#include "converter/train/replicas.h"

namespace svq::convert {
namespace {

constexpr int64_t kHeldOutEvery = 8;
constexpr int64_t kWarmUp = 4;    // steps
constexpr double kFloor = 0.03;   // of the learning rate at the end
constexpr int64_t kPatience = 4;  // a quarter of the steps, or two epochs, without a gain end the training

at::Tensor loss_of(const Student& student, const at::Tensor& input, const at::Tensor& target, const RopeTables& rope) {
  const at::Tensor y = student.blocks[0].forward(input, student.architecture(), rope);
  const at::Tensor weight = target.square().sum(-1).sqrt().clamp_min(1e-12).reciprocal();
  return ((y - target).square().sum(-1) * weight).mean();
}

}  // namespace

BlockTuning tune_block(Student& student, const at::Tensor& inputs, const at::Tensor& targets,
                       const BlockTuningOptions& options, const std::function<void(double)>& progress) {
  std::vector<int64_t> training, held_out;
  const int64_t n = inputs.size(0), length = inputs.size(1);
  for (int64_t i = 0; i < n; ++i)
    (i % kHeldOutEvery == std::min(n, kHeldOutEvery) - 1 ? held_out : training).push_back(i);
  if (training.empty()) training = held_out;
  const RopeTables rope = student.rope(length);
  const auto measure = [&] {
    std::vector<double> losses(held_out.size());
    side_by_side(static_cast<int64_t>(held_out.size()), [&](int64_t i) {
      const at::NoGradGuard no_grad;  // a property of the thread
      const int64_t s = held_out[static_cast<size_t>(i)];
      losses[static_cast<size_t>(i)] =
          loss_of(student, inputs.narrow(0, s, 1), targets.narrow(0, s, 1), rope).item<double>();
    });
    double sum = 0;
    for (const double loss : losses) sum += loss;
    return sum / static_cast<double>(losses.size());
  };

  Replicas replicas(student, true);
  AdamOptions rates;
  rates.scale_rate = options.scale_rate;
  rates.map_rate = options.map_rate;
  Adam adam(replicas.parameters(), rates);
  std::vector<at::Tensor> best = adam.values();
  BlockTuning result;
  result.before = result.after = measure();
  const int64_t per_step = std::min<int64_t>(options.sequences_per_step, static_cast<int64_t>(training.size()));
  const int64_t steps = std::max<int64_t>(1, options.tokens / (per_step * length));
  const int64_t epoch = std::max<int64_t>(1, static_cast<int64_t>(training.size()) / per_step);
  const int64_t patience = std::max(2 * epoch, steps / kPatience);
  int64_t best_step = 0;
  for (int64_t step = 0; step < steps && step < best_step + patience; ++step) {
    if (progress) progress(static_cast<double>(step) / static_cast<double>(steps));
    const std::vector<int64_t> sequences = sequences_of_step(step, per_step, training, options.seed);
    const double loss = replicas.accumulate(per_step, [&](const Student& replica, int64_t i) {
      const at::AutoGradMode grad(true);
      const int64_t s = sequences[static_cast<size_t>(i)];
      const at::Tensor one = loss_of(replica, inputs.narrow(0, s, 1), targets.narrow(0, s, 1), rope);
      torch::autograd::backward({one}, {at::full({}, 1.0 / static_cast<double>(per_step), at::kFloat)});
      return one.item<double>();
    });
    if (!std::isfinite(loss)) break;  // the best values are kept
    adam.step(cosine_rate(step, steps, kWarmUp, kFloor));
    ++result.steps;
    if ((step + 1) % epoch != 0 && step + 1 != steps) continue;
    const double now = measure();
    if (!(now < result.after)) continue;
    best_step = step + 1;
    result.after = now;
    best = adam.values();
  }
  adam.set_values(best);
  return result;
}

}  // namespace svq::convert
