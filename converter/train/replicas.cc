#include "converter/train/replicas.h"

#include <numeric>

#include "converter/train/parallel.h"

namespace svq::convert {

Replicas::Replicas(Student& student, bool side_by_side)
    : student_(student), parameters_(student.parameters()), side_by_side_(side_by_side) {}

double Replicas::accumulate(int64_t count, const std::function<double(const Student&, int64_t)>& loss_of) {
  if (!side_by_side_) {
    for (Parameter& p : parameters_) p.value.mutable_grad() = at::Tensor();
    double loss = 0;
    for (int64_t i = 0; i < count; ++i) loss += loss_of(student_, i);
    return loss;
  }
  const auto sequences = static_cast<size_t>(count);
  while (replicas_.size() < sequences) {
    replicas_.push_back(student_.replica());
    replica_parameters_.push_back(replicas_.back().parameters());
  }
  std::vector<double> losses(sequences);
  side_by_side(count,
               [&](int64_t i) { losses[static_cast<size_t>(i)] = loss_of(replicas_[static_cast<size_t>(i)], i); });
  for (size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor& sum = parameters_[p].value.mutable_grad();
    sum = at::Tensor();
    for (size_t i = 0; i < sequences; ++i) {
      at::Tensor& one = replica_parameters_[i][p].value.mutable_grad();
      if (one.defined()) sum = sum.defined() ? sum.add_(one) : one;
      one = at::Tensor();
    }
  }
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace svq::convert
