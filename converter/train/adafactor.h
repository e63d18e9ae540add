// Adafactor (Shazeer, Stern 2018, without its first moment, update clipping and schedule) on weight matrices: of the
// squared gradients only the mean of each row and each column is kept, so that a weight takes no memory beyond itself
// and its gradient. With R_i and C_j those means, decayed, a step is
//   w_ij −= rate · unit · g_ij / sqrt(R_i C_j / mean(R)).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "converter/train/student.h"

namespace svq::convert {

class Adafactor {
 public:
  // parameters: matrices [N, K]. rate: of a parameter's mean magnitude; decay: of the means.
  Adafactor(std::vector<Parameter> parameters, double rate, double decay = 0.95);
  // One step along the accumulated gradients, which are cleared. factor: on the learning rate. The result does not
  // depend on the number of threads.
  void step(double factor);

 private:
  std::vector<Parameter> parameters_;
  double rate_, decay_;
  std::vector<at::Tensor> rows_, columns_;  // [N], [K]
  int64_t steps_ = 0;
};

}  // namespace svq::convert
