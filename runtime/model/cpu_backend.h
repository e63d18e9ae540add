// The forward pass's operations on this machine's CPU: the kernels of kernels-neon/ and the session's threads.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels-neon/kernels.h"
#include "runtime/base/arena.h"
#include "runtime/base/thread_pool.h"
#include "runtime/model/backend.h"
#include "runtime/model/kv_cache.h"

namespace svq::rt {

struct CpuOptions {
  uint32_t context = 0;      // positions of the KV cache
  uint32_t max_tokens = 64;  // of a chunk
  uint32_t threads = 1;
  uint32_t kv_bits = 16;           // 16: f16, 8: int8
  bool float_activations = false;  // packed linears on f32 instead of int8 activations
};

class CpuBackend final : public Backend {
 public:
  // All memory comes from the arenas, here and in make_buffer; the KV cache's from its own, which may be shared. With
  // measuring arenas nothing may be run and pool may be null.
  CpuBackend(const Weights& weights, const CpuOptions& options, const kernels::Table& kernels, ThreadPool* pool,
             Arena& arena, Arena& cache_arena);

  Buffer make_buffer(uint32_t width) override;
  void begin(uint32_t position, std::span<const int32_t> tokens) override;
  void begin_rows(std::span<const Row> rows) override;
  void embed(const Linear& embedding, Buffer x) override;
  void project(Buffer x, const Norm& norm, std::span<const Projection> group) override;
  void rope_and_store(uint32_t layer, Buffer q, Buffer k, Buffer v, const float* q_norm, const float* k_norm) override;
  void attend(uint32_t layer, Buffer q, Buffer out) override;
  void silu_mul(Buffer gate, Buffer up) override;
  void add(Buffer x, Buffer y) override;
  void head(Buffer x, const Norm& norm, const Linear& head, uint32_t first, float* logits) override;

  uint64_t cache_bytes(uint32_t n) const override { return n * KvCache::bytes_per_token(w_.config, options_.kv_bits); }
  void read_cache(uint32_t n, const Sink& sink) override { cache_.for_each_run(n, sink); }
  void write_cache(uint32_t n, const Source& source) override { cache_.for_each_run(n, source); }
  void shift_cache(uint32_t keep, uint32_t drop, uint32_t n) override;

  const KvCache& cache() const { return cache_; }

 private:
  static constexpr size_t kMaxGroup = 3;  // linears that read the same x: q, k, v

  struct Activations {
    float* data;
    uint32_t width;
  };
  struct alignas(64) Scratch {  // of one thread
    int32_t* acc;               // (kAccValues)
    float* rotate;              // (max_columns, max_rotation: the larger)
    float* row;                 // (max_columns, kTileRows: the larger)
    float* attended;            // (kAttendQueries, head_dim) of one span
    uint16_t* block;            // (16, max_columns) codes in f16, for float activations
    uint64_t unpolled = 0;      // work since its last poll
  };
  struct Target {  // one linear of a group and where its outputs go
    const Linear* linear;
    float* out;  // (n, linear->rows)
    size_t stride;
    const Row* rows = nullptr;  // if not null: out is each row's logits
    float* row(uint32_t token) const { return rows != nullptr ? rows[token].logits : out + token * stride; }
  };
  struct Inputs {  // what a group reads
    float* x;      // (n, columns)
    size_t stride;
    uint32_t n;
    Norm norm;
    // Done first, with the same stride: x += sum; x = silu(x) ⊙ up. Null: nothing.
    const float* sum = nullptr;
    const float* up = nullptr;
  };
  // Tokens from `first` on of a buffer, with what was deferred.
  Inputs inputs(Buffer x, const Norm& norm, uint32_t first = 0);

  // cpu_linear.cc
  void run_group(const Inputs& in, std::span<const Target> targets);
  void list_groups();
  void note_ahead(uint32_t linear, uint32_t part);
  void finish_input(const Inputs& in, uint32_t token, uint32_t columns);
  void prepare_token(const Inputs& in, uint32_t token, const Linear& l, bool norm, bool rotate, uint32_t thread);
  void side_inputs(const Inputs& in, uint32_t token, std::span<const Target> targets);
  void multiply(const Inputs& in, const Target& target, uint32_t block_begin, uint32_t block_end, uint32_t thread);
  void multiply_f16(const Inputs& in, const Target& target, uint32_t block_begin, uint32_t block_end, uint32_t thread);
  static uint32_t tile_blocks(uint32_t columns);
  void multiply_packed(uint32_t n, const Target& target, uint32_t block_begin, uint32_t block_end, uint32_t thread);
  void finish_token(const Target& target, uint32_t index, uint32_t token, uint32_t thread);

