#include "runtime/model/model.h"

#include <exception>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/cuda/module.h"
#include "runtime/file/tensors.h"

namespace svq::rt {

const kernels::Table& select_kernels() {
  const char* error = nullptr;
  const kernels::Table* table = kernels::select(&error);
  if (table == nullptr) fail(SVQ_ERROR_UNSUPPORTED, error == nullptr ? "no kernels for this CPU" : error);
  return *table;
}

std::shared_ptr<const Model> Model::load(const std::string& path, const ModelOptions& options) {
  ModelFile file = ModelFile::open(path);
  if (options.memory_limit != 0 && file.bytes() > options.memory_limit) {
    fail(SVQ_ERROR_OUT_OF_MEMORY, path, ": ", file.bytes(), " bytes, more than the memory limit of ",
         options.memory_limit);
  }
  std::shared_ptr<cuda::Device> gpu;
  if (options.device != DeviceKind::kCpu) {
    std::string reason;
    gpu = open_gpu(options.gpu, &reason);
    if (gpu == nullptr && options.device == DeviceKind::kCuda)
      fail(SVQ_ERROR_UNSUPPORTED, "no GPU can be used: ", reason);
    if (gpu == nullptr) log(SVQ_LOG_WARNING, cat("running on the CPU, as no GPU can be used: ", reason));
  }
  if (gpu != nullptr && options.lock) {
    fail(SVQ_ERROR_UNSUPPORTED, "SVQ_MODEL_LOCK is for the CPU alone: a GPU has the weights in memory of its own");
  }
  if (options.memory_budget != 0) {
    const Weights weights(file, false);
    const uint64_t heap = model_heap_bytes(file.model(), weights);
    const uint64_t bytes = gpu == nullptr ? file.bytes() : DeviceModel::bytes(file, weights);
    if (bytes + heap > options.memory_budget) {
      fail(SVQ_ERROR_OUT_OF_MEMORY, path, gpu == nullptr ? ": the file's " : ": on the GPU ", bytes, " bytes and ",
           heap, " of memory beside it exceed the budget of ", options.memory_budget);
    }
  }
  if (options.lock) {
    file.lock();
  } else if (options.prefault) {
    file.prefault();
  }
  if (options.verify) verify_checksums(file);
  auto model =
      std::make_shared<const Model>(std::move(file), std::move(gpu), options.memory_budget, options.gpu_mapped);
  log(SVQ_LOG_INFO, cat(path, ": ", model->file().bytes(), " bytes, ", model->sizes().n_parameters,
                        " weights, kernels: ", kernels::isa_name(model->kernels().isa)));
  return model;
}

Model::Model(ModelFile file, std::shared_ptr<cuda::Device> gpu, uint64_t memory_budget, bool gpu_mapped)
    : file_(std::move(file)),
      kernels_(select_kernels()),
      weights_(file_),
      sizes_(measure(file_.model())),
      memory_budget_(memory_budget) {
  if (gpu != nullptr) on_gpu_ = std::make_shared<const DeviceModel>(std::move(gpu), file_, weights_, gpu_mapped);
  const fb::Tokenizer* tables = file_.model().tokenizer();
  if (tables == nullptr) return;
  try {
    tokenizer_ = Tokenizer::create(*tables, weights_.config.vocab);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    fail(SVQ_ERROR_FORMAT, file_.name(), ": ", e.what());
  }
}

uint64_t Model::held_bytes() const {
  return (on_gpu_ == nullptr ? file_.bytes() : DeviceModel::bytes(file_, weights_)) +
         model_heap_bytes(file_.model(), weights_);
}

Model::Reservation Model::reserve(uint64_t session_bytes) const {
  Reservation out(*this, session_bytes);  // takes it back if the budget refuses
  const uint64_t sessions = reserved_.fetch_add(session_bytes, std::memory_order_relaxed) + session_bytes;
  if (memory_budget_ != 0) {
    const uint64_t model = held_bytes();
    if (model + sessions > memory_budget_) {
      fail(SVQ_ERROR_OUT_OF_MEMORY, file_.name(), ": a session of ", session_bytes, " bytes beside the model's ", model,
           " and other sessions' ", sessions - session_bytes, " exceeds the budget of ", memory_budget_);
    }
  }
  return out;
}

const Tokenizer& Model::require_tokenizer() const {
  if (tokenizer_ == nullptr) fail(SVQ_ERROR_NO_TOKENIZER, file_.name(), ": the file holds no tokenizer");
  return *tokenizer_;
}

std::shared_ptr<const TokenTrie> Model::token_trie() const {
  const Tokenizer& tokenizer = require_tokenizer();
  std::call_once(trie_once_, [&] { trie_ = std::make_shared<const TokenTrie>(tokenizer); });
  return trie_;
}

uint64_t model_heap_bytes(const fb::Model& metadata, const Weights& weights) {
  uint64_t bytes = sizeof(Model) + weights.heap_bytes();
  if (const fb::Tokenizer* t = metadata.tokenizer(); t != nullptr) {
    // Tables of tokens and merges, measured on vocabularies of 49 and 152 thousand; SentencePiece's own structures are
    // some ten times its serialised model.
    bytes += 16 * uint64_t{length(t->token_offsets())} + 48 * uint64_t{length(t->merges())} +
             256 * uint64_t{length(t->special())} + 10 * uint64_t{length(t->sentencepiece())};
  }
  return bytes;
}

}  // namespace svq::rt
