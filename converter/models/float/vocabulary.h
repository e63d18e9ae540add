// Both ends of the model in float: token embedding, final norm, and the head, read in slices of the vocabulary.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

// tokens [...] int64 on the CPU → [..., hidden] f32 on the device. Reads only the rows that occur.
// Throws Error if a token is not below the vocabulary's size.
at::Tensor embed(const Model& model, const at::Tensor& tokens, const ForwardOptions& options);

// hidden [..., hidden] as it leaves the last block → the head's input.
at::Tensor final_norm(const Model& model, const at::Tensor& hidden, const ForwardOptions& options);

// The slot that serves as head: the embedding if it is tied.
Slot head_slot(const Model& model);

// Logits [tokens, vocab] f32 of the head's input [tokens, hidden].
at::Tensor head_logits(const Model& model, const at::Tensor& normalised, const ForwardOptions& options);

// -log p(targets[i] | …) [tokens] f64 on the CPU, from the head's input [tokens, hidden] and targets [tokens] int64.
// Neither all logits nor all of the head are ever held: memory does not grow with the vocabulary.
at::Tensor head_nll(const Model& model, const at::Tensor& normalised, const at::Tensor& targets,
                    const ForwardOptions& options);

}  // namespace svq::convert
