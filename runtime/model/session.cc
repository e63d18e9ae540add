#include "runtime/model/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/cuda/cuda_backend.h"

namespace svq::rt {
namespace {

constexpr uint32_t kDefaultContext = 4096;
constexpr uint32_t kChunk = 64, kGpuChunk = 128;
constexpr uint32_t kDefaultThreads = 8;  // beyond that, memory bandwidth is shared by enough cores

SessionOptions resolve(SessionOptions o, const Config& config, bool gpu = false) {
  if (gpu) o.threads = 1, o.pin_threads = false;  // the caller's, which waits
  if (o.context == 0) o.context = std::min(config.context_length, kDefaultContext);
  if (o.threads == 0) o.threads = std::min(physical_cores(), kDefaultThreads);
  if (o.chunk == 0) o.chunk = gpu ? kGpuChunk : kChunk;
  o.chunk = std::clamp(o.chunk, 1u, o.context);
  return o;
}

CudaOptions cuda_options(const SessionOptions& o) {
  return {.context = o.context, .max_tokens = o.chunk, .kv_bits = o.kv_bits, .priority = o.gpu_priority};
}

// What Parts takes of the arena: on a GPU logits, history and sampler alone.
uint64_t host_bytes(const Model& model, const SessionOptions& o) {
  if (model.on_gpu() == nullptr) return session_bytes(model.weights(), model.kernels(), o) - sizeof(Session);
  Arena arena;
  const Sampler sampler(model.weights().config.vocab, arena);
  arena.take<float>(model.weights().config.vocab);
  arena.take<int32_t>(o.context);
  return arena.used();
}

// Null: the model is not on a GPU.
std::unique_ptr<Backend> gpu_backend(const Model& model, const SessionOptions& o) {
  if (model.on_gpu() == nullptr) return nullptr;
  if (o.activations != 8) fail(SVQ_ERROR_UNSUPPORTED, "float activations are there for the CPU alone");
  return std::make_unique<CudaBackend>(model.weights(), model.on_gpu(), cuda_options(o));
}

ThreadOptions thread_options(const SessionOptions& o) {
  ThreadOptions out{.threads = o.threads, .pin = o.pin_threads, .cpus = {}};
  for (uint32_t c = 0; c < 64; ++c) {
    if (o.affinity >> c & 1) out.cpus.push_back(c);
  }
  if (o.pin_threads && out.cpus.empty()) out.cpus = allowed_cpus();
  return out;
}

}  // namespace

Session::Parts::Parts(const Weights& weights, const kernels::Table& kernels, const SessionOptions& o, ThreadPool* pool,
                      Arena& arena, std::unique_ptr<Backend> gpu)
    : backend(gpu != nullptr ? std::move(gpu)
                             : std::make_unique<CpuBackend>(weights,
                                                            CpuOptions{.context = o.context,
                                                                       .max_tokens = o.chunk,
                                                                       .threads = o.threads,
                                                                       .kv_bits = o.kv_bits,
                                                                       .float_activations = o.activations == 32},
                                                            kernels, pool, arena)),
      forward(weights, *backend),
      sampler(weights.config.vocab, arena),
      logits(arena.take<float>(weights.config.vocab)),
      history(arena.take<int32_t>(o.context)) {}

uint64_t session_bytes(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options) {
  Arena arena;
  const Session::Parts parts(weights, kernels, resolve(options, weights.config), nullptr, arena, nullptr);
  return sizeof(Session) + arena.used();
}

uint64_t gpu_session_bytes(const Weights& weights, const DeviceModel* model, const SessionOptions& options) {
  const CudaBackend::Size size =
      CudaBackend::size(weights, model, cuda_options(resolve(options, weights.config, true)));
  return size.device + size.pinned;
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      options_(resolve(options, model_->weights().config, model_->on_gpu() != nullptr)),
      pool_(thread_options(options_)),
      arena_(host_bytes(*model_, options_)) {
  parts_.emplace(model_->weights(), model_->kernels(), options_, &pool_, arena_, gpu_backend(*model_, options_));
  if (options_.context > model_->weights().config.context_length) {
    log(SVQ_LOG_WARNING, cat("the session's context of ", options_.context, " tokens exceeds the ",
                             model_->weights().config.context_length, " that the model was trained for"));
  }
  if (const fb::Generation* g = model_->metadata().generation(); g != nullptr) {
    SamplerSettings& s = parts_->sampler.settings;
    const auto within = [](float v, double low, double high) { return v >= low && v <= high; };  // false for NaN
    if (within(g->temperature(), 0, 100)) s.temperature = g->temperature();
    if (g->top_k() >= 0) s.top_k = static_cast<uint32_t>(g->top_k());
    if (within(g->top_p(), 1e-6, 1)) s.top_p = g->top_p();
    if (within(g->min_p(), 0, 1)) s.min_p = g->min_p();
    if (within(g->repetition_penalty(), 1e-3, 1e3)) s.repetition_penalty = g->repetition_penalty();
  }
}

void Session::check_cancelled() {
  // Read first: an exchange would take the cache line from a polling thread at every chunk.
  if (cancelled_.load(std::memory_order_relaxed) && cancelled_.exchange(false, std::memory_order_relaxed)) {
    fail(SVQ_ERROR_CANCELLED, "cancelled after ", position_, " tokens");
  }
}

void Session::eval(std::span<const int32_t> tokens, float* all_logits) {
  const uint32_t vocab = model_->weights().config.vocab;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= vocab) {
      fail(SVQ_ERROR_INVALID_ARGUMENT, "token ", i, " is ", tokens[i], ", expected an id below the vocabulary's ",
           vocab);
    }
  }
  if (tokens.size() > options_.context - position_) {
    fail(SVQ_ERROR_CONTEXT_FULL, tokens.size(), " tokens after ", position_, " do not fit in the context of ",
         options_.context);
  }
  while (!tokens.empty()) {
    check_cancelled();
    const auto chunk = tokens.first(std::min<size_t>(tokens.size(), options_.chunk));
    const auto n = static_cast<uint32_t>(chunk.size());
    const bool last = n == tokens.size();
    has_logits_ = false;
    if (all_logits != nullptr) {
      parts_->forward.run(position_, chunk, 0, all_logits);
      all_logits += uint64_t{n} * vocab;
      if (last) std::memcpy(parts_->logits, all_logits - vocab, vocab * sizeof(float));
      logits_here_ = true;
    } else {
      logits_here_ = !parts_->backend->keeps_logits();
      parts_->forward.run(position_, chunk, n - 1, last && logits_here_ ? parts_->logits : nullptr,
                          last && !logits_here_);
    }
    std::copy(chunk.begin(), chunk.end(), parts_->history + position_);
    position_ += n;
    has_logits_ = last;
    tokens = tokens.subspan(n);
  }
}

int32_t Session::sample() {
  if (!has_logits_) fail(SVQ_ERROR_STATE, "there are no logits to draw from: evaluate a token first");
  const std::span<const int32_t> history(parts_->history, position_);
  if (!logits_here_) {
    if (const auto token = parts_->sampler.sample_top(parts_->backend->top(), history)) return *token;
  }
  return parts_->sampler.sample(logits(), history);
}

const float* Session::logits() const {
  if (!has_logits_) return nullptr;
  if (!logits_here_) parts_->backend->fetch_logits(parts_->logits);
  logits_here_ = true;
  return parts_->logits;
}

void Session::truncate(uint64_t position) {
  if (position > position_) {
    fail(SVQ_ERROR_INVALID_ARGUMENT, "truncate to ", position, ": the context holds ", position_, " tokens");
  }
  if (position < position_) has_logits_ = false;
  position_ = static_cast<uint32_t>(position);
}

}  // namespace svq::rt
