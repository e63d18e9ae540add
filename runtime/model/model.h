// A loaded model: file, weights, tokenizer and the kernels that will run it. Immutable, shared by sessions.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels-neon/kernels.h"
#include "runtime/cuda/device_model.h"
#include "runtime/file/model_file.h"
#include "runtime/grammar/token_trie.h"
#include "runtime/model/weights.h"
#include "runtime/tokenizer/tokenizer.h"

namespace svq::rt {

enum class DeviceKind { kCpu, kCuda, kAuto };

struct ModelOptions {
  bool verify = false;        // every tensor's checksum
  uint64_t memory_limit = 0;  // bytes of the file; 0: none
  bool prefault = false;
  uint64_t memory_budget = 0;  // bytes of the file (or the GPU's weights), the model and all sessions together; 0: none
  bool lock = false;           // the file's pages stay in memory; not with a GPU
  DeviceKind device = DeviceKind::kCpu;  // kAuto: a GPU if one can be used, else the CPU
  uint32_t gpu = 0;                      // which
  bool gpu_mapped = false;               // the GPU reads the file's mapping in place, where it can
};

class Model {
 public:
  static std::shared_ptr<const Model> load(const std::string& path, const ModelOptions& options);
  explicit Model(ModelFile file, std::shared_ptr<cuda::Device> gpu = nullptr, uint64_t memory_budget = 0,
                 bool gpu_mapped = false);

  // A session's share of the memory budget, given back when it goes.
  class Reservation {
   public:
    Reservation(const Model& model, uint64_t bytes) : model_(&model), bytes_(bytes) {}
    Reservation(Reservation&& other) noexcept : model_(other.model_), bytes_(std::exchange(other.bytes_, 0)) {}
    ~Reservation() { model_->reserved_.fetch_sub(bytes_, std::memory_order_relaxed); }

   private:
    const Model* model_;
    uint64_t bytes_;
  };
  // Throws Error (OUT_OF_MEMORY) naming the numbers if the session would not fit.
  Reservation reserve(uint64_t session_bytes) const;

  const ModelFile& file() const { return file_; }
  const fb::Model& metadata() const { return file_.model(); }
  const Weights& weights() const { return weights_; }
  const WeightSizes& sizes() const { return sizes_; }
  const kernels::Table& kernels() const { return kernels_; }
  const std::shared_ptr<const DeviceModel>& on_gpu() const { return on_gpu_; }  // null: it runs on the CPU
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }               // null: the file has none
  const Tokenizer& require_tokenizer() const;                                   // throws Error (NO_TOKENIZER)
  std::shared_ptr<const TokenTrie> token_trie() const;                          // made by the first call; likewise

 private:
  uint64_t held_bytes() const;  // of the memory budget, without sessions

  ModelFile file_;
  const kernels::Table& kernels_;
  Weights weights_;
  WeightSizes sizes_;
  std::unique_ptr<Tokenizer> tokenizer_;
  mutable std::once_flag trie_once_;
  mutable std::shared_ptr<const TokenTrie> trie_;
  const uint64_t memory_budget_;
  mutable std::atomic<uint64_t> reserved_{0};  // bytes of all sessions
  std::shared_ptr<const DeviceModel> on_gpu_;
};

// The kernels that this CPU and SVQ_ISA select; throws Error (UNSUPPORTED).
const kernels::Table& select_kernels();

// Heap that a Model takes: exact for weights, an upper estimate for the tokenizer's tables.
uint64_t model_heap_bytes(const fb::Model& metadata, const Weights& weights);

}  // namespace svq::rt