  void turn_rows();

  void attend_rows(uint32_t layer, uint64_t begin, uint64_t end, const Activations& q, const Activations& out,
                   uint32_t thread);
  void attend_spans(uint32_t layer, const Activations& q, const Activations& out);
  bool attend_part(uint32_t layer, uint32_t kv_head, const KvCache& cache, std::span<const kernels::AttendQuery> part,
                   uint32_t thread);

  Activations& buffer(Buffer b) { return buffers_[static_cast<uint32_t>(b)]; }
  // job(token, thread) for every token of n, in parallel if there are several.
  template <class Job>
  void each_token(uint32_t n, const Job& job) {
    if (n == 1) {
      job(0u, 0u);
      return;
    }
    pool_->split(n, [&](uint64_t begin, uint64_t end, uint32_t thread) {
      for (uint64_t t = begin; t < end && !stopped(thread, kPollWork / 4); ++t) job(static_cast<uint32_t>(t), thread);
    });
  }
  // To be asked before `work` (bytes touched, times tokens) is done in part `thread`: true: it is not to be done.
  bool stopped(uint32_t thread, uint64_t work) {
    if (pace_ == nullptr) return false;
    Scratch& s = scratch_[thread];
    s.unpolled += work;
    if (s.unpolled < kPollWork) return pace_->given_up();
    s.unpolled = 0;
    return pace_->poll();
  }
  // job(begin, end, thread) over [0, n); on the caller alone when `work`, in bytes touched, would not pay for waking
  // others.
  template <class Job>
  void split(uint64_t n, uint64_t work, const Job& job) {
    if (work < kParallelBytes) {
      job(uint64_t{0}, n, 0u);
    } else {
      pool_->split(n, job);
    }
  }
  static constexpr uint64_t kParallelBytes = 16384;  // some 2 µs of work; a dispatch takes about 1 µs
  static constexpr uint64_t kPollWork = 256 << 10;   // tens of µs; a look takes some 30 ns
  static constexpr uint64_t kPieceBytes = 16384;   // of codes: what a thread takes at a time when one token is decoded
  static constexpr size_t kMostAhead = 128 << 10;  // more of it brought nothing (machine C, 2 threads)
  static constexpr uint32_t kAttendQueries = 32;   // handed to the kernel at once, which takes four at a time
  // Positions attended to at a time, from a multiple on: what they hold stays in the second-level cache from four
  // queries to the next, and threads share one token's. Results over spans are put together in their order, however
  // many threads there are.
  static constexpr uint32_t kSpan = 256;
  static constexpr uint32_t kTileRows = 256;    // rows of a chunk multiplied before they are scaled, in cache
  static constexpr uint32_t kAccValues = 4096;  // at least; (tokens of a chunk) · kTileRows

  const Weights& w_;
  const CpuOptions options_;
  const kernels::Table& k_;
  ThreadPool* pool_;
  Arena& arena_;
  KvCache cache_;
  std::vector<Activations> buffers_;
  std::vector<Scratch> scratch_;  // (threads)

  // The current chunk.
  uint32_t n_ = 0;
  Deferred sum_, silu_;
  Row* rows_;               // (max_tokens)
  uint32_t positions_ = 0;  // the most that one of its tokens attends to
  float* span_out_;         // (n_heads, spans of the context, head_dim) of one token
  float* span_state_;       // (n_heads, spans of the context, 2)
  float* rope_cos_;         // (max_tokens, head_dim / 2)
  float* rope_sin_;         // (max_tokens, head_dim / 2)

  // The current group of linears.
  uint32_t k_pad_;                 // padded max_columns: stride of what follows
  float* normed_;                  // (max_tokens, k_pad) norm(x)
  float* rotated_;                 // (max_tokens, k_pad) u = H (scale ⊙ norm(x))
  float* z_;                       // (max_tokens, k_pad) Aᵀu, zero beyond the columns
  int8_t* codes_;                  // (max_tokens, k_pad) z rounded to int8
  kernels::Quantized* quantized_;  // (max_tokens)
  uint8_t* panel_;                 // codes_ as the gemm kernel wants them
  float* side_;                    // (max_tokens, kMaxGroup, max_side_rank) side_v x
  size_t acc_values_;

  std::vector<std::vector<const Linear*>> groups_;  // in the order in which a token reads them
  std::vector<uint32_t> group_of_;                  // (n_linears)
  size_t ahead_bytes_;                              // that a waiting thread fetches
};

}  // namespace svq::rt
