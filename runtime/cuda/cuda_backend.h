// The forward pass's operations on a GPU. forward.cc's operations are recorded rather than run one by one: a product
// stays in integers until its consumer is known, so that its output transform, a residual sum or silu(gate) ⊙ up, the
// norm and the next input transform become one kernel (kernels-cuda/README.md). A step of one token is captured once as
// a graph and replayed.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/cuda/device_model.h"
#include "runtime/model/backend.h"
#include "runtime/model/kv_cache.h"

namespace svq::rt {

struct CudaOptions {
  uint32_t context = 0;      // positions of the KV cache
  uint32_t max_tokens = 64;  // of a chunk
  uint32_t kv_bits = 16;
  int priority = 0;    // of the stream; larger is served first
  bool graphs = true;  // capture steps of one token
};

// Memory laid out once: measured with a null base, then handed out.
class DeviceArena {
 public:
  explicit DeviceArena(uint8_t* base = nullptr) : base_(base) {}
  template <class T>
  T* take(uint64_t count) {
    const uint64_t at = used_;
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  uint64_t used() const { return used_; }

 private:
  uint8_t* base_;
  uint64_t used_ = 0;
};

class CudaBackend final : public Backend {
 public:
  struct Size {
    uint64_t device = 0, pinned = 0;
    uint64_t one = 0;  // of device, in one piece; the rest are pages of the cache
  };
  // Memory of a session that shares none of its cache. model null: as for a GPU with 48 KB of shared memory a block,
  // which needs the most.
  static Size size(const Weights& weights, const DeviceModel* model, const CudaOptions& options);

  // parent: a session's of the same context and kv_bits, whose first `position` positions this one begins with; whole
  // pages of its cache are shared until one of the two writes to them.
  CudaBackend(const Weights& weights, std::shared_ptr<const DeviceModel> model, const CudaOptions& options,
              CudaBackend* parent = nullptr, uint32_t position = 0);
  ~CudaBackend() override;

  Buffer make_buffer(uint32_t width) override;
  void begin(uint32_t position, std::span<const int32_t> tokens) override;
  void embed(const Linear& embedding, Buffer x) override;
  void project(Buffer x, const Norm& norm, std::span<const Projection> group) override;
  void rope_and_store(uint32_t layer, Buffer q, Buffer k, Buffer v, const float* q_norm, const float* k_norm) override;
  void attend(uint32_t layer, Buffer q, Buffer out) override;
  void silu_mul(Buffer gate, Buffer up) override;
  void add(Buffer x, Buffer y) override;
  void head(Buffer x, const Norm& norm, const Linear& head, uint32_t first, float* logits) override;
  bool keeps_logits() const override { return true; }
  void fetch_logits(float* logits) override;
  std::span<const TopLogit> top() const override;
  bool queues() const override { return true; }
  void finish() override;

  uint64_t cache_bytes(uint32_t n) const override { return n * KvCache::bytes_per_token(w_.config, options_.kv_bits); }
  void read_cache(uint32_t n, const Sink& sink) override;
  void write_cache(uint32_t n, const Source& source) override;
  void shift_cache(uint32_t keep, uint32_t drop, uint32_t n) override;

 private:
  struct Layout;  // of the arenas

  // A buffer, and the product whose output transform it waits for (rows 0: none, the buffer holds its values).
  struct Activations {
    float* data;
    uint32_t width;
    cuda::Product product;
  };
  enum class Mode { kRun, kCapture, kReplay };

  Activations& buffer(Buffer b) { return buffers_[static_cast<uint32_t>(b)]; }
  bool recording() const { return mode_ != Mode::kReplay; }
  void check(const char* error) const { check_device(device_, error); }
  void finish_step();
  void wait();

  // cuda_cache.cc
  cuda::Cache cache(uint32_t layer) const;
  void make_pages(CudaBackend* parent, uint32_t position);
  void own_pages(uint32_t begin, uint32_t end);  // positions to be written: no page of theirs is shared any more
  void publish_pages();
  void copy_now(void* to, const void* from, uint64_t bytes);  // and waits
  template <class Visit>
  void each_run(uint32_t n, const Visit& visit);  // visit(device memory, bytes) of positions [0, n), as KvCache's

  // cuda_linear.cc
  cuda::Prefetch prefetch_of(const Linear* const* members, size_t count, uint64_t from, uint64_t bytes) const;
  void materialise(Buffer b);
  void settle();  // nothing deferred or in integers is left
  cuda::Input input_of(Buffer x, const Norm& norm, uint32_t columns, uint32_t n, uint32_t first) const;
  void set_transform(cuda::Input* in, const Linear& leader, uint32_t slot) const;
  cuda::Product product_of(const Linear& l, uint32_t slot, int32_t* acc) const;
  void multiply(const Linear* const* members, int32_t* const* acc, size_t count, uint32_t slot, uint32_t n);
  void f16(const uint16_t* w, uint32_t rows, uint32_t columns, const float* x, const float* bias, float* y, uint32_t n,
           bool add);
  void side_path(const Linear& l, const float* x, float* y, uint32_t n);
  void run_head(const Linear& l, const Norm& norm, Buffer x, uint32_t first, uint32_t n);

  const Weights& w_;
  const std::shared_ptr<const DeviceModel> model_;
  cuda::Device& device_;
  const cuda::Kernels& k_;
  const CudaOptions options_;
  const uint32_t max_shared_, multiprocessors_;
  const uint64_t prefetch_bytes_;  // that one kernel may bring to the L2 cache for the next: half of it
  DeviceMemory memory_, pinned_;
  std::unique_ptr<Layout> at_;
  std::vector<std::shared_ptr<DeviceMemory>> pages_;  // of the cache, kSegment positions each
  DeviceArena arena_;  // goes on where the layout ended: make_buffer
  std::vector<Activations> buffers_;
  cuda::Stream stream_ = nullptr;
  cuda::Graph graph_ = nullptr;

  uint32_t n_ = 0;  // tokens of the current chunk
  Mode mode_ = Mode::kRun;
  bool step_open_ = false;  // a captured or replayed step that has not been launched
  bool in_flight_ = false;  // work was queued since the last wait
  bool warm_ = false;       // a step of one token ran: kernels are loaded, attributes set
  Deferred sum_, silu_;
  uint32_t layer_ = 0;       // that was attended to last
  uint32_t logits_row_ = 0;  // of at_->logits: the last token's
};

}  // namespace svq::rt
