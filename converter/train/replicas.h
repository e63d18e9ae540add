// Gradients over several sequences, each by a replica of the student on its share of the threads.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "converter/train/student.h"

namespace svq::convert {

class Replicas {
 public:
  // The student outlives this. Without side_by_side the sequences go one after another through the student itself,
  // which needs no memory for further gradients.
  Replicas(Student& student, bool side_by_side);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // loss_of(student, i) for i < count adds its gradients to those of the parameters of the student that it is given.
  // Their sums over i take the place of the gradients of `student`; returns the sum of the losses.
  double accumulate(int64_t count, const std::function<double(const Student&, int64_t)>& loss_of);

 private:
  Student& student_;
  std::vector<Parameter> parameters_;
  bool side_by_side_;
  std::vector<Student> replicas_;  // one per sequence of a step
  std::vector<std::vector<Parameter>> replica_parameters_;
};

}  // namespace svq::convert
