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
constexpr uint32_t kFloatChunk = 256;    // with float activations, where each chunk decodes all codes anew
constexpr uint32_t kDefaultThreads = 8;  // beyond that, memory bandwidth is shared by enough cores

SessionOptions resolve(SessionOptions o, const Config& config, bool gpu = false) {
  if (gpu) o.threads = 1, o.pin_threads = false;  // the caller's, which waits
  if (o.context == 0) o.context = std::min(config.context_length, kDefaultContext);
  if (o.threads == 0) o.threads = std::min(physical_cores(), kDefaultThreads);
  if (o.chunk == 0) o.chunk = gpu ? kGpuChunk : o.activations == 32 ? kFloatChunk : kChunk;
  o.chunk = std::clamp(o.chunk, 1u, o.context);
  o.keep = std::min(o.keep, o.context - 1);
  return o;
}

CudaOptions cuda_options(const SessionOptions& o) {
  return {.context = o.context, .max_tokens = o.chunk, .kv_bits = o.kv_bits, .priority = o.gpu_priority};
}

// Throws Error (UNSUPPORTED) for what the model's device cannot do.
SessionOptions resolve(SessionOptions o, const Model& model) {
  const bool gpu = model.on_gpu() != nullptr;
  if (gpu && o.activations != 8) fail(SVQ_ERROR_UNSUPPORTED, "float activations are there for the CPU alone");
  if (gpu && o.nice != 0) {
    fail(SVQ_ERROR_UNSUPPORTED, "SVQ_SESSION_PRIORITY is for the CPU's threads: on a GPU use SVQ_SESSION_GPU_PRIORITY");
  }
  return resolve(o, model.weights().config, gpu);
}

// Null: the model is not on a GPU. parent: the backend of the session that is forked after `position` tokens, or null.
std::unique_ptr<Backend> gpu_backend(const Model& model, const SessionOptions& o, Backend* parent, uint32_t position) {
  if (model.on_gpu() == nullptr) return nullptr;
  return std::make_unique<CudaBackend>(model.weights(), model.on_gpu(), cuda_options(o),
                                       static_cast<CudaBackend*>(parent), position);
}

ThreadOptions thread_options(const SessionOptions& o) {
  ThreadOptions out{.threads = o.threads, .pin = o.pin_threads, .nice = o.nice, .cpus = {}};
  for (uint32_t c = 0; c < 64; ++c) {
    if (o.affinity >> c & 1) out.cpus.push_back(c);
  }
  if (o.pin_threads && out.cpus.empty()) out.cpus = allowed_cpus();
  return out;
}

}  // namespace

Session::Parts::Parts(const Weights& weights, const kernels::Table& kernels, const SessionOptions& o, ThreadPool* pool,
                      Arena& arena, Arena& cache_arena, std::unique_ptr<Backend> on_gpu)
    : gpu(std::move(on_gpu)),
      backend(gpu != nullptr ? *gpu
                             : cpu.emplace(weights,
                                           CpuOptions{.context = o.context,
                                                      .max_tokens = o.chunk,
                                                      .threads = o.threads,
                                                      .kv_bits = o.kv_bits,
                                                      .float_activations = o.activations == 32},
                                           kernels, pool, arena, cache_arena)),
      forward(weights, backend),
      sampler(weights.config.vocab, arena),
      logits(arena.take<float>(weights.config.vocab)),
      history(arena.take<int32_t>(o.context)) {}

uint64_t session_bytes(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options) {
  return Session::measure(weights, kernels, resolve(options, weights.config)).total();
}

Session::Bytes Session::measure(const Weights& weights, const kernels::Table& kernels, const SessionOptions& resolved) {
  Arena arena, cache_arena;
  const Parts parts(weights, kernels, resolved, nullptr, arena, cache_arena, nullptr);
  return {arena.used(), cache_arena.used(), 0};
}

// On a GPU the arena holds sampler, logits and history alone.
Session::Bytes Session::measure(const Model& model, const SessionOptions& resolved) {
  const Weights& weights = model.weights();
  if (model.on_gpu() == nullptr) return measure(weights, model.kernels(), resolved);
  Arena arena;
  const Sampler sampler(weights.config.vocab, arena);
  arena.take<float>(weights.config.vocab);
  arena.take<int32_t>(resolved.context);
  return {arena.used(), 0, gpu_session_bytes(weights, model.on_gpu().get(), resolved)};
}

