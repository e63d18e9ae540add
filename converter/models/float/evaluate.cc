#include "converter/models/float/evaluate.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "converter/base/error.h"
#include "converter/models/float/block.h"
#include "converter/models/float/vocabulary.h"

namespace svq::convert {

at::Tensor float_hidden(const Model& model, const at::Tensor& tokens, const ForwardOptions& options,
                        const std::function<void(int, const at::Tensor&)>& after_block) {
  at::Tensor hidden = embed(model, tokens, options);
  for (int layer = 0; layer < static_cast<int>(model.architecture().n_layers); ++layer) {
    hidden = FloatBlock::load(model, layer, options).forward(hidden);
    if (after_block) after_block(layer, hidden);
  }
  return hidden;
}

at::Tensor float_logits(const Model& model, const at::Tensor& tokens, const ForwardOptions& options) {
  const at::Tensor normalised = final_norm(model, float_hidden(model, tokens, options), options);
  return head_logits(model, normalised, options).to(at::kCPU);
}

Perplexity perplexity(const Model& model, const std::vector<int32_t>& tokens, int64_t context, int64_t chunks,
                      const ForwardOptions& options) {
  if (context < 4) throw Error("perplexity needs a context of at least 4 tokens, not " + std::to_string(context));
  const int64_t whole = static_cast<int64_t>(tokens.size()) / context;
  if (whole == 0)
    throw Error("the text holds " + std::to_string(tokens.size()) + " tokens, but perplexity at context " +
                std::to_string(context) + " needs at least " + std::to_string(context));
  const int64_t n = chunks > 0 ? std::min(chunks, whole) : whole;
  at::Tensor ids = at::empty({n, context}, at::kLong);
  std::copy_n(tokens.begin(), n * context, ids.data_ptr<int64_t>());
  const fb::TokenizerT* tokenizer = model.tokenizer();
  if (tokenizer != nullptr && tokenizer->add_bos && tokenizer->bos >= 0) ids.select(1, 0).fill_(tokenizer->bos);

  const at::Tensor hidden = float_hidden(model, ids, options);
  // The logits at position p score token p + 1.
  const int64_t first = context / 2, scored = context - 1 - first, width = hidden.size(2);
  const at::Tensor inputs = final_norm(model, hidden.narrow(1, first, scored), options).reshape({n * scored, width});
  const at::Tensor targets = ids.narrow(1, first + 1, scored).reshape({-1});
  const at::Tensor nll = head_nll(model, inputs, targets, options);

  Perplexity result;
  result.scored = n * scored;
  double sum = 0;
  for (int64_t chunk = 0; chunk < n; ++chunk) {
    const double chunk_sum = nll.narrow(0, chunk * scored, scored).sum().item<double>();
    result.chunk_nll.push_back(chunk_sum / static_cast<double>(scored));
    sum += chunk_sum;
  }
  result.value = std::exp(sum / static_cast<double>(result.scored));
  return result;
}

}  // namespace svq::convert
