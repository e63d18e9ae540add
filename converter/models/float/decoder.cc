#include "converter/models/float/decoder.h"

#include <ATen/ops/empty.h>

#include "converter/base/error.h"
#include "converter/models/float/vocabulary.h"

namespace svq::convert {

namespace {

constexpr Slot kBlockSlots[] = {Slot::kQ, Slot::kK, Slot::kV, Slot::kO, Slot::kGate, Slot::kUp, Slot::kDown};

// As exact as the linears; half the memory to read for every token.
at::ScalarType cache_type(const ForwardOptions& options) {
  return options.bf16_linears && options.device.is_cpu() ? at::kBFloat16 : at::kFloat;
}

}  // namespace

uint64_t Decoder::weight_bytes(const Model& model, const ForwardOptions& options) {
  uint64_t elements = 0;
  const auto add = [&](Slot slot, int layer) {
    const Shape shape = model.shape(slot, layer);
    elements += shape.rows * shape.columns;
  };
  for (uint32_t layer = 0; layer < model.architecture().n_layers; ++layer)
    for (const Slot slot : kBlockSlots) add(slot, static_cast<int>(layer));
  add(Slot::kEmbedding, -1);
  if (head_slot(model) != Slot::kEmbedding) add(Slot::kHead, -1);
  return elements * (options.bf16_linears ? 2 : 4);
}

uint64_t Decoder::cache_bytes(const Model& model, int64_t length, const ForwardOptions& options) {
  const fb::ArchitectureT& a = model.architecture();
  return uint64_t{2} * a.n_layers * a.n_kv_heads * a.head_dim * static_cast<uint64_t>(length) *
         c10::elementSize(cache_type(options));
}

Decoder::Decoder(const Model& model, int64_t batch, int64_t length, bool keep_weights, const ForwardOptions& options)
    : model_(model), options_(options), batch_(batch), length_(length), keep_weights_(keep_weights) {
  const fb::ArchitectureT& a = model.architecture();
  rope_ = rope_tables(a, 0, length, options.device);
  final_norm_ = read_tensor(model, Slot::kFinalNorm, -1, true).to(options.device);
  const at::TensorOptions values = at::TensorOptions(cache_type(options)).device(options.device);
  for (uint32_t layer = 0; layer < a.n_layers; ++layer) {
    const std::vector<int64_t> shape{batch, a.n_kv_heads, length, a.head_dim};
    cache_.push_back({at::empty(shape, values), at::empty(shape, values)});
  }
  if (!keep_weights) return;
  const at::ScalarType type = options.bf16_linears ? at::kBFloat16 : at::kFloat;
  for (uint32_t layer = 0; layer < a.n_layers; ++layer)
    blocks_.push_back(FloatBlock::load(model, static_cast<int>(layer), options));
  embedding_ = read_tensor(model, Slot::kEmbedding, -1, false).to(options.device, type);
  const bool tied = head_slot(model) == Slot::kEmbedding;
  head_.weight = tied ? embedding_ : read_tensor(model, Slot::kHead, -1, false).to(options.device, type);
}

void Decoder::restart(int64_t batch) {
  position_ = 0;
  keep(batch);
}

void Decoder::keep(int64_t batch) {
  if (batch == batch_) return;
  for (KvCache& cache : cache_) {
    cache.k = cache.k.narrow(0, 0, batch);
    cache.v = cache.v.narrow(0, 0, batch);
  }
  batch_ = batch;
}

at::Tensor Decoder::step(const at::Tensor& tokens, bool want_logits) {
  if (position_ >= length_) throw Error("the decoder was made for " + std::to_string(length_) + " tokens");
  at::Tensor hidden = keep_weights_ ? embedding_.index_select(0, tokens.to(options_.device)).to(at::kFloat)
                                    : embed(model_, tokens, options_);
  const RopeTables rope{rope_.cos.select(0, position_), rope_.sin.select(0, position_)};
  for (size_t layer = 0; layer < cache_.size(); ++layer) {
    hidden =
        keep_weights_
            ? blocks_[layer].step(hidden, position_, rope, cache_[layer])
            : FloatBlock::load(model_, static_cast<int>(layer), options_).step(hidden, position_, rope, cache_[layer]);
  }
  ++position_;
  if (!want_logits) return {};
  const at::Tensor normalised = rms_norm(hidden, final_norm_, model_.architecture().norm_eps);
  return keep_weights_ ? head_(normalised) : head_logits(model_, normalised, options_);
}

}  // namespace svq::convert
