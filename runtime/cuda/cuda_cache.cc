// A session's KV cache on a GPU: pages of kSegment positions that forks share, and the table through which kernels find
// them.
#include <algorithm>
#include <atomic>
#include <utility>

#include "runtime/cuda/layout.h"

namespace svq::rt {

cuda::Cache CudaBackend::cache(uint32_t layer) const {
  cuda::Cache out;
  const uint64_t all_values = w_.config.n_layers * at_->layer_values,
                 all_scales = w_.config.n_layers * at_->layer_scales;
  out.bits = options_.kv_bits;
  out.positions = options_.context;
  out.head_dim = w_.config.head_dim;
  out.pages = at_->pages;
  out.k = layer * at_->layer_values;
  out.v = all_values + out.k;
  out.k_scale = 2 * all_values + layer * at_->layer_scales;
  out.v_scale = out.k_scale + all_scales;
  return out;
}

void CudaBackend::copy_now(void* to, const void* from, uint64_t bytes) {
  check(device_.copy(to, from, bytes, stream_));
  in_flight_ = true;
  wait();
}

void CudaBackend::publish_pages() {
  std::vector<uint8_t*> table;
  for (const auto& page : pages_) table.push_back(page->data());
  copy_now(at_->pages, table.data(), table.size() * sizeof(uint8_t*));
}

// The page at the border of what is forked and what follows is copied at once: both sessions go on in it.
void CudaBackend::make_pages(CudaBackend* parent, uint32_t position) {
  if (parent != nullptr) parent->finish();
  const uint32_t whole = position / cuda::kSegment;
  for (uint32_t i = 0; i < at_->n_pages; ++i) {
    if (parent != nullptr && i < whole) {
      pages_.push_back(parent->pages_[i]);
      continue;
    }
    pages_.push_back(std::make_shared<DeviceMemory>(model_->shared_device(), at_->page_bytes, cuda::Memory::kDevice));
    if (parent != nullptr && i == whole && position % cuda::kSegment != 0) {
      check(device_.copy(pages_[i]->data(), parent->pages_[i]->data(), at_->page_bytes, stream_));
    }
  }
  publish_pages();
}

void CudaBackend::own_pages(uint32_t begin, uint32_t end) {
  bool changed = false;
  for (uint32_t i = begin / cuda::kSegment; i * cuda::kSegment < end; ++i) {
    if (pages_[i].use_count() == 1) {
      std::atomic_thread_fence(std::memory_order_acquire);  // another session let go of it after its copy
      continue;
    }
    auto own = std::make_shared<DeviceMemory>(model_->shared_device(), at_->page_bytes, cuda::Memory::kDevice);
    copy_now(own->data(), pages_[i]->data(), at_->page_bytes);  // before the other's is let go
    pages_[i] = std::move(own);
    changed = true;
  }
  if (changed) publish_pages();
}

template <class Visit>
void CudaBackend::each_run(uint32_t n, const Visit& visit) {
  const Config& c = w_.config;
  const uint64_t runs = uint64_t{c.n_layers} * c.n_kv_heads, value = c.head_dim * (options_.kv_bits / 8);
  uint64_t at = 0;                         // in a page
  const auto part = [&](uint64_t width) {  // bytes of a position
    for (uint64_t run = 0; run < runs; ++run, at += cuda::kSegment * width) {
      for (uint32_t page = 0; page * cuda::kSegment < n; ++page) {
        visit(pages_[page]->data() + at, std::min(cuda::kSegment, n - page * cuda::kSegment) * width);
      }
    }
  };
  part(value);
  part(value);
  if (options_.kv_bits == 16) return;
  part(sizeof(float));
  part(sizeof(float));
}

// One run of a page at a time, through memory of the host.
void CudaBackend::read_cache(uint32_t n, const Sink& sink) {
  finish();
  std::vector<uint8_t> run;
  each_run(n, [&](const uint8_t* data, uint64_t bytes) {
    run.resize(bytes);
    copy_now(run.data(), data, bytes);
    sink(run.data(), bytes);
  });
}

void CudaBackend::write_cache(uint32_t n, const Source& source) {
  finish();
  own_pages(0, n);
  std::vector<uint8_t> run;
  each_run(n, [&](uint8_t* data, uint64_t bytes) {
    run.resize(bytes);
    source(run.data(), bytes);
    copy_now(data, run.data(), bytes);
  });
}

void CudaBackend::shift_cache(uint32_t keep, uint32_t drop, uint32_t n) {
  finish();
  own_pages(keep, n - drop);
  const Config& c = w_.config;
  rotary_turn(c, -static_cast<double>(drop), 1, at_->host_cos, at_->host_sin);
  cuda::Shift s;
  s.n_layers = c.n_layers;
  s.n_kv_heads = c.n_kv_heads;
  s.from = keep + drop;
  s.to = keep;
  s.count = n - keep - drop;
  s.cache = cache(0);
  s.values = at_->layer_values;
  s.scales = at_->layer_scales;
  s.cos = at_->host_cos;
  s.sin = at_->host_sin;
  if (s.count != 0) k_.shift(stream_, s);
  in_flight_ = true;
  wait();
}

}  // namespace svq::rt
