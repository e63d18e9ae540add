#include "converter/job/float_pass.h"

#include <algorithm>

#include "converter/job/calibration.h"
#include "converter/job/cancel.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/models/float/vocabulary.h"

namespace svq::convert {
namespace {

// Of a time limit, at the most. On small models a token that is sampled takes about as long as one forward pass and a
// third of a training step: every sequence, of a text as many as are sampled, is then trained on two or three times.
constexpr double kSamplingShare = 0.1;

}  // namespace

ForwardOptions choose_forward(const Options& options) {
  ForwardOptions forward;
  forward.device = choose_device(options.device);
  // Rounding of the linears to bfloat16 is far below what 32 sequences tell about E[x xᵀ]; what is summed is f32.
  forward.bf16_linears = bf16_is_faster(forward.device);
  return forward;
}

FloatPass::FloatPass(const Model& model, const Options& options)
    : model_(model), options_(options), forward_(choose_forward(options)) {}

at::Tensor FloatPass::calibration_tokens(int64_t wanted, const std::function<bool(double)>& progress) const {
  CalibrationOptions o;
  o.n_sequences = wanted;
  o.least_sequences = options_.calibration_sequences;
  o.length = options_.calibration_length;
  o.seed = options_.seed;
  o.text = options_.calibration;
  o.sampled_share = o.text.empty() ? 0 : options_.sampled();
  o.json_fields = options_.calibration_fields;
  o.sampling_seconds = kSamplingShare * options_.time_limit;
  auto set = make_calibration(model_, o, forward_, progress);
  if (!set) throw Interrupted{};
  return set->tokens.contiguous();
}

at::Tensor FloatPass::embed(const at::Tensor& tokens) const {
  return convert::embed(model_, tokens, forward_).cpu().contiguous();
}

void FloatPass::block(int layer, at::Tensor& hidden, const Hook& hook,
                      const std::function<void(double)>& progress) const {
  const FloatBlock block = FloatBlock::load(model_, layer, forward_);
  BlockHooks hooks;
  if (hook) {
    hooks.attn_in = [&](const at::Tensor& x) { hook(GroupKind::kAttnIn, x); };
    hooks.o_in = [&](const at::Tensor& x) { hook(GroupKind::kOIn, x); };
    hooks.ffn_in = [&](const at::Tensor& x) { hook(GroupKind::kFfnIn, x); };
    hooks.down_in = [&](const at::Tensor& x) { hook(GroupKind::kDownIn, x); };
  }
  // A few sequences at a time: temporaries stay small, and progress is seen.
  const int64_t sequences = hidden.size(0);
  const int64_t step = forward_.sequences_per_pass(hidden.size(1));
  for (int64_t begin = 0; begin < sequences; begin += step) {
    at::Tensor some = hidden.narrow(0, begin, std::min(step, sequences - begin));
    some.copy_(block.forward(some.to(forward_.device), hooks));
    progress(static_cast<double>(begin + some.size(0)) / static_cast<double>(sequences));
  }
}

void FloatPass::head_input(const at::Tensor& hidden, const Hook& hook) const {
  for (int64_t i = 0; i < hidden.size(0); ++i) {
    hook(GroupKind::kHead, final_norm(model_, hidden[i].to(forward_.device), forward_));
  }
}

}  // namespace svq::convert
