#include "converter/train/adam.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace svq::convert {

Adam::Adam(std::vector<Parameter> parameters, const AdamOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const Parameter& p : parameters_) {
    mean_.push_back(at::zeros_like(p.value, at::TensorOptions().requires_grad(false)));
    square_.push_back(at::zeros_like(mean_.back()));
  }
}

void Adam::step(double rate) {
  const at::NoGradGuard no_grad;
  ++steps_;
  const double bias1 = 1 - std::pow(options_.beta1, steps_), bias2 = 1 - std::pow(options_.beta2, steps_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = parameters_[i];
    const at::Tensor& g = p.value.grad();
    if (!g.defined()) continue;
    mean_[i].mul_(options_.beta1).add_(g, 1 - options_.beta1);
    square_[i].mul_(options_.beta2).addcmul_(g, g, 1 - options_.beta2);
    const double size = rate * p.unit * (p.is_map ? options_.map_rate : options_.scale_rate);
    p.value.addcdiv_(mean_[i] / bias1, (square_[i] / bias2).sqrt_().add_(options_.epsilon), -size);
  }
  clear();
}

void Adam::clear() {
  for (Parameter& p : parameters_) p.value.mutable_grad() = at::Tensor();
}

int64_t Adam::state_size() const {
  int64_t n = 1;
  for (const Parameter& p : parameters_) n += 3 * p.value.numel();
  return n;
}

at::Tensor Adam::save() const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> all{at::full({1}, static_cast<double>(steps_), at::kFloat)};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (const at::Tensor& t : {parameters_[i].value.detach(), mean_[i], square_[i]}) all.push_back(t.reshape({-1}));
  }
  return at::cat(all);
}

void Adam::load(const at::Tensor& state) {
  const at::NoGradGuard no_grad;
  steps_ = static_cast<int64_t>(state[0].item<float>());
  int64_t offset = 1;
  const auto take = [&](at::Tensor into) {
    into.copy_(state.narrow(0, offset, into.numel()).view(into.sizes()));
    offset += into.numel();
  };
  for (size_t i = 0; i < parameters_.size(); ++i) {
    take(parameters_[i].value.detach());
    take(mean_[i]);
    take(square_[i]);
  }
}

std::vector<at::Tensor> Adam::values() const {
  std::vector<at::Tensor> all;
  for (const Parameter& p : parameters_) all.push_back(p.value.detach().clone());
  return all;
}

void Adam::set_values(const std::vector<at::Tensor>& values) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].value.detach().copy_(values[i]);
}

double cosine_rate(int64_t step, int64_t steps, int64_t warm_up, double floor) {
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up + 1);
  const double x = static_cast<double>(step - warm_up) / static_cast<double>(std::max<int64_t>(1, steps - warm_up));
  return floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, x)));
}

}  // namespace svq::convert
