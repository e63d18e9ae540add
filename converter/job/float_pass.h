// What the conversion needs of the float model: calibration tokens, hidden states block by block, inputs of the
// linears.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "converter/job/plan.h"
#include "converter/models/float/options.h"

namespace svq::convert {

// How the float model runs by these options. Throws Error if the device that they ask for is not there.
ForwardOptions choose_forward(const Options& options);

class FloatPass {
 public:
  // Throws Error if the device that the options ask for is not there.
  FloatPass(const Model& model, const Options& options);

  const ForwardOptions& forward_options() const { return forward_; }
  // [sequences, length] i64: read from the file that the options name, or sampled from the model. Fewer than `wanted`
  // if the text is short and fine-tuning, which takes what there is, asked for them. Throws Interrupted when
  // progress(fraction) returns false.
  at::Tensor calibration_tokens(int64_t wanted, const std::function<bool(double)>& progress) const;
  // [sequences, length] → [sequences, length, hidden] f32 on the CPU.
  at::Tensor embed(const at::Tensor& tokens) const;
  // Receives the input [tokens, columns] of a group of linears, a part of the tokens at a time; lent for the call only.
  using Hook = std::function<void(GroupKind, const at::Tensor&)>;
  // One decoder block, in place of its input; the weights live in memory during the call only.
  void block(int layer, at::Tensor& hidden, const Hook& hook, const std::function<void(double)>& progress) const;
  // The head's input, after the final norm, to hook(kHead, …).
  void head_input(const at::Tensor& hidden, const Hook& hook) const;

 private:
  const Model& model_;
  const Options& options_;
  ForwardOptions forward_;
};

}  // namespace svq::convert
