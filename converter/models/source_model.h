// The Model of a Source: slots resolved to tensors, checked once, read on demand.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converter/models/config.h"
#include "converter/models/model.h"
#include "converter/sources/source.h"

namespace svq::convert {

class SourceModel final : public Model {
 public:
  struct Parts {
    std::unique_ptr<Source> source;
    Naming naming = Naming::kGguf;
    Config config;
    std::string label;  // file or directory, for messages
    std::string name, source_name;
    uint64_t source_bytes = 0;
    std::unique_ptr<fb::TokenizerT> tokenizer;
    fb::ChatT chat;
    fb::GenerationT generation;
    std::vector<std::string> warnings;
  };
  // Places every tensor and checks presence and shape; throws Error naming what is wrong.
  explicit SourceModel(Parts parts);

  const fb::ArchitectureT& architecture() const override { return parts_.config.architecture; }
  const fb::TokenizerT* tokenizer() const override { return parts_.tokenizer.get(); }
  const fb::ChatT& chat() const override { return parts_.chat; }
  const fb::GenerationT& generation() const override { return parts_.generation; }
  const std::string& name() const override { return parts_.name; }
  const std::string& source_name() const override { return parts_.source_name; }
  const std::string& source_format() const override { return format_; }
  std::string source_hash() const override { return parts_.source->hash(); }
  uint64_t source_bytes() const override { return parts_.source_bytes; }
  bool tied() const override { return tied_; }
  const std::vector<std::string>& warnings() const override { return parts_.warnings; }

  bool has(Slot slot, int layer) const override { return find(slot, layer) != nullptr; }
  Shape shape(Slot slot, int layer) const override;
  void read(Slot slot, int layer, std::span<float> out) const override;
  void read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const override;

 private:
  static constexpr size_t kSlots = static_cast<size_t>(Slot::kDown) + 1;
  using Tensors = std::array<const TensorView*, kSlots>;

  const TensorView* find(Slot slot, int layer) const;
  const TensorView& require(Slot slot, int layer) const;
  void place_tensors();
  void check_tensors();
  // Embedding and head stored twice, perhaps at different precisions: keeps the better one as the embedding.
  bool join_copies();
  void check_shape(Slot slot, const TensorView& tensor) const;
  bool interleaved(Slot slot) const;
  std::string dominant_type() const;

  Parts parts_;
  std::string format_;
  bool tied_ = false;
  Tensors outer_{};  // embedding, head, final norm
  std::vector<Tensors> layers_;
};

}  // namespace svq::convert
