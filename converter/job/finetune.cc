#include "converter/job/finetune.h"

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/preflight.h"
#include "converter/job/prefix.h"
#include "converter/job/teacher.h"
#include "converter/models/float/startup.h"
#include "converter/job/tensor_bytes.h"

namespace svq::convert {

namespace {

constexpr int64_t kWarmUp = 5;           // steps
constexpr double kFloor = 0.03;          // of the learning rate at the end
constexpr int64_t kMostSteps = 1 << 17;  // with a time limit
constexpr double kStepsOfCheck = 8;      // as long as so many steps may the check of the written file take

double block_weights(const Plan& plan) { return static_cast<double>(plan.block_weights); }

// Multiply-adds a token: the float pass; training (forward, backward to the inputs; three times the head).
double teacher_cost(const Plan& plan) { return block_weights(plan); }
double training_cost(const Plan& plan) { return 2 * block_weights(plan) + 3 * head_weights(plan); }

}  // namespace

Finetune::Finetune(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work,
                   Reporter& reporter, const FloatPass& pass, const at::Tensor& tokens, const SequencePlan& sequences,
                   int64_t steps_before)
    : model_(model),
      options_(options),
      plan_(plan),
      work_(work),
      reporter_(reporter),
      pass_(pass),
      sequences_(sequences),
      steps_before_(steps_before),
      student_(model) {
  tokens_ = tokens;
}

double Finetune::cost(const Plan& plan, const Options& options, const SequencePlan& sequences) {
  const double length = static_cast<double>(options.calibration_length);
  return length * (static_cast<double>(sequences.total()) * teacher_cost(plan) +
                   static_cast<double>(training_steps(options) * kSequencesPerStep) * training_cost(plan));
}

std::filesystem::path Finetune::tuned_path(const std::filesystem::path& work, const std::string& group) {
  return work / ("tuned." + group + ".part");
}

std::vector<double> tuning_measures(const Tuning& t) {
  return {t.before.teacher_perplexity, t.before.perplexity, t.after.perplexity, t.before.kl, t.after.kl,
          t.before.same_top,           t.after.same_top};
}

void Finetune::load_student(const std::vector<std::unique_ptr<fb::PartT>>& parts) {
  const bool bf16 = bf16_is_faster(c10::kCPU);  // where the student runs
  student_.tied = plan_.tied;
  student_.blocks.resize(model_.architecture().n_layers);
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& planned = plan_.groups[i];
    contents_.push_back(read_content(*parts[i], work_.part_path(planned.name)));
    const GroupContent& content = contents_.back();
    if (planned.kind == GroupKind::kFinalNorm) {
      student_.final_norm = content.float_tensor("final_norm");
      continue;
    }
    if (planned.layer >= 0) {
      load_student_group(planned, model_, content, bf16, student_.blocks[static_cast<size_t>(planned.layer)]);
    } else {
      end_group(planned) = make_student_group(planned, model_, content, bf16);
    }
  }
}

