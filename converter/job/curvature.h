// The curvature of the loss over the outputs of the source model's linears (train/curvature.h), measured once before
// quantization and kept in the work directory.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "converter/job/plan.h"
#include "converter/job/work_directory.h"
#include "converter/train/curvature.h"
#include "converter/train/student.h"

namespace svq::convert {

// The source model as a student whose linears are float.
Student float_student(const Model& model, const Plan& plan);

class OutputCurvatures {
 public:
  OutputCurvatures(const Model& model, const Plan& plan, WorkDirectory& work);
  // tokens [S, T]; on the given sequences. progress(fraction) between sequences. When stopped, and every few minutes,
  // the sums so far are kept and gone on from.
  void measure(const at::Tensor& tokens, const std::vector<int64_t>& sequences, uint64_t seed,
               const std::function<void(double)>& progress);
  // [N, N] f32, or undefined if it was not measured: see has_curvature (plan.h).
  at::Tensor of(const PlannedGroup& group, const PlannedLinear& linear) const;
  bool has(const PlannedGroup& group) const;  // everything that is watched in it
  void remove(const PlannedGroup& group) const;

 private:
  // The sums over the first `done` sequences, of all linears one after another behind `done` itself.
  void save_sums(const OutputCurvature& curvature, int64_t done) const;
  int64_t load_sums(OutputCurvature& curvature, int64_t length) const;
  std::vector<const PlannedLinear*> watched() const;

  const Model& model_;
  const Plan& plan_;
  WorkDirectory& work_;
};

}  // namespace svq::convert
