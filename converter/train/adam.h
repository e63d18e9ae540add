// Adam (Kingma, Ba 2015) on the student's parameters, with steps relative to each parameter's magnitude.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "converter/train/student.h"

namespace svq::convert {

struct AdamOptions {
  double scale_rate = 4e-3;  // scales, norms, biases: of the mean magnitude of the tensor
  double map_rate = 2e-3;    // A, B: of the size of A
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-12;
};

class Adam {
 public:
  Adam(std::vector<Parameter> parameters, const AdamOptions& options);
  // One step along the accumulated gradients, which are cleared. rate: factor on the learning rates.
  void step(double rate);
  void clear();

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // Values, both moments and the step count as one f32 vector; load expects one of the same size.
  at::Tensor save() const;
  void load(const at::Tensor& state);
  int64_t state_size() const;
  // The values alone.
  std::vector<at::Tensor> values() const;
  void set_values(const std::vector<at::Tensor>& values);

 private:
  std::vector<Parameter> parameters_;
  AdamOptions options_;
  std::vector<at::Tensor> mean_, square_;
  int64_t steps_ = 0;
};

// Linear warm-up over `warm_up` steps, then a cosine from 1 to `floor`; step counts from 0.
double cosine_rate(int64_t step, int64_t steps, int64_t warm_up, double floor);

}  // namespace svq::convert
