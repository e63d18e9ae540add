// One conversation: KV cache, scratch memory, sampler and threads. One caller at a time; cancel() from anywhere.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "runtime/base/arena.h"
#include "runtime/base/thread_pool.h"
#include "runtime/model/cpu_backend.h"
#include "runtime/model/forward.h"
#include "runtime/model/model.h"
#include "runtime/sampling/sampler.h"
#include "runtime/base/utf8_stream.h"

namespace svq::rt {

struct SessionOptions {
  uint32_t context = 0;      // 0: min(model's, 4096)
  uint32_t threads = 0;      // 0: physical cores, at most 8
  uint32_t kv_bits = 16;     // 16 or 8
  uint32_t chunk = 0;        // tokens; 0: 64, on a GPU 128
  uint32_t activations = 8;  // 8 or 32
  bool pin_threads = false;
  uint64_t affinity = 0;  // bit i: CPU i; 0: any
  int32_t gpu_priority = 0;
};

// Heap bytes of a session with these options.
uint64_t session_bytes(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options);
// Device and pinned memory of a session on a GPU; model null: on any GPU, at most.
uint64_t gpu_session_bytes(const Weights& weights, const DeviceModel* model, const SessionOptions& options);

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);

  const Model& model() const { return *model_; }
  // Appends tokens and evaluates them. all_logits: null, or (n, vocab) to fill. Throws Error: INVALID_ARGUMENT (a token
  // out of range) and CONTEXT_FULL before anything is evaluated, CANCELLED between chunks.
  void eval(std::span<const int32_t> tokens, float* all_logits);
  const float* logits() const;  // (vocab); null: there are none
  int32_t sample();

  uint32_t position() const { return position_; }
  uint32_t context() const { return options_.context; }
  uint32_t threads() const { return options_.threads; }
  void truncate(uint64_t position);
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  void check_cancelled();  // throws Error (CANCELLED), once per cancel()
  uint64_t memory() const { return sizeof *this + arena_.used(); }
  Sampler& sampler() { return parts_->sampler; }
  Utf8Stream& stream() { return stream_; }

 private:
  friend uint64_t session_bytes(const Weights&, const kernels::Table&, const SessionOptions&);

  // What lies in the arena. Built twice: on a measuring arena, then on one of that size.
  struct Parts {
    // On the CPU: gpu null.
    Parts(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options, ThreadPool* pool,
          Arena& arena, std::unique_ptr<Backend> gpu);
    std::unique_ptr<Backend> backend;
    Forward forward;
    Sampler sampler;
    float* logits;     // (vocab) of the last token
    int32_t* history;  // (context) the tokens evaluated
  };

  const std::shared_ptr<const Model> model_;
  const SessionOptions options_;
  ThreadPool pool_;
  Arena arena_;
  std::optional<Parts> parts_;
  Utf8Stream stream_;
  uint32_t position_ = 0;
  bool has_logits_ = false;
  mutable bool logits_here_ = false;  // parts_->logits holds them
  std::atomic<bool> cancelled_{false};
};

}  // namespace svq::rt
