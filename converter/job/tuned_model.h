// A source model some of whose weights are replaced by trained ones.
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <map>
#include <utility>

#include "converter/models/model.h"

namespace svq::convert {

class TunedModel : public Model {
 public:
  explicit TunedModel(const Model& source) : source_(source) {}
  // weight [rows, columns] f32, contiguous; shared, not copied.
  void set(Slot slot, int layer, const at::Tensor& weight) { weights_[{slot, layer}] = weight; }
  void clear() { weights_.clear(); }
  // What was set; undefined: nothing.
  at::Tensor own(Slot slot, int layer) const {
    const auto found = weights_.find({slot, layer});
    return found == weights_.end() ? at::Tensor() : found->second;
  }

  void read(Slot slot, int layer, std::span<float> out) const override {
    read_rows(slot, layer, 0, shape(slot, layer).rows, out);
  }
  void read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const override {
    const auto own = weights_.find({slot, layer});
    if (own == weights_.end()) return source_.read_rows(slot, layer, begin, end, out);
    const uint64_t columns = shape(slot, layer).columns;
    std::copy_n(own->second.data_ptr<float>() + begin * columns, (end - begin) * columns, out.data());
  }

  const fb::ArchitectureT& architecture() const override { return source_.architecture(); }
  const fb::TokenizerT* tokenizer() const override { return source_.tokenizer(); }
  const fb::ChatT& chat() const override { return source_.chat(); }
  const fb::GenerationT& generation() const override { return source_.generation(); }
  const std::string& name() const override { return source_.name(); }
  const std::string& source_name() const override { return source_.source_name(); }
  const std::string& source_format() const override { return source_.source_format(); }
  std::string source_hash() const override { return source_.source_hash(); }
  uint64_t source_bytes() const override { return source_.source_bytes(); }
  bool tied() const override { return source_.tied(); }
  const std::vector<std::string>& warnings() const override { return source_.warnings(); }
  const ImportedLinear* imported(Slot slot, int layer) const override { return source_.imported(slot, layer); }
  void read_codes(Slot slot, int layer, std::span<uint8_t> out) const override { source_.read_codes(slot, layer, out); }
  bool has(Slot slot, int layer) const override { return source_.has(slot, layer); }
  Shape shape(Slot slot, int layer) const override { return source_.shape(slot, layer); }

 private:
  const Model& source_;
  std::map<std::pair<Slot, int>, at::Tensor> weights_;
};

}  // namespace svq::convert
