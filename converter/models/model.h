// A source model seen uniformly: what every family provides, whatever its files call it. No libtorch here.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

// Where a tensor stands in the decoder. Layer counts from 0; -1 for those outside the blocks.
enum class Slot {
  kEmbedding,
  kHead,
  kFinalNorm,
  kAttnNorm,
  kQ,
  kK,
  kV,
  kO,
  kQBias,
  kKBias,
  kVBias,
  kOBias,
  kQNorm,
  kKNorm,
  kFfnNorm,
  kGate,
  kUp,
  kDown
};
const char* slot_name(
    Slot slot);  // "q", "attn_norm", …: also the name in the .svq file ("blocks.3.q", "embedding", "head")

struct Shape {
  uint64_t rows, columns;
};  // a vector: rows = 1

// A linear that the source holds quantized already, in 2 bits: W = diag(out_scale) H Q H diag(in_scale), with
// Q = scale · (code − zero_point) and H normalised Hadamard transforms of size `block` along rows and columns.
struct ImportedLinear {
  std::vector<float> in_scale, out_scale;  // [columns], [rows]
  float scale, zero_point;
  uint32_t block;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const fb::ArchitectureT& architecture() const = 0;
  virtual const fb::TokenizerT* tokenizer() const = 0;  // null: the source has none
  virtual const fb::ChatT& chat() const = 0;
  virtual const fb::GenerationT& generation() const = 0;
  virtual const std::string& name() const = 0;           // "SmolLM2 135M Instruct"
  virtual const std::string& source_name() const = 0;    // file or directory name, without its path
  virtual const std::string& source_format() const = 0;  // "GGUF v3 Q4_1"
  virtual std::string source_hash() const = 0;
  virtual uint64_t source_bytes() const = 0;
  virtual bool tied() const = 0;  // the embedding is also the head
  // What the user should know although the model can be used (an unknown chat template, say); one sentence each.
  virtual const std::vector<std::string>& warnings() const {
    static const std::vector<std::string> none;
    return none;
  }

  // Null where the linear is in floats, as in most sources. read() gives the weights that it stands for.
  virtual const ImportedLinear* imported(Slot, int) const { return nullptr; }
  virtual void read_codes(Slot, int, std::span<uint8_t>) const {}  // [rows, columns], of an imported linear
  virtual bool has(Slot slot, int layer) const = 0;
  virtual Shape shape(Slot slot, int layer) const = 0;
  // The tensor as f32, row-major [rows, columns], q and k in the half-split order of rotary pairs.
  // Throws Error naming the tensor if a value is NaN or infinite. May be called from several threads.
  virtual void read(Slot slot, int layer, std::span<float> out) const = 0;
  // Rows [begin, end) only (embedding lookup).
  virtual void read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const = 0;
};

// Opens a .gguf file, or a Hugging Face directory (config.json beside *.safetensors). Every tensor's presence and shape
// is checked here; unknown architectures and tensors are refused by name, with the list of what is supported.
std::unique_ptr<Model> open_model(const std::filesystem::path& path);

}  // namespace svq::convert