// State: [step, planned steps, seconds, before ×4] in f64, the losses, then the optimiser's.
Tuning Finetune::run(std::vector<std::unique_ptr<fb::PartT>>& parts, double seconds_left) {
  const auto started = Clock::now();
  done_ = reporter_.done();
  load_student(parts);
  const double teacher_work = static_cast<double>(tokens_.numel()) * teacher_cost(plan_);
  teacher_ = make_teacher(model_, pass_, tokens_, work_, reporter_, done_, teacher_work);
  done_ += teacher_work;
  Distillation distillation(student_, teacher_, activation_budget() / kSequencesPerStep);
  AdamOptions adam_options;
  adam_options.scale_rate = options_.scale_rate;
  adam_options.map_rate = options_.map_rate;
  Adam adam(student_.parameters(), adam_options);
  const std::vector<at::Tensor> start_values = adam.values();

  const double step_cost = static_cast<double>(kSequencesPerStep * options_.calibration_length) * training_cost(plan_);
  const double start = done_;
  constexpr int64_t kNumbers = 8;
  Tuning tuning;
  tuning.planned_steps = training_steps(options_);
  const int64_t most = std::isfinite(seconds_left) ? kMostSteps : tuning.planned_steps;
  at::Tensor numbers = at::zeros({kNumbers + most}, at::kDouble), state = at::empty({adam.state_size()}, at::kFloat);
  double earlier_seconds = 0;
  int64_t step = 0;
  if (work_.load("train.numbers", bytes_of(numbers)) && work_.load("train", bytes_of(state)) &&
      state[0].item<float>() == static_cast<float>(numbers[0].item<double>())) {
    const double* n = numbers.data_ptr<double>();
    step = static_cast<int64_t>(n[0]);
    tuning.planned_steps = static_cast<int64_t>(n[1]);
    earlier_seconds = n[2];
    tuning.before = {n[3], n[4], n[5], n[6]};
    reporter_.advance(start + static_cast<double>(step) * step_cost);
    for (int64_t i = 0; i < step; ++i) tuning.losses.push_back(static_cast<float>(n[kNumbers + i]));
    adam.load(state);
    reporter_.note("going on with fine-tuning after step " + std::to_string(step) + " of " +
                   std::to_string(tuning.planned_steps));
  } else {
    tuning.before = distillation.measure(sequences_.held_out);
  }
  const auto save = [&] {
    double* n = numbers.data_ptr<double>();
    const double head[] = {static_cast<double>(step),
                           static_cast<double>(tuning.planned_steps),
                           earlier_seconds + seconds_since(started),
                           tuning.before.kl,
                           tuning.before.perplexity,
                           tuning.before.teacher_perplexity,
                           tuning.before.same_top};
    std::copy(std::begin(head), std::end(head), n);
    for (int64_t i = 0; i < step; ++i) n[kNumbers + i] = tuning.losses[static_cast<size_t>(i)];
    work_.save("train.numbers", bytes_of(numbers));
    work_.save("train", bytes_of(adam.save()));
  };

  auto last_save = Clock::now();
  const auto first_step = Clock::now();
  while (step < tuning.planned_steps) {
    reporter_.progress("fine-tuning", start + static_cast<double>(step) * step_cost);
    const double loss = distillation.accumulate(
        sequences_of_step(steps_before_ + step, kSequencesPerStep, sequences_.training, options_.seed));
    if (!std::isfinite(loss))
      throw Error("fine-tuning diverged at step " + std::to_string(step) + "; try --effort none");
    tuning.losses.push_back(static_cast<float>(loss));
    adam.step(cosine_rate(step, tuning.planned_steps, kWarmUp, kFloor));
    ++step;
    if (std::isfinite(seconds_left) && step == kWarmUp && earlier_seconds == 0) {
      // The learning rate has not depended on the number of steps so far: now it is chosen, once.
      const double per_step = seconds_since(first_step) / static_cast<double>(step);
      const double left = seconds_left - seconds_since(started) - (options_.check ? kStepsOfCheck * per_step : 0);
      const double measuring = per_step * static_cast<double>(sequences_.held_out.size()) / kSequencesPerStep;
      tuning.planned_steps =
          std::clamp<int64_t>(step + static_cast<int64_t>((0.97 * left - measuring) / per_step), step, most);
      reporter_.note("the time limit allows " + std::to_string(tuning.planned_steps) + " steps of fine-tuning");
      save();
    }
    stopped_ = stop_requested() && step < tuning.planned_steps;
    if (stopped_ || seconds_since(last_save) > kSecondsBetweenSaves) {
      save();
      last_save = Clock::now();
    }
    if (stopped_) break;
  }
  if (!stopped_) save();
  tuning.steps = step;
  tuning.tokens = step * kSequencesPerStep * options_.calibration_length;
  round_student();
  tuning.after = distillation.measure(sequences_.held_out);
  if (!(tuning.after.kl < tuning.before.kl)) {
    adam.set_values(start_values);
    round_student();
    tuning.after = tuning.before;
    reporter_.warning("fine-tuning did not improve on its start, which is kept");
  }
  write_parts(parts);
  tuning.seconds = earlier_seconds + seconds_since(started);
  done_ = start + static_cast<double>(tuning.planned_steps) * step_cost;
  reporter_.group_done("fine-tuning", 0, tuning.seconds, done_);
  return tuning;
}

StudentGroup& Finetune::end_group(const PlannedGroup& planned) {
  return planned.kind == GroupKind::kHead ? student_.head : student_.embedding;
}

void Finetune::round_student() {
  const at::NoGradGuard no_grad;
  for (StudentGroup* group : student_.groups()) round_group(*group);
}

void Finetune::write_parts(std::vector<std::unique_ptr<fb::PartT>>& parts) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < plan_.groups.size(); ++i) {
    const PlannedGroup& planned = plan_.groups[i];
    GroupContent& content = contents_[i];
    if (planned.kind == GroupKind::kFinalNorm) {
      content.floats["final_norm"] = student_.final_norm.detach().contiguous();
    } else if (planned.layer >= 0) {
      store_student_group(planned, student_.blocks[static_cast<size_t>(planned.layer)], content);
    } else {
      store_group(end_group(planned), content.quantized);
    }
    const double seconds = parts[i]->seconds;
    parts[i] = std::make_unique<fb::PartT>(write_part(planned, model_, options_, work_.fingerprint(), content, seconds,
                                                      tuned_path(work_.path(), planned.name)));
  }
}

}  // namespace svq::convert
