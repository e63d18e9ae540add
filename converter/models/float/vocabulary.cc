#include "converter/models/float/vocabulary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "converter/base/error.h"
#include "converter/models/float/block.h"
#include "converter/models/float/ops.h"

namespace svq::convert {

namespace {

constexpr int64_t kVocabSlice = 8192;  // rows of the head at a time
constexpr int64_t kTokenSlice = 512;   // tokens whose logits for a slice exist at a time

// visit(first row, weight [rows, hidden] f32 or bf16 on the device)
void for_head_slices(const Model& model, const ForwardOptions& options,
                     const std::function<void(int64_t, const FloatLinear&)>& visit) {
  const Slot slot = head_slot(model);
  const int64_t vocab = static_cast<int64_t>(model.shape(slot, -1).rows);
  for (int64_t begin = 0; begin < vocab; begin += kVocabSlice) {
    const int64_t end = std::min(vocab, begin + kVocabSlice);
    visit(begin, {read_tensor_rows(model, slot, -1, begin, end)
                      .to(options.device, options.bf16_linears ? at::kBFloat16 : at::kFloat),
                  {}});
  }
}

}  // namespace

at::Tensor embed(const Model& model, const at::Tensor& tokens, const ForwardOptions& options) {
  const at::Tensor flat = tokens.to(at::kCPU).contiguous().view({-1});
  const int64_t* ids = flat.data_ptr<int64_t>();
  const Shape shape = model.shape(Slot::kEmbedding, -1);
  const int64_t columns = static_cast<int64_t>(shape.columns);
  // In order of their ids: each row is read once, and the file from front to back.
  std::vector<int64_t> order(static_cast<size_t>(flat.numel()));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return ids[a] < ids[b]; });
  at::Tensor out = at::empty({flat.numel(), columns}, at::kFloat);
  float* data = out.data_ptr<float>();
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t id = ids[order[i]];
    if (id < 0 || static_cast<uint64_t>(id) >= shape.rows)
      throw Error("token " + std::to_string(id) + " is outside the model's vocabulary of " +
                  std::to_string(shape.rows));
    float* row = data + order[i] * columns;
    if (i > 0 && ids[order[i - 1]] == id) {
      std::copy_n(data + order[i - 1] * columns, columns, row);
    } else {
      model.read_rows(Slot::kEmbedding, -1, static_cast<uint64_t>(id), static_cast<uint64_t>(id) + 1,
                      std::span<float>(row, shape.columns));
    }
  }
  std::vector<int64_t> sizes = tokens.sizes().vec();
  sizes.push_back(columns);
  return out.view(sizes).to(options.device);
}

at::Tensor final_norm(const Model& model, const at::Tensor& hidden, const ForwardOptions& options) {
  return rms_norm(hidden, read_tensor(model, Slot::kFinalNorm, -1, true).to(options.device),
                  model.architecture().norm_eps);
}

Slot head_slot(const Model& model) { return model.has(Slot::kHead, -1) ? Slot::kHead : Slot::kEmbedding; }

at::Tensor head_logits(const Model& model, const at::Tensor& normalised, const ForwardOptions& options) {
  std::vector<at::Tensor> parts;
  for_head_slices(model, options, [&](int64_t, const FloatLinear& slice) { parts.push_back(slice(normalised)); });
  return at::cat(parts, -1);
}

at::Tensor head_nll(const Model& model, const at::Tensor& normalised, const at::Tensor& targets,
                    const ForwardOptions& options) {
  const int64_t tokens = normalised.size(0);
  at::Tensor log_sum = at::full({tokens}, -INFINITY, normalised.options());
  at::Tensor target_logit = at::zeros({tokens}, normalised.options());
  const at::Tensor wanted = targets.to(options.device);
  for_head_slices(model, options, [&](int64_t first, const FloatLinear& slice) {
    const int64_t rows = slice.weight.size(0);
    for (int64_t begin = 0; begin < tokens; begin += kTokenSlice) {
      const int64_t count = std::min(kTokenSlice, tokens - begin);
      const at::Tensor logits = slice(normalised.narrow(0, begin, count));
      at::Tensor sum = log_sum.narrow(0, begin, count);
      sum.copy_(at::logaddexp(sum, at::logsumexp(logits, {-1})));
      const at::Tensor local = wanted.narrow(0, begin, count) - first;
      const at::Tensor here = (local >= 0).logical_and_(local < rows);
      const at::Tensor found = logits.gather(1, local.clamp(0, rows - 1).unsqueeze(1)).squeeze(1);
      target_logit.narrow(0, begin, count).add_(found * here);
    }
  });
  return (log_sum.to(at::kDouble) - target_logit.to(at::kDouble)).to(at::kCPU);
}

}  // namespace svq::convert
