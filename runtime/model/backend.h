// The seam between the forward pass and the device that computes it. forward.cc says what a model does in terms of
// these operations; a backend says how. Activations live in buffers that only the backend can read; tokens come in and
// logits go out through host memory. A backend belongs to one session and holds its KV cache and scratch memory.
//
// Every operation acts on the current chunk: n tokens at consecutive positions, n ≤ max_tokens. What it computes for a
// token must not depend on the chunk around it. Operations may be queued: only head() must have finished on return.
//
// A fork is each backend's own affair (CpuBackend::cache, CudaBackend's constructor).
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "runtime/model/pace.h"
#include "runtime/model/weights.h"
#include "runtime/sampling/top_logit.h"

namespace svq::rt {

// Activations (max_tokens, width) f32 that the backend owns: a handle, valid for the backend that gave it.
enum class Buffer : uint32_t {};

// RMSNorm in front of a group of linears: x / rms(x), times weight if there is one.
struct Norm {
  bool apply = false;
  const float* weight = nullptr;  // (width of x)
};

// One linear of a group that reads the same x.
struct Projection {
  const Linear& linear;
  Buffer out;  // (n, linear.rows)
};

// x += y, or gate = silu(gate) ⊙ up, left to who reads x or gate next.
struct Deferred {
  bool set = false;
  Buffer into{}, from{};
};

struct KvCache;
// A token of a chunk whose tokens belong to different sessions.
struct Row {
  int32_t token;
  uint32_t position;
  const KvCache* cache;  // where its keys and values go, and what it attends to
  float* logits;         // (vocab)
};

class Backend {
 public:
  virtual ~Backend() = default;

  // From here on the operations end early, with nothing of use, once pace.given_up(). Null: they never do.
  void set_pace(Pace* pace) { pace_ = pace; }

  virtual Buffer make_buffer(uint32_t width) = 0;  // when the session is created, never later

  // Starts a chunk: tokens[i] is at position + i. Positions beyond it are forgotten, those before it are cached.
  virtual void begin(uint32_t position, std::span<const int32_t> tokens) = 0;
  // Starts a chunk of one token from each of several sessions' contexts, on a backend whose caches lie in host memory.
  // head() with logits null then writes to the rows' own.
  virtual void begin_rows(std::span<const Row> /*rows*/) {}
  // x = rows of the embedding for the chunk's tokens.
  virtual void embed(const Linear& embedding, Buffer x) = 0;
  // Each out = linear(norm(x)). The norm, each distinct input transform and each rounding to int8 are computed once.
  virtual void project(Buffer x, const Norm& norm, std::span<const Projection> group) = 0;
  // Per head: q = rope(norm(q, q_norm)), k likewise, a null norm meaning none; then k and v enter the layer's cache.
  virtual void rope_and_store(uint32_t layer, Buffer q, Buffer k, Buffer v, const float* q_norm,
                              const float* k_norm) = 0;
  // out = attention of each token's query heads over the layer's cache up to the token itself, within the window.
  virtual void attend(uint32_t layer, Buffer q, Buffer out) = 0;
  virtual void silu_mul(Buffer gate, Buffer up) = 0;  // gate = silu(gate) ⊙ up
  virtual void add(Buffer x, Buffer y) = 0;           // x += y
  // logits (n - first, vocab) of the chunk's tokens from `first` on, in host memory. Null, where keeps_logits(): the
  // last token's stay with the backend.
  virtual void head(Buffer x, const Norm& norm, const Linear& head, uint32_t first, float* logits) = 0;

  // A backend with memory of its own need not copy every token's logits to the host.
  virtual bool keeps_logits() const { return false; }
  // logits (vocab) of the last head()'s last token.
  virtual void fetch_logits(float* /*logits*/) {}
  // The largest of them, in order (ties: the lower id first), -infinity left out. Empty if the backend does not select,
  // or if one of the logits is not a number.
  virtual std::span<const TopLogit> top() const { return {}; }

  // The cache's content for positions [0, n), to save and restore a session: cache_bytes(n) bytes, piece by piece in
  // host memory, keys before values, [layer][kv head][position][head_dim], scales last (model/kv_cache.h). The same on
  // every backend.
  using Sink = std::function<void(const uint8_t* data, uint64_t bytes)>;
  using Source = std::function<void(uint8_t* to, uint64_t bytes)>;  // fills `to`
  virtual uint64_t cache_bytes(uint32_t n) const = 0;
  virtual void read_cache(uint32_t n, const Sink& sink) = 0;
  virtual void write_cache(uint32_t n, const Source& source) = 0;
  // Forgets positions [keep, keep + drop) of n; those behind them move up, their keys turned back by as many positions.
  virtual void shift_cache(uint32_t keep, uint32_t drop, uint32_t n) = 0;

  // A backend that queues a whole chunk: between two operations no time of its work passes. finish() then ends the
  // chunk.
  virtual bool queues() const { return false; }
  virtual void finish() {}

 protected:
  Pace* pace_ = nullptr;
};

}  // namespace svq::rt
