#include "runtime/cuda/cuda_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/cuda/layout.h"
#include "runtime/model/forward.h"
#include "schema/packing.h"

namespace svq::rt {
namespace {

constexpr uint32_t kLeastShared = 48 << 10;

bool has_plain_input(const Linear& l) { return !l.is_packed() || l.side_rank != 0; }

}  // namespace

CudaBackend::Layout::Layout(const Weights& w, uint32_t max_shared, const CudaOptions& o, DeviceArena& device,
                            DeviceArena& pinned) {
  const Config& c = w.config;
  const uint64_t n = o.max_tokens, half = c.head_dim / 2;
  uint64_t group_rows = 0;
  bool plain = has_plain_input(w.head);
  uint32_t longest = std::max({w.max_columns, w.max_rotation, c.hidden, c.n_heads * c.head_dim});
  for (const Block& b : w.blocks) {
    const auto rows = [&](std::initializer_list<const Linear*> group) {
      uint64_t sum = 0;
      for (const Linear* l : group) {
        plain = plain || has_plain_input(*l);
        longest = std::max(longest, l->rows);
        if (l->is_packed()) sum += format::padded_rows(l->rows);
      }
      group_rows = std::max(group_rows, sum);
    };
    rows({&b.q, &b.k, &b.v});
    rows({&b.o});
    rows({&b.gate, &b.up});
    rows({&b.down});
  }
  uint64_t scratch_floats = cuda::transform_scratch(cuda::kMaxGroup * n, longest, max_shared);
  if (w.head.output_rotation.kind != 0) {
    scratch_floats = std::max(scratch_floats, cuda::transform_scratch(cuda::kHeadTokens, w.head.rows, max_shared));
  }

  step = device.take<cuda::Step>(1);
  cos = device.take<float>(n * half);
  sin = device.take<float>(n * half);
  code_stride = static_cast<uint32_t>(format::padded_columns(w.max_columns));
  for (uint32_t i = 0; i < cuda::kMaxGroup; ++i) {
    codes[i] = device.take<int8_t>(n * code_stride);
    scales[i] = device.take<cuda::Scale>(n);
  }
  acc = device.take<int32_t>(
      std::max(n * group_rows, w.head.is_packed() ? cuda::kHeadTokens * format::padded_rows(w.head.rows) : 0));
  normed = device.take<float>(plain ? n * w.max_columns : 0);
  side = device.take<float>(n * w.max_side_rank);
  scratch = device.take<float>(scratch_floats);
  logits = device.take<float>(uint64_t{cuda::kHeadTokens} * c.vocab);
  top_scratch = device.take<uint32_t>(cuda::top_k_scratch(c.vocab));
  partial = device.take<float>(cuda::attend_scratch(c.n_heads, c.head_dim, o.context));
  n_counters = std::max(o.max_tokens, cuda::kDecodeTokens * c.n_heads);
  counters = device.take<uint32_t>(n_counters);
  const uint64_t heads = uint64_t{c.n_kv_heads} * cuda::kSegment;
  layer_values = heads * c.head_dim * (o.kv_bits / 8);
  layer_scales = o.kv_bits == 8 ? heads * sizeof(float) : 0;
  page_bytes = 2 * c.n_layers * (layer_values + layer_scales);
  n_pages = cuda::segments_of(o.context);
  pages = device.take<uint8_t*>(n_pages);

  host_step = pinned.take<cuda::Step>(1);
  tokens = pinned.take<int32_t>(n);
  host_cos = pinned.take<float>(n * half);
  host_sin = pinned.take<float>(n * half);
  top = pinned.take<cuda::TopK>(1);
}

CudaBackend::Size CudaBackend::size(const Weights& w, const DeviceModel* model, const CudaOptions& o) {
  DeviceArena device, pinned;
  const Layout layout(w, model == nullptr ? kLeastShared : model->device().info().max_shared, o, device, pinned);
  for (const uint32_t width : Forward::buffer_widths(w)) device.take<float>(uint64_t{o.max_tokens} * width);
  return {device.used() + layout.n_pages * layout.page_bytes, pinned.used(), device.used()};
}

CudaBackend::CudaBackend(const Weights& weights, std::shared_ptr<const DeviceModel> model, const CudaOptions& options,
                         CudaBackend* parent, uint32_t position)
    : w_(weights),
      model_(std::move(model)),
      device_(model_->device()),
      k_(device_.kernels()),
      options_(options),
      max_shared_(device_.info().max_shared),
      multiprocessors_(device_.info().multiprocessors),
      prefetch_bytes_(device_.info().l2 / 2) {
  const Size bytes = size(weights, model_.get(), options_);
  memory_ = DeviceMemory(model_->shared_device(), bytes.one, cuda::Memory::kDevice);
  pinned_ = DeviceMemory(model_->shared_device(), bytes.pinned, cuda::Memory::kHost);
  arena_ = DeviceArena(memory_.data());
  DeviceArena pinned(pinned_.host());
  at_ = std::make_unique<Layout>(w_, max_shared_, options_, arena_, pinned);
  check(device_.create_stream(options_.priority, &stream_));
  check(device_.fill_zero(at_->counters, at_->n_counters * sizeof(uint32_t), stream_));
  in_flight_ = true;
  make_pages(parent, position);
}

CudaBackend::~CudaBackend() {
  if (stream_ == nullptr) return;
  if (step_open_ && mode_ == Mode::kCapture) device_.end_capture(stream_, &graph_);
  device_.synchronize(stream_);
  if (graph_ != nullptr) device_.destroy_graph(graph_);
  device_.destroy_stream(stream_);
}

Buffer CudaBackend::make_buffer(uint32_t width) {
  buffers_.push_back({arena_.take<float>(uint64_t{options_.max_tokens} * width), width, {}});
  return static_cast<Buffer>(buffers_.size() - 1);
}

void CudaBackend::wait() {
  if (!in_flight_) return;
  check(device_.synchronize(stream_));
  in_flight_ = false;
}

// Ends a step: a recorded one is launched.
void CudaBackend::finish_step() {
  if (!step_open_) return;
  step_open_ = false;
  in_flight_ = true;
  if (mode_ == Mode::kCapture) {
    check(device_.end_capture(stream_, &graph_));
    mode_ = Mode::kRun;
  }
  check(device_.launch(graph_, stream_));
}

void CudaBackend::finish() {
  if (step_open_) {  // a step that ended without a head
    const bool recorded = mode_ == Mode::kCapture;
    finish_step();
    wait();
    if (recorded) device_.destroy_graph(std::exchange(graph_, nullptr));  // of no use to steps that want one
  }
  wait();
}

// The host's part of a step is read in place by the step's first kernel, so the step before must have ended: at most
// one chunk is queued at any time.
void CudaBackend::begin(uint32_t position, std::span<const int32_t> tokens) {
  finish();  // of a chunk that an error ended
  n_ = static_cast<uint32_t>(tokens.size());
  own_pages(position, position + n_);
  sum_.set = silu_.set = false;
  for (Activations& b : buffers_) b.product = {};
  *at_->host_step = {position, n_};
  std::copy(tokens.begin(), tokens.end(), at_->tokens);
  const uint32_t half = w_.config.head_dim / 2;
  for (uint32_t t = 0; t < n_; ++t) {
    rotary_turn(w_.config, position + t, w_.config.rope_attention_factor, at_->host_cos + size_t{t} * half,
                at_->host_sin + size_t{t} * half);
  }
  mode_ = Mode::kRun;
  if (n_ != 1 || !options_.graphs) return;
  if (graph_ != nullptr) {
    mode_ = Mode::kReplay;
    step_open_ = true;
  } else if (warm_) {
    check(device_.begin_capture(stream_));
    mode_ = Mode::kCapture;
    step_open_ = true;
  }
}

void CudaBackend::embed(const Linear& l, Buffer xb) {
  if (!recording()) return;
  cuda::Embed e;
  e.n = n_;
  e.columns = l.columns;
  e.half_dim = w_.config.head_dim / 2;
  e.host_step = at_->host_step;
  e.tokens = at_->tokens;
  e.host_cos = at_->host_cos;
  e.host_sin = at_->host_sin;
  if (l.is_packed()) {
    e.packed = model_->packed(l.packed);
    e.affine = model_->affine(l.affine);
    if (l.input_transform >= 0) {
      const InputTransform& t = w_.input_transforms[static_cast<uint32_t>(l.input_transform)];
      e.rotation = model_->rotation(t.rotation);
      e.scale = model_->at(t.scale);
    }
    e.out_scale = model_->at(l.out_scale);
  } else {
    e.f16 = model_->at(l.weight);
  }
  e.x = buffer(xb).data;
  e.step = at_->step;
  e.cos = at_->cos;
  e.sin = at_->sin;
  e.scratch = at_->scratch;
  e.max_shared = max_shared_;
  k_.embed(stream_, e);
  in_flight_ = true;
}

void CudaBackend::rope_and_store(uint32_t layer, Buffer qb, Buffer kb, Buffer vb, const float* q_norm,
                                 const float* k_norm) {
  if (!recording()) return;
  const Config& c = w_.config;
  cuda::Qkv args;
  args.n = n_;
  args.n_heads = c.n_heads;
  args.n_kv_heads = c.n_kv_heads;
  const Buffer from[3] = {qb, kb, vb};
  for (size_t i = 0; i < 3; ++i) {
    Activations& b = buffer(from[i]);
    args.product[i] = std::exchange(b.product, {});
    args.buffer[i] = b.data;
  }
  args.q_norm = model_->at(q_norm);
  args.k_norm = model_->at(k_norm);
  args.eps = c.norm_eps;
  args.cos = at_->cos;
  args.sin = at_->sin;
  args.cache = cache(layer);
  args.step = at_->step;
  args.scratch = at_->scratch;
  args.max_shared = max_shared_;
  const Linear* const next[] = {&w_.blocks[layer].o};
  args.prefetch = prefetch_of(next, 1, 0, prefetch_bytes_ / 2);
  k_.qkv(stream_, args);
}

void CudaBackend::attend(uint32_t layer, Buffer qb, Buffer out) {
  if (!recording()) return;
  const Config& c = w_.config;
  cuda::Attend a;
  a.n = n_;
  a.n_heads = c.n_heads;
  a.n_kv_heads = c.n_kv_heads;
  a.q = buffer(qb).data;
  a.out = buffer(out).data;
  a.cache = cache(layer);
  a.step = at_->step;
  a.window = c.sliding_window;
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  a.partial = at_->partial;
  a.counters = at_->counters;
  const Linear* const next[] = {&w_.blocks[layer].o};
  a.prefetch = prefetch_of(next, 1, prefetch_bytes_ / 2, prefetch_bytes_ / 2);
  k_.attend(stream_, a);
  layer_ = layer;
}

void CudaBackend::silu_mul(Buffer gate, Buffer up) {
  if (recording()) silu_ = {true, gate, up};
}
void CudaBackend::add(Buffer x, Buffer y) {
  if (recording()) sum_ = {true, x, y};
}

void CudaBackend::head(Buffer x, const Norm& norm, const Linear& head, uint32_t first, float* logits) {
  const uint64_t row = w_.config.vocab;
  for (uint32_t at = first; at < n_; at += cuda::kHeadTokens) {
    const uint32_t n = std::min(cuda::kHeadTokens, n_ - at);
    const bool last = at + n == n_;
    if (recording()) {
      run_head(head, norm, x, at, n);
      if (last) k_.top_k(stream_, at_->logits + (n - 1) * row, w_.config.vocab, at_->top_scratch, at_->top);
    }
    if (last) finish_step();
    logits_row_ = n - 1;
    if (logits == nullptr) continue;
    check(device_.copy(logits + (at - first) * row, at_->logits, n * row * sizeof(float), stream_));
    in_flight_ = true;
    wait();
  }
  in_flight_ = true;
  wait();
  warm_ = warm_ || n_ == 1;
}

void CudaBackend::fetch_logits(float* logits) {
  const uint64_t row = w_.config.vocab;
  check(device_.copy(logits, at_->logits + logits_row_ * row, row * sizeof(float), stream_));
  in_flight_ = true;
  wait();
}

std::span<const TopLogit> CudaBackend::top() const {
  static_assert(sizeof(TopLogit) == sizeof(cuda::Candidate));
  if (at_->top->bad != 0) return {};
  return {reinterpret_cast<const TopLogit*>(at_->top->candidate), at_->top->count};
}

}  // namespace svq::rt
