// What the conversion needs of the float model: calibration tokens, hidden states block by block, inputs of the
// linears.
#pragma once
#include <ATen/ATen.h>

#include <functional>

#include "converter/job/plan.h"

namespace svq::convert {

class FloatPass {
 public:
  // Throws Error if the device that the options ask for is not there.
  FloatPass(const Model& model, const Options& options);

  // [sequences, length] i64: read from the file that the options name, or sampled from the model.
  // Throws Interrupted when progress(fraction) returns false.
  at::Tensor calibration_tokens(const std::function<bool(double)>& progress);
  // [sequences, length] → [sequences, length, hidden] f32 on the CPU.
  at::Tensor embed(const at::Tensor& tokens);
  // Receives the input [tokens, columns] of a group of linears, a batch of sequences at a time.
  using Hook = std::function<void(GroupKind, const at::Tensor&)>;
  // One decoder block; the weights live in memory during the call only. hook may be empty.
  at::Tensor block(int layer, const at::Tensor& hidden, const Hook& hook, const std::function<void(double)>& progress);
  // Input of the head, after the final norm, to hook(kHead, …).
  void head_input(const at::Tensor& hidden, const Hook& hook);

 private:
  const Model& model_;
  const Options& options_;
};

}  // namespace svq::convert
