// A loaded model: file, weights, tokenizer and the kernels that will run it. Immutable, shared by sessions.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels-neon/kernels.h"
#include "runtime/cuda/device_model.h"
#include "runtime/file/model_file.h"
#include "runtime/model/weights.h"
#include "runtime/tokenizer/tokenizer.h"

namespace svq::rt {

enum class DeviceKind { kCpu, kCuda, kAuto };

struct ModelOptions {
  bool verify = false;        // every tensor's checksum
  uint64_t memory_limit = 0;  // bytes of the file; 0: none
  bool prefault = false;
  DeviceKind device = DeviceKind::kCpu;  // kAuto: a GPU if one can be used, else the CPU
  uint32_t gpu = 0;                      // which
};

class Model {
 public:
  static std::shared_ptr<const Model> load(const std::string& path, const ModelOptions& options);
  explicit Model(ModelFile file, std::shared_ptr<cuda::Device> gpu = nullptr);

  const ModelFile& file() const { return file_; }
  const fb::Model& metadata() const { return file_.model(); }
  const Weights& weights() const { return weights_; }
  const WeightSizes& sizes() const { return sizes_; }
  const kernels::Table& kernels() const { return kernels_; }
  const std::shared_ptr<const DeviceModel>& on_gpu() const { return on_gpu_; }  // null: it runs on the CPU
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }               // null: the file has none
  const Tokenizer& require_tokenizer() const;                                   // throws Error (NO_TOKENIZER)

 private:
  ModelFile file_;
  const kernels::Table& kernels_;
  Weights weights_;
  WeightSizes sizes_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const DeviceModel> on_gpu_;
};

// The kernels that this CPU and SVQ_ISA select; throws Error (UNSUPPORTED).
const kernels::Table& select_kernels();

// Heap that a Model takes: exact for weights, an upper estimate for the tokenizer's tables.
uint64_t model_heap_bytes(const fb::Model& metadata, const Weights& weights);

}  // namespace svq::rt
