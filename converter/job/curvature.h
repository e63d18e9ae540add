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
#include "converter/train/student.h"

namespace svq::convert {

// The source model as a student whose linears are float.
Student float_student(const Model& model, const Plan& plan);

class OutputCurvatures {
 public:
  OutputCurvatures(const Model& model, const Plan& plan, WorkDirectory& work);
  // tokens [S, T]; on the given sequences. progress(fraction) between sequences.
  void measure(const at::Tensor& tokens, const std::vector<int64_t>& sequences, uint64_t seed,
               const std::function<void(double)>& progress);
  // [N, N] f32, or undefined if it was not measured: see has_curvature (plan.h).
  at::Tensor of(const PlannedGroup& group, const PlannedLinear& linear) const;
  bool has(const PlannedGroup& group) const;  // everything that is watched in it
  void remove(const PlannedGroup& group) const;

 private:
  const Model& model_;
  const Plan& plan_;
  WorkDirectory& work_;
};

}  // namespace svq::convert
