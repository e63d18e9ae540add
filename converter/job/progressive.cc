#include "converter/job/progressive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/job/cancel.h"
#include "converter/job/group_writer.h"
#include "converter/job/preflight.h"
#include "converter/job/prefix.h"
#include "converter/job/teacher.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/train/adafactor.h"
#include "converter/train/adam.h"

namespace svq::convert {

namespace {

constexpr int kStages = 10;              // about as many trainings a model
constexpr double kRate = 4e-4;           // learning rate of weights, of their mean magnitude
constexpr double kLastStageFloor = 0.1;  // of the learning rate in the last stage
constexpr int64_t kStageWarmUp = 3;      // steps of every stage
constexpr double kShareOfTime = 0.5;     // of what a time limit leaves for training, that all stages may take
constexpr const char* kStageStepsState = "progressive.steps";

}  // namespace

Progressive::Progressive(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work,
                         Reporter& reporter, const FloatPass& pass)
    : model_(model),
      options_(options),
      plan_(plan),
      work_(work),
      reporter_(reporter),
      pass_(pass),
      tuned_(model),
      layers_(static_cast<int>(model.architecture().n_layers)),
      every_(std::max(1, layers_ / kStages)),
      stages_((layers_ - 1) / every_) {
  const int64_t per_step = kSequencesPerStep * options.calibration_length;
  const int64_t wanted = progressive_tokens(options, plan);
  if (wanted > 0 && stages_ > 0) steps_ = std::max<int64_t>(1, wanted / per_step / stages_);
  if (enabled() && options.progressive_by_time) {
    int64_t chosen = 0;
    steps_chosen_ = work.load(kStageStepsState, std::as_writable_bytes(std::span(&chosen, 1)));
    if (steps_chosen_) steps_ = chosen;
  }
}

// A step goes forward through all blocks and back through those from `first` on; on average through half of them.
void Progressive::choose_steps(double seconds_per_step, double seconds_per_block, int first) {
  const double back = static_cast<double>(layers_ - first) / layers_;
  const double mean = seconds_per_step * (1 + 2 * 0.5) / (1 + 2 * back);
  const double left = options_.time_limit - work_.seconds_spent() - seconds_per_block * (layers_ - first);
  steps_ = std::max(kStageWarmUp, static_cast<int64_t>(kShareOfTime * left / stages_ / mean));
  steps_chosen_ = true;
  work_.save(kStageStepsState, std::as_bytes(std::span(&steps_, 1)));
  reporter_.note("the time limit allows " + std::to_string(steps_) + " steps in each of " + std::to_string(stages_) +
                 " stages of training while quantizing");
}

double Progressive::stage_cost() const {
  const double tokens = static_cast<double>(steps_ * kSequencesPerStep * options_.calibration_length);
  return tokens * 4 * static_cast<double>(plan_.block_weights);  // half of the blocks forward and backward, the head
}

double Progressive::teacher_cost() const {
  return static_cast<double>(wanted_sequences(options_) * options_.calibration_length) *
         static_cast<double>(plan_.block_weights);
}

double Progressive::cost() const { return enabled() ? teacher_cost() + stages_ * stage_cost() : 0; }

double Progressive::cost_before(int layer) const {
  if (!enabled() || layer <= every_) return 0;
  return teacher_cost() + (layer - 1) / every_ * stage_cost();
}

std::vector<std::pair<const PlannedGroup*, size_t>> Progressive::trained_linears(int first) const {
  std::vector<std::pair<const PlannedGroup*, size_t>> all;
  for (const PlannedGroup& group : plan_.groups) {
    if (group.layer < first || group.layer < 0) continue;
    for (size_t i = 0; i < group.linears.size(); ++i)
      if (group.linears[i].packed()) all.emplace_back(&group, i);
  }
  return all;
}

void Progressive::hold(int first, const at::Tensor& values) {
  tuned_.clear();
  int64_t at = 0;
  for (const auto& [group, i] : trained_linears(first)) {
    const PlannedLinear& l = group->linears[i];
    const auto rows = static_cast<int64_t>(l.rows), columns = static_cast<int64_t>(l.columns);
    tuned_.set(l.slot, group->layer, values.narrow(0, at, rows * columns).view({rows, columns}));
    at += rows * columns;
  }
  values_ = values;
  stage_ = first;
}

void Progressive::prepare(int layer, const std::vector<std::unique_ptr<fb::PartT>>& parts, const at::Tensor& tokens,
                          const SequencePlan& sequences, double& done) {
  if (!enabled()) return;
  if (!begun_) {
    begun_ = Clock::now();
    begun_with_ = layer;
  }
  const int wanted = layer / every_ * every_;
  if (wanted == stage_) return;
  tuned_.clear();
  stage_ = 0;
  if (wanted == 0) return;
  const auto empty = [&](int first) {
    int64_t size = 0;
    for (const auto& [group, i] : trained_linears(first))
      size += static_cast<int64_t>(group->linears[i].rows * group->linears[i].columns);
    return at::empty({size}, at::kFloat);
  };
  // The latest stage whose weights are there, and those after it again.
  int start = wanted;
  for (; start > 0; start -= every_) {
    if (!work_.contains(tag(start))) continue;
    const at::Tensor values = empty(start);
    if (!work_.load(tag(start), bytes_of(values))) continue;
    hold(start, values);
    break;
  }
  for (int first = start + every_; first <= wanted; first += every_) {
    const at::Tensor values = empty(first);
    int64_t at = 0;
    for (const auto& [group, i] : trained_linears(first)) {
      const at::Tensor weight = read_tensor(tuned_, group->linears[i].slot, group->layer, false);
      values.narrow(0, at, weight.numel()).copy_(weight.view({-1}));
      at += weight.numel();
    }
    hold(first, values);
    train(first, parts, tokens, sequences, done);
    work_.save(tag(first), bytes_of(values_));
    work_.remove(tag(first - every_));
  }
}

// Quantized blocks before `first`, blocks with weights to train from there on; the float model's embedding, norms and
// head.
Student Progressive::make_student(int first, const std::vector<std::unique_ptr<fb::PartT>>& parts) {
  const bool bf16 = bf16_is_faster(c10::kCPU);
  Student student(model_);
  student.tied = plan_.tied;
  student.first_trained_block = static_cast<size_t>(first);
  student.blocks.resize(static_cast<size_t>(layers_));
  student.final_norm = read_tensor(model_, Slot::kFinalNorm, -1, true);
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& group = plan_.groups[i];
    if (group.kind == GroupKind::kEmbedding) student.embedding = make_float_group(group, model_, bf16);
    if (group.kind == GroupKind::kHead) student.head = make_float_group(group, model_, bf16);
    if (group.layer < 0) continue;
    StudentBlock& block = student.blocks[static_cast<size_t>(group.layer)];
    if (group.layer < first) {
      const GroupContent content = read_content(*parts[i], work_.part_path(group.name));
      group_of(block, group.kind) = make_student_group(group, model_, content, bf16);
    } else {
      group_of(block, group.kind) = make_trained_group(group, tuned_, bf16);
    }
    if (group.kind != GroupKind::kAttnIn) continue;
    const auto norm = [&](Slot slot) {
      return model_.has(slot, group.layer) ? read_tensor(model_, slot, group.layer, true) : at::Tensor();
    };
    block.q_norm = norm(Slot::kQNorm);
    block.k_norm = norm(Slot::kKNorm);
  }
  return student;
}

