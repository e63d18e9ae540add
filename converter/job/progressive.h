// Training while quantizing: the blocks that are still in floats learn to make up for those that are quantized
// already, a few blocks at a time. Their weights follow the float model's predictions end to end (train/distill.h), and
// what is quantized next are these weights. So codes answer to the loss without being trained themselves: a few move,
// by rounding, with the error feedback of the quantizer intact.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "converter/job/clock.h"
#include "converter/job/float_pass.h"
#include "converter/job/plan.h"
#include "converter/job/reporter.h"
#include "converter/job/sequences.h"
#include "converter/job/tuned_model.h"
#include "converter/job/work_directory.h"
#include "converter/train/distill.h"

namespace svq::convert {

class Progressive {
 public:
  Progressive(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work, Reporter& reporter,
              const FloatPass& pass);

  bool enabled() const { return steps_ > 0; }
  // The source with the weights that the latest prepare() chose.
  const Model& model() const { return tuned_; }
  // Makes model() what block `layer` is quantized from: trains the stages up to it whose weights are not in the work
  // directory. parts: those of all blocks before it are there. done: progress, advanced by what is trained.
  void prepare(int layer, const std::vector<std::unique_ptr<fb::PartT>>& parts, const at::Tensor& tokens,
               const SequencePlan& sequences, double& done);

  // Of all stages together: later training goes on from there in the order of sequences (sequences_of_step).
  int64_t total_steps() const { return stages_ * steps_; }

  // Units of progress of all stages, the float model's pass included.
  double cost() const;
  // Of the stages that the first `layer` blocks needed.
  double cost_before(int layer) const;

 private:
  double stage_cost() const;
  double teacher_cost() const;
  // Measured on the first steps of the first stage that runs; kept in the work directory. seconds_per_block: of
  // quantization.
  void choose_steps(double seconds_per_step, double seconds_per_block, int first);
  std::string tag(int first) const { return "progressive." + std::to_string(first); }
  // Linears of blocks from `first` on that are trained, in order.
  std::vector<std::pair<const PlannedGroup*, size_t>> trained_linears(int first) const;
  // Their weights as views of one vector.
  void hold(int first, const at::Tensor& values);
  void train(int first, const std::vector<std::unique_ptr<fb::PartT>>& parts, const at::Tensor& tokens,
             const SequencePlan& sequences, double& done);
  Student make_student(int first, const std::vector<std::unique_ptr<fb::PartT>>& parts);

  const Model& model_;
  const Options& options_;
  const Plan& plan_;
  WorkDirectory& work_;
  Reporter& reporter_;
  const FloatPass& pass_;
  TunedModel tuned_;
  Teacher teacher_;
  at::Tensor values_;                       // of trained_linears(stage_)
  int stage_ = 0;                           // first block of the stage whose weights model() gives
  std::optional<Clock::time_point> begun_;  // when the first block was asked for, and which it was
  int begun_with_ = 0;
  int layers_, every_, stages_;
  int64_t steps_ = 0;         // of a stage
  bool steps_chosen_ = true;  // not yet, if they depend on the time that one takes
};

}  // namespace svq::convert
