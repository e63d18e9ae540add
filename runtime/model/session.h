// One conversation: KV cache, scratch memory, sampler and threads. One caller at a time; cancel() from anywhere.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "runtime/base/arena.h"
#include "runtime/base/shared_pages.h"
#include "runtime/grammar/matcher.h"
#include "runtime/base/thread_pool.h"
#include "runtime/model/cpu_backend.h"
#include "runtime/model/forward.h"
#include "runtime/model/model.h"
#include "runtime/model/pace.h"
#include "runtime/model/session_state.h"
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
  uint64_t affinity = 0;     // bit i: CPU i; 0: any
  bool shift = false;        // when full: the oldest tokens make room
  uint32_t keep = 0;         // first tokens that are never shifted out
  int nice = 0;              // of the workers; 20: idle class
  bool lock = false;         // memory stays resident
  int32_t gpu_priority = 0;  // 0 to 5
};

// Heap bytes of a session with these options.
uint64_t session_bytes(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options);
// Device and pinned memory of a session on a GPU; model null: on any GPU, at most.
uint64_t gpu_session_bytes(const Weights& weights, const DeviceModel* model, const SessionOptions& options);

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);
  // A session that holds what `parent` holds (context, logits, sampler) and shares the pages of its cache until one of
  // the two writes to them. Context and kv_bits of the options are the parent's.
  Session(Session& parent, SessionOptions options);

  const Model& model() const { return *model_; }
  // Appends tokens and evaluates them. all_logits: null, or (n, vocab) to fill. Throws Error: INVALID_ARGUMENT (a token
  // out of range) and CONTEXT_FULL before anything is evaluated, CANCELLED and DEADLINE with whole chunks done.
  void eval(std::span<const int32_t> tokens, float* all_logits);
  // Appends tokens[i] to sessions[i] and evaluates them together, on the first one's threads, in its scratch memory and
  // under its limits. Each gets exactly what eval would give it. Throws Error: INVALID_ARGUMENT (also if the sessions
  // are of different models, or one is there twice), UNSUPPORTED (on a GPU) and CONTEXT_FULL before anything is
  // evaluated; CANCELLED and DEADLINE with the first so many sessions done.
  static void eval_together(std::span<Session* const> sessions, std::span<const int32_t> tokens);
  const float* logits() const;  // (vocab); null: there are none
  // Draws a token; under a grammar one that may follow, and reads it there. room: tokens that may still be drawn, an
  // ending one included: what is drawn leaves enough of them to bring the grammar's text to its end.
  int32_t sample(uint64_t room = UINT64_MAX);
  // From the grammar's beginning; null: none.
  void set_grammar(std::shared_ptr<const Grammar> grammar);
  Matcher* matcher() { return matcher_.get(); }

  uint32_t position() const { return position_; }
  uint32_t context() const { return options_.context; }
  uint32_t threads() const { return options_.threads; }
  bool shifts() const { return options_.shift; }
  void truncate(uint64_t position);
  void cancel() { pace_.cancel(); }
  void check_stopped();  // throws Error: CANCELLED, once per cancel(), or DEADLINE
  Pace& pace() { return pace_; }
  uint64_t memory() const { return sizeof *this + arena_.used() + cache_arena_.used(); }

  // The context as bytes (session_state.cc): model, tokens, cache, logits, random state.
  uint64_t state_bytes() const;
  void save_state(uint8_t* out) const;
  // Everything behind the header to the sink, piece by piece; then the header.
  void save_state(const Backend::Sink& sink, StateHeader* header) const;
  // Throws Error before anything has changed: FORMAT, VERSION, CHECKSUM, MISMATCH (another model), CONTEXT_FULL. `name`
  // is what the bytes are called in it.
  void restore_state(std::span<const uint8_t> state, const std::string& name);
  void restore_state(const StateSource& state, const std::string& name);
  Sampler& sampler() { return parts_->sampler; }
  Utf8Stream& stream() { return stream_; }
  const void* cache_address() { return cache_arena_.memory().data(); }

 private:
  friend uint64_t session_bytes(const Weights&, const kernels::Table&, const SessionOptions&);

  // What lies in the arena. Built twice: on a measuring arena, then on one of that size.
  struct Parts {
    // On the CPU: on_gpu null.
    Parts(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options, ThreadPool* pool,
          Arena& arena, Arena& cache_arena, std::unique_ptr<Backend> on_gpu);
    std::optional<CpuBackend> cpu;
    const std::unique_ptr<Backend> gpu;
    Backend& backend;  // the one of them that there is
    Forward forward;
    Sampler sampler;
    float* logits;     // (vocab) of the last token
    int32_t* history;  // (context) the tokens evaluated
  };

  struct Bytes {
    uint64_t arena, cache, gpu;
    uint64_t total() const { return sizeof(Session) + arena + cache + gpu; }
  };
  static Bytes measure(const Model& model, const SessionOptions& resolved);
  static Bytes measure(const Weights& weights, const kernels::Table& kernels, const SessionOptions& resolved);
  Session(std::shared_ptr<const Model> model, const SessionOptions& resolved, const Bytes& bytes, Session* parent);
  static SessionOptions forked(const Session& parent, SessionOptions options);
  std::shared_ptr<SharedPages> freeze();  // null on a GPU
  void make_room(uint32_t n);
  void check_token(int32_t token, size_t index) const;  // throws Error

  const std::shared_ptr<const Model> model_;
  const SessionOptions options_;
  const Model::Reservation reservation_;
  ThreadPool pool_;
  // The cache's pages. own_: this session's alone so far, written in place. Else what it writes is a copy of its own,
  // and positions [0, shared_to_) are still as they are in frozen_.
  std::shared_ptr<SharedPages> own_, frozen_;
  uint32_t shared_to_ = 0;
  Arena arena_, cache_arena_;
  std::optional<Parts> parts_;
  Utf8Stream stream_;
  std::unique_ptr<Matcher> matcher_;
  Pace pace_;
  uint32_t position_ = 0;
  bool has_logits_ = false;
  mutable bool logits_here_ = false;  // parts_->logits holds them
};

}  // namespace svq::rt
