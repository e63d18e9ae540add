// The float model as a whole, one block's weights in memory at a time.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

// tokens [B, T] int64 → hidden states [B, T, hidden] after the last block, before the final norm.
// after_block(layer, hidden) is called after each block; may be empty.
at::Tensor float_hidden(const Model& model, const at::Tensor& tokens, const ForwardOptions& options = {},
                        const std::function<void(int, const at::Tensor&)>& after_block = {});

// tokens [B, T] int64 → logits [B, T, vocab] f32: for short texts.
at::Tensor float_logits(const Model& model, const at::Tensor& tokens, const ForwardOptions& options = {});

struct Perplexity {
  double value = 0;               // exp(mean of -log p)
  int64_t scored = 0;             // tokens
  std::vector<double> chunk_nll;  // mean -log p of each chunk
};

// By the rule of llama.cpp's perplexity tool: `tokens` are cut into chunks of `context`; in each, the tokens
// context/2 + 1 … context - 1 are scored. If the tokenizer adds a begin-of-text token, it replaces the first token of
// each chunk. chunks 0: all that are whole. Throws Error if the text is too short for a single chunk.
Perplexity perplexity(const Model& model, const std::vector<int32_t>& tokens, int64_t context, int64_t chunks,
                      const ForwardOptions& options = {});

}  // namespace svq::convert