uint64_t gpu_session_bytes(const Weights& weights, const DeviceModel* model, const SessionOptions& options) {
  const CudaBackend::Size size =
      CudaBackend::size(weights, model, cuda_options(resolve(options, weights.config, true)));
  return size.device + size.pinned;
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : Session(model, resolve(options, *model), measure(*model, resolve(options, *model)), nullptr) {}

SessionOptions Session::forked(const Session& parent, SessionOptions options) {
  options.context = parent.options_.context;
  options.kv_bits = parent.options_.kv_bits;
  return resolve(options, *parent.model_);
}

Session::Session(Session& parent, SessionOptions options)
    : Session(parent.model_, forked(parent, options), measure(*parent.model_, forked(parent, options)), &parent) {
  std::copy_n(parent.parts_->history, parent.position_, parts_->history);
  if (parent.has_logits_) std::copy_n(parent.logits(), model_->weights().config.vocab, parts_->logits);
  parts_->sampler.settings = parent.parts_->sampler.settings;
  parts_->sampler.seed(parent.parts_->sampler.state());
  position_ = parent.position_;
  has_logits_ = logits_here_ = parent.has_logits_;
  if (parts_->cpu == std::nullopt) return;
  if (frozen_ != nullptr) {
    shared_to_ = position_;
  } else {  // a system without shared pages
    parts_->cpu->cache().copy_from(parent.parts_->cpu->cache(), position_);
  }
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& resolved, const Bytes& bytes,
                 Session* parent)
    : model_(std::move(model)),
      options_(resolved),
      reservation_(model_->reserve(bytes.total())),
      pool_(thread_options(options_)),
      own_(parent == nullptr && bytes.cache != 0 ? SharedPages::create(bytes.cache) : nullptr),
      frozen_(parent == nullptr ? nullptr : parent->freeze()),
      arena_(bytes.arena),
      cache_arena_(own_ != nullptr      ? own_->writable()
                   : frozen_ != nullptr ? frozen_->copy()
                                        : MemoryMap::anonymous(bytes.cache)),
      pace_(options_.threads) {
  parts_.emplace(model_->weights(), model_->kernels(), options_, &pool_, arena_, cache_arena_,
                 gpu_backend(*model_, options_, parent == nullptr ? nullptr : parent->parts_->gpu.get(),
                             parent == nullptr ? 0 : parent->position_));
  if (options_.lock) {
    arena_.memory().lock("the session");
    if (bytes.cache != 0) cache_arena_.memory().lock("the session's KV cache");
  }
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

// Pages whose content is this session's and will not change any more; null if the system has none. Those of an earlier
// call serve again as long as nothing before the current position was written since.
std::shared_ptr<SharedPages> Session::freeze() {
  if (parts_->gpu != nullptr) return nullptr;
  if (own_ == nullptr && (frozen_ == nullptr || shared_to_ < position_)) {
    auto pages = SharedPages::create(cache_arena_.memory().size());
    if (pages == nullptr) return nullptr;
    Arena copy(pages->writable());
    KvCache(model_->weights().config, options_.context, options_.kv_bits, copy)
        .copy_from(parts_->cpu->cache(), position_);
    own_ = std::move(pages);
  }
  if (own_ != nullptr) {
    own_->replace_by_copy(cache_arena_.memory());
    frozen_ = std::move(own_);
    own_ = nullptr;
    shared_to_ = position_;
    if (options_.lock) cache_arena_.memory().lock("the session's KV cache");
  }
  return frozen_;
}

void Session::check_stopped() {
  if (pace_.take_cancel()) fail(SVQ_ERROR_CANCELLED, "cancelled after ", position_, " tokens");
  if (pace_.past_deadline()) {
    fail(SVQ_ERROR_DEADLINE, "the deadline of ", pace_.limits.deadline_us, " microseconds passed after ", position_,
         " tokens");
  }
}

// Drops the oldest tokens behind `keep`, half of them or as many as n takes.
void Session::make_room(uint32_t n) {
  const uint32_t keep = std::min(options_.keep, position_), movable = position_ - keep;
  if (position_ + n <= options_.context) return;
  const uint32_t need = position_ + n - options_.context;
  if (need > movable) {
    fail(SVQ_ERROR_CONTEXT_FULL, n, " tokens beside the ", keep, " to keep do not fit in the context of ",
         options_.context);
  }
  const uint32_t drop = std::max(need, movable / 2);
  parts_->backend.shift_cache(keep, drop, position_);
  std::copy(parts_->history + keep + drop, parts_->history + position_, parts_->history + keep);
  position_ -= drop;
  shared_to_ = std::min(shared_to_, keep);
}

void Session::check_token(int32_t token, size_t index) const {
  const uint32_t vocab = model_->weights().config.vocab;
  if (token < 0 || static_cast<uint32_t>(token) >= vocab) {
    fail(SVQ_ERROR_INVALID_ARGUMENT, "token ", index, " is ", token, ", expected an id below the vocabulary's ", vocab);
  }
}

void Session::eval_together(std::span<Session* const> sessions, std::span<const int32_t> tokens) {
  if (sessions.empty()) return;
  Session& leader = *sessions[0];
  if (leader.parts_->cpu == std::nullopt)
    fail(SVQ_ERROR_UNSUPPORTED, "sessions are evaluated together on the CPU alone");
  for (size_t i = 0; i < sessions.size(); ++i) {
    const Session& s = *sessions[i];
    if (s.model_ != leader.model_)
      fail(SVQ_ERROR_INVALID_ARGUMENT, "session ", i, " is of another model than session 0");
    if (s.options_.activations != leader.options_.activations)
      fail(SVQ_ERROR_INVALID_ARGUMENT, "session ", i, " has activations of ", s.options_.activations,
           " bits, session 0 of ", leader.options_.activations);
    if (std::find(sessions.begin(), sessions.begin() + static_cast<ptrdiff_t>(i), sessions[i]) !=
        sessions.begin() + static_cast<ptrdiff_t>(i))
      fail(SVQ_ERROR_INVALID_ARGUMENT, "session ", i, " is there twice");
    s.check_token(tokens[i], i);
    if (!s.options_.shift && s.position_ == s.options_.context)
      fail(SVQ_ERROR_CONTEXT_FULL, "session ", i, ": its context of ", s.options_.context, " tokens is full");
  }
  constexpr size_t kMost = 64;  // rows on the stack
  while (!sessions.empty()) {
    leader.check_stopped();
    Row rows[kMost];
    const size_t n = std::min<size_t>({sessions.size(), kMost, leader.pace_.next_chunk(leader.options_.chunk)});
    for (size_t i = 0; i < n; ++i) {
      Session& s = *sessions[i];
      if (s.options_.shift) s.make_room(1);
      s.has_logits_ = false;
      s.shared_to_ = std::min(s.shared_to_, s.position_);
      rows[i] = {tokens[i], s.position_, &s.parts_->cpu->cache(), s.parts_->logits};
    }
    if (!leader.parts_->forward.run_rows({rows, n}, leader.pace_)) continue;
    leader.pace_.chunk_done(static_cast<uint32_t>(n));
    for (size_t i = 0; i < n; ++i) {
      Session& s = *sessions[i];
      s.parts_->history[s.position_++] = tokens[i];
      s.has_logits_ = s.logits_here_ = true;
    }
    sessions = sessions.subspan(n);
    tokens = tokens.subspan(n);
  }
}

void Session::eval(std::span<const int32_t> tokens, float* all_logits) {
  const uint32_t vocab = model_->weights().config.vocab;
  for (size_t i = 0; i < tokens.size(); ++i) check_token(tokens[i], i);
  if (!options_.shift && tokens.size() > options_.context - position_) {
    fail(SVQ_ERROR_CONTEXT_FULL, tokens.size(), " tokens after ", position_, " do not fit in the context of ",
         options_.context);
  }
  while (!tokens.empty()) {
    check_stopped();
    const uint32_t most = std::min(pace_.next_chunk(options_.chunk), options_.context - options_.keep);
    const auto chunk = tokens.first(std::min<size_t>(tokens.size(), most));
    const auto n = static_cast<uint32_t>(chunk.size());
    if (options_.shift) make_room(n);
    const bool last = n == tokens.size();
    has_logits_ = false;
    shared_to_ = std::min(shared_to_, position_);
    if (all_logits != nullptr) {
      if (!parts_->forward.run(position_, chunk, 0, all_logits, false, pace_)) {
        check_stopped();
        continue;
      }
      all_logits += uint64_t{n} * vocab;
      if (last) std::memcpy(parts_->logits, all_logits - vocab, vocab * sizeof(float));
      logits_here_ = true;
    } else {
      logits_here_ = !parts_->backend.keeps_logits();
      if (!parts_->forward.run(position_, chunk, n - 1, last && logits_here_ ? parts_->logits : nullptr,
                               last && !logits_here_, pace_)) {
        check_stopped();
        continue;
      }
    }
    pace_.chunk_done(n);
    std::copy(chunk.begin(), chunk.end(), parts_->history + position_);
    position_ += n;
    has_logits_ = last;
    tokens = tokens.subspan(n);
  }
}

int32_t Session::sample(uint64_t room) {
  if (!has_logits_) fail(SVQ_ERROR_STATE, "there are no logits to draw from: evaluate a token first");
  const std::span<const int32_t> history{parts_->history, position_};
  if (matcher_ == nullptr && !logits_here_) {
    if (const auto token = parts_->sampler.sample_top(parts_->backend.top(), history)) return *token;
  }
  if (matcher_ == nullptr) return parts_->sampler.sample(logits(), history);

  const auto draw = [&](const uint64_t* mask) {
    if (std::all_of(mask, mask + matcher_->grammar().words(), [](uint64_t w) { return w == 0; })) {
      fail(SVQ_ERROR_GRAMMAR, matcher_->complete() ? "the grammar's text is complete"
                                                   : "no token of the vocabulary can follow in the grammar");
    }
    return parts_->sampler.sample(logits(), history, mask);
  };
  int32_t token = draw(matcher_->mask());
  if (room != UINT64_MAX && uint64_t{matcher_->least_after(token)} + 2 > room && !model_->tokenizer()->is_end(token)) {
    token = draw(matcher_->closing_mask());
  }
  if (!matcher_->accept(token)) fail(SVQ_ERROR_INTERNAL, "the grammar admits token ", token, " and refuses it");
  return token;
}

void Session::set_grammar(std::shared_ptr<const Grammar> grammar) {
  if (grammar == nullptr) {
    matcher_.reset();
  } else if (matcher_ != nullptr && &matcher_->grammar() == grammar.get()) {
    matcher_->reset();
  } else {
    matcher_ = std::make_unique<Matcher>(std::move(grammar));
  }
}

const float* Session::logits() const {
  if (!has_logits_) return nullptr;
  if (!logits_here_) parts_->backend.fetch_logits(parts_->logits);
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
