// How much the loss cares about a linear's outputs: E[g gᵀ], g the gradient of −log p(label) with labels drawn from the
// model's own prediction. With E[x xᵀ] of the inputs it is the Kronecker approximation of the Fisher information, the
// second-order change of KL to the model (Martens & Grosse, arXiv 1503.05671).
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>

#include "converter/quantize/hessian.h"
#include "converter/train/student.h"

namespace svq::convert {

class OutputCurvature {
 public:
  // Watches the linears of `model`'s blocks with at most `most_rows` outputs. The model outlives this.
  OutputCurvature(Student& model, int64_t most_rows);

  // tokens [1, T]: one sequence; labels are drawn from (seed, sequence).
  void add(const at::Tensor& tokens, int64_t sequence, uint64_t seed, int64_t kept_blocks);
  // By linear, over the tokens seen: mean() is [N, N].
  const std::map<std::string, HessianAccumulator>& sums() const { return sums_; }
  // Goes on from a sum over `tokens` tokens.
  void restore(const std::string& linear, const at::Tensor& sum, int64_t tokens) {
    sums_.insert_or_assign(linear, HessianAccumulator(sum.size(0))).first->second.restore(sum, tokens);
  }

 private:
  Student& model_;
  std::map<std::string, HessianAccumulator> sums_;
};

}  // namespace svq::convert
