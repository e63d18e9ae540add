// Fine-tuning after quantization: the float parameters of all parts are distilled end to end from the float model, and
// the parts written anew (converter/train). Resumable: optimiser state, step and curves are kept in the work directory.
#pragma once
#include <memory>
#include <vector>

#include "converter/job/float_pass.h"
#include "converter/job/group_writer.h"
#include "converter/job/plan.h"
#include "converter/job/reporter.h"
#include "converter/job/sequences.h"
#include "converter/job/work_directory.h"
#include "converter/job/tuning.h"
#include "converter/train/distill.h"

namespace svq::convert {

// What the file says of it, in the order of tuning_measure_names (plan.h).
std::vector<double> tuning_measures(const Tuning& tuning);

class Finetune {
 public:
  // steps_before: of earlier training on these sequences; it goes on where they ended (sequences_of_step).
  Finetune(const Model& model, const Options& options, const Plan& plan, WorkDirectory& work, Reporter& reporter,
           const FloatPass& pass, const at::Tensor& tokens, const SequencePlan& sequences, int64_t steps_before);

  // parts: of plan.groups, in order; replaced by the metadata of the tuned ones, whose files tuned_path names. Stops
  // early when asked to (stop_requested) and then gives what is reached: stopped() says so. seconds_left: until when
  // training has to end, by the user's time limit; infinite without one.
  Tuning run(std::vector<std::unique_ptr<fb::PartT>>& parts, double seconds_left);
  bool stopped() const { return stopped_; }
  static std::filesystem::path tuned_path(const std::filesystem::path& work, const std::string& group);

  // Units of progress of the whole stage.
  static double cost(const Plan& plan, const Options& options, const SequencePlan& sequences);

 private:
  StudentGroup& end_group(const PlannedGroup& planned);  // embedding or head
  // The student's parameters as the file will hold them: 16-bit floats where it does.
  void round_student();
  void load_student(const std::vector<std::unique_ptr<fb::PartT>>& parts);
  void write_parts(std::vector<std::unique_ptr<fb::PartT>>& parts);

  const Model& model_;
  const Options& options_;
  const Plan& plan_;
  WorkDirectory& work_;
  Reporter& reporter_;
  const FloatPass& pass_;
  const SequencePlan& sequences_;
  at::Tensor tokens_;
  int64_t steps_before_;
  Student student_;
  Teacher teacher_;
  std::vector<GroupContent> contents_;  // of plan.groups
  double done_ = 0;
  bool stopped_ = false;
};

}  // namespace svq::convert