void Progressive::train(int first, const std::vector<std::unique_ptr<fb::PartT>>& parts, const at::Tensor& tokens,
                        const SequencePlan& sequences, double& done) {
  // Of the first stage; a run that resumes right there has not seen a block, and goes by what their codes took.
  double per_block = seconds_since(*begun_) / std::max(1, first - begun_with_);
  if (first <= begun_with_) {
    per_block = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (plan_.groups[i].layer >= 0 && plan_.groups[i].layer < first) per_block += 3 * parts[i]->seconds / first;
    }
  }
  if (!teacher_.hidden.defined()) {
    teacher_ = make_teacher(model_, pass_, tokens, work_, reporter_, done, teacher_cost());
    done += teacher_cost();
  }
  const auto started = Clock::now();
  Student student = make_student(first, parts);  // trains values_ in place
  const uint64_t at_once = progressive_at_once(plan_), gradients = at_once * values_.nbytes();
  Distillation distillation(student, teacher_, activation_budget(gradients) / at_once, at_once > 1);
  Adafactor optimizer(student.parameters(), kRate);

  const std::string name = "training blocks from " + std::to_string(first);
  double loss = 0;
  const auto first_step = Clock::now();
  for (int64_t step = 0; step < steps_; ++step) {
    reporter_.progress(name, done + stage_cost() * static_cast<double>(step) / static_cast<double>(steps_));
    if (stop_requested()) throw Interrupted{};
    const int64_t before = (first / every_ - 1) * steps_;
    loss =
        distillation.accumulate(sequences_of_step(before + step, kSequencesPerStep, sequences.training, options_.seed));
    if (!std::isfinite(loss))
      throw Error(name + " diverged at step " + std::to_string(step) + "; try --progressive-tokens 0");
    const double warm = std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(kStageWarmUp));
    // The first steps of all do not depend on how many there will be.
    optimizer.step(
        before + step < kStageWarmUp ? warm : warm * cosine_rate(before + step, stages_ * steps_, 0, kLastStageFloor));
    if (!steps_chosen_ && step + 1 == kStageWarmUp)
      choose_steps(seconds_since(first_step) / static_cast<double>(kStageWarmUp), per_block, first);
  }
  done += stage_cost();
  reporter_.group_done(name, 0, seconds_since(started), done);
}

}  // namespace svq::convert
