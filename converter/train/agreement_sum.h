// Agreement (agreement.h) summed over slices of positions.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "converter/train/agreement.h"

namespace svq::convert {

inline constexpr int64_t kTokenSlice = 256;  // positions whose logits exist at a time

// Sum over positions of KL(p ‖ q), nats. log_p, log_q [n, vocab].
inline double kl_sum(const at::Tensor& log_p, const at::Tensor& log_q) {
  return (log_p.exp() * (log_p - log_q)).sum(-1).sum(at::kDouble).item<double>();
}

class AgreementSum {
 public:
  // Of source and quantized. next [m ≤ n] i64: the tokens that follow the first m positions.
  void add(const at::Tensor& log_p, const at::Tensor& log_q, const at::Tensor& next) {
    kl_ += kl_sum(log_p, log_q);
    same_ += log_p.argmax(-1).eq(log_q.argmax(-1)).sum().item<double>();
    positions_ += static_cast<double>(log_p.size(0));
    const at::Tensor index = next.unsqueeze(1);
    const auto nll = [&](const at::Tensor& log) {
      return -log.narrow(0, 0, next.size(0)).gather(1, index).sum(at::kDouble).item<double>();
    };
    nll_ += nll(log_q);
    source_nll_ += nll(log_p);
    predicted_ += static_cast<double>(next.size(0));
  }
  void add(const AgreementSum& other) {
    kl_ += other.kl_;
    same_ += other.same_;
    positions_ += other.positions_;
    nll_ += other.nll_;
    source_nll_ += other.source_nll_;
    predicted_ += other.predicted_;
  }
  Agreement result() const {
    const double n = std::max(1.0, positions_), m = std::max(1.0, predicted_);
    return {kl_ / n, std::exp(nll_ / m), std::exp(source_nll_ / m), same_ / n};
  }

 private:
  double kl_ = 0, same_ = 0, positions_ = 0, nll_ = 0, source_nll_ = 0, predicted_ = 0;
};

}  // namespace svq::convert
