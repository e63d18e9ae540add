#include "runtime/model/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace svq::rt {
namespace {

constexpr uint32_t kDefaultContext = 4096;
constexpr uint32_t kDefaultThreads = 8;  // beyond that, memory bandwidth is shared by enough cores

SessionOptions resolve(SessionOptions o, const Config& config) {
  if (o.context == 0) o.context = std::min(config.context_length, kDefaultContext);
  if (o.threads == 0) o.threads = std::min(physical_cores(), kDefaultThreads);
  o.chunk = std::clamp(o.chunk, 1u, o.context);
  o.keep = std::min(o.keep, o.context - 1);
  return o;
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
                      Arena& arena, Arena& cache_arena)
    : backend(weights,
              {.context = o.context,
               .max_tokens = o.chunk,
               .threads = o.threads,
               .kv_bits = o.kv_bits,
               .float_activations = o.activations == 32},
              kernels, pool, arena, cache_arena),
      forward(weights, backend),
      sampler(weights.config.vocab, arena),
      logits(arena.take<float>(weights.config.vocab)),
      history(arena.take<int32_t>(o.context)) {}

uint64_t session_bytes(const Weights& weights, const kernels::Table& kernels, const SessionOptions& options) {
  return Session::measure(weights, kernels, resolve(options, weights.config)).total();
}

Session::Bytes Session::measure(const Weights& weights, const kernels::Table& kernels, const SessionOptions& resolved) {
  Arena arena, cache_arena;
  const Parts parts(weights, kernels, resolved, nullptr, arena, cache_arena);
  return {arena.used(), cache_arena.used()};
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : Session(model, resolve(options, model->weights().config),
              measure(model->weights(), model->kernels(), resolve(options, model->weights().config)), nullptr) {}

Session::Session(Session& parent, SessionOptions options)
    : Session(
          parent.model_,
          [&] {
            options.context = parent.options_.context;
            options.kv_bits = parent.options_.kv_bits;
            return resolve(options, parent.model_->weights().config);
          }(),
          [&] {
            options.context = parent.options_.context;
            options.kv_bits = parent.options_.kv_bits;
            return measure(parent.model_->weights(), parent.model_->kernels(),
                           resolve(options, parent.model_->weights().config));
          }(),
          &parent) {
  std::copy_n(parent.parts_->history, parent.position_, parts_->history);
  if (parent.has_logits_) std::copy_n(parent.parts_->logits, model_->weights().config.vocab, parts_->logits);
  parts_->sampler.settings = parent.parts_->sampler.settings;
  parts_->sampler.seed(parent.parts_->sampler.state());
  position_ = parent.position_;
  has_logits_ = parent.has_logits_;
  if (frozen_ != nullptr) {
    shared_to_ = position_;
  } else {  // a system without shared pages
    parts_->backend.cache().copy_from(parent.parts_->backend.cache(), position_);
  }
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& resolved, const Bytes& bytes,
                 Session* parent)
    : model_(std::move(model)),
      options_(resolved),
      reservation_(model_->reserve(bytes.total())),
      pool_(thread_options(options_)),
      own_(parent == nullptr ? SharedPages::create(bytes.cache) : nullptr),
      frozen_(parent == nullptr ? nullptr : parent->freeze()),
      arena_(bytes.arena),
      cache_arena_(own_ != nullptr      ? own_->writable()
                   : frozen_ != nullptr ? frozen_->copy()
                                        : MemoryMap::anonymous(bytes.cache)),
      pace_(options_.threads) {
  parts_.emplace(model_->weights(), model_->kernels(), options_, &pool_, arena_, cache_arena_);
  if (options_.lock) {
    arena_.memory().lock("the session");
    cache_arena_.memory().lock("the session's KV cache");
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
  if (own_ == nullptr && (frozen_ == nullptr || shared_to_ < position_)) {
    auto pages = SharedPages::create(cache_arena_.memory().size());
    if (pages == nullptr) return nullptr;
    Arena copy(pages->writable());
    KvCache(model_->weights().config, options_.context, options_.kv_bits, copy)
        .copy_from(parts_->backend.cache(), position_);
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

void Session::eval(std::span<const int32_t> tokens, float* all_logits) {
  const uint32_t vocab = model_->weights().config.vocab;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= vocab) {
      fail(SVQ_ERROR_INVALID_ARGUMENT, "token ", i, " is ", tokens[i], ", expected an id below the vocabulary's ",
           vocab);
    }
  }
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
      if (!parts_->forward.run(position_, chunk, 0, all_logits, pace_)) {
        check_stopped();
        continue;
      }
      all_logits += uint64_t{n} * vocab;
      if (last) std::memcpy(parts_->logits, all_logits - vocab, vocab * sizeof(float));
    } else {
      if (!parts_->forward.run(position_, chunk, n - 1, last ? parts_->logits : nullptr, pace_)) {
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
  if (matcher_ == nullptr) return parts_->sampler.sample(parts_->logits, history);

  const auto draw = [&](const uint64_t* mask) {
    if (std::all_of(mask, mask + matcher_->grammar().words(), [](uint64_t w) { return w == 0; })) {
      fail(SVQ_ERROR_GRAMMAR, matcher_->complete() ? "the grammar's text is complete"
                                                   : "no token of the vocabulary can follow in the grammar");
    }
    return parts_->sampler.sample(parts_->logits, history, mask);
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

void Session::truncate(uint64_t position) {
  if (position > position_) {
    fail(SVQ_ERROR_INVALID_ARGUMENT, "truncate to ", position, ": the context holds ", position_, " tokens");
  }
  if (position < position_) has_logits_ = false;
  position_ = static_cast<uint32_t>(position);
}

}  // namespace svq::rt
