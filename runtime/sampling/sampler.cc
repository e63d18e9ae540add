#include "runtime/sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// NaN or +infinity, by bits: a loop that compilers turn into vectors.
bool is_bad(float logit) {
  const auto bits = std::bit_cast<uint32_t>(logit);
  return (bits & 0x7FFFFFFF) > 0x7F800000 || bits == 0x7F800000;
}

void check(const float* logits, uint32_t n) {
  uint32_t bad = 0;
  for (uint32_t i = 0; i < n; ++i) bad |= is_bad(logits[i]);
  if (bad == 0) return;
  const float* first = std::find_if(logits, logits + n, is_bad);
  fail(SVQ_ERROR_INTERNAL, "the logit of token ", first - logits,
       " is not a number: the model's weights are damaged or overflow");
}

float maximum(const float* values, uint32_t n) {
  constexpr uint32_t kLanes = 16;  // independent maxima
  float top[kLanes];
  std::fill_n(top, kLanes, kLowest);
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (uint32_t j = 0; j < kLanes; ++j) top[j] = values[i + j] > top[j] ? values[i + j] : top[j];
  }
  float out = *std::max_element(top, top + kLanes);
  for (; i < n; ++i) out = std::max(out, values[i]);
  return out;
}

double weight(float logit, float top, double temperature) {
  return std::exp((static_cast<double>(logit) - static_cast<double>(top)) / temperature);
}

}  // namespace

Sampler::Sampler(uint32_t vocab, Arena& arena)
    : vocab_(vocab),
      candidates_(arena.take<Candidate>(vocab)),
      penalised_(arena.take<float>(vocab)),
      seen_(arena.take<uint8_t>(vocab)) {}

double Sampler::uniform() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

int32_t Sampler::sample(const float* logits, std::span<const int32_t> history, const uint64_t* allowed) {
  check(logits, vocab_);
  if (settings.repetition_penalty != 1.0) {
    logits = penalise(logits, history.last(std::min<size_t>(history.size(), settings.repetition_window)));
  }
  if (allowed != nullptr) logits = exclude(logits, allowed);
  if (settings.temperature != 0) return draw(logits);
  const float top = maximum(logits, vocab_);
  if (top == kLowest) fail(SVQ_ERROR_INTERNAL, "every logit is -infinity: no token can be drawn");
  return static_cast<int32_t>(std::find(logits, logits + vocab_, top) - logits);
}

const float* Sampler::exclude(const float* logits, const uint64_t* allowed) {
  for (uint32_t begin = 0; begin < vocab_; begin += 64) {
    const uint64_t word = allowed[begin / 64];
    const uint32_t n = std::min(64u, vocab_ - begin);
    if (word == 0) {
      std::fill_n(penalised_ + begin, n, kLowest);
    } else if (word != ~uint64_t{0}) {
      for (uint32_t i = 0; i < n; ++i) penalised_[begin + i] = (word >> i & 1) != 0 ? logits[begin + i] : kLowest;
    } else if (logits != penalised_) {
      std::memcpy(penalised_ + begin, logits + begin, n * sizeof(float));
    }
  }
  return penalised_;
}

std::optional<int32_t> Sampler::sample_top(std::span<const TopLogit> top, std::span<const int32_t> history) {
  const bool greedy = settings.temperature == 0;
  const auto window = history.last(std::min<size_t>(history.size(), settings.repetition_window));
  const bool penalised = settings.repetition_penalty != 1.0 && !window.empty();
  // A penalty of 1 or more moves tokens down: the largest afterwards are among as many more before.
  const size_t keep = greedy ? 1 : settings.top_k, needed = keep + (penalised ? window.size() : 0);
  if (keep == 0 || (!greedy && keep >= vocab_) || needed > top.size() || settings.repetition_penalty < 1.0)
    return std::nullopt;
  Candidate* end = std::copy_n(top.begin(), needed, candidates_);
  if (penalised) {
    const auto penalty = static_cast<float>(settings.repetition_penalty);
    for (Candidate* c = candidates_; c != end; ++c) {
      if (std::find(window.begin(), window.end(), c->id) == window.end()) continue;
      c->logit = c->logit > 0 ? c->logit / penalty : c->logit * penalty;
    }
    std::sort(candidates_, end, before);
    end = candidates_ + keep;
  }
  if (greedy) return candidates_->id;
  return draw(end, candidates_->logit, true);
}

const float* Sampler::penalise(const float* logits, std::span<const int32_t> window) {
  std::memcpy(penalised_, logits, vocab_ * sizeof(float));
  const auto penalty = static_cast<float>(settings.repetition_penalty);
  for (const int32_t id : window) {
    if (seen_[id] != 0) continue;
    seen_[id] = 1;
    penalised_[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
  for (const int32_t id : window) seen_[id] = 0;
  return penalised_;
}

// The top_k largest, in order, by a heap whose root is the smallest kept: few logits pass the comparison with it.
Sampler::Candidate* Sampler::collect_largest(const float* logits) {
  Candidate* const begin = candidates_;
  Candidate* const full = begin + settings.top_k;
  Candidate* end = begin;
  uint32_t i = 0;
  for (; i < vocab_ && end != full; ++i) {
    if (logits[i] != kLowest) *end++ = {logits[i], static_cast<int32_t>(i)};
  }
  std::make_heap(begin, end, before);
  for (; i < vocab_; ++i) {
    if (!(logits[i] > begin->logit)) continue;  // an equal one has the higher id
    std::pop_heap(begin, end, before);
    end[-1] = {logits[i], static_cast<int32_t>(i)};
    std::push_heap(begin, end, before);
  }
  std::sort_heap(begin, end, before);
  return end;
}

// All, in the order of ids; with top-p the most probable first as far as needed. min-p is a cut of the same order as
// top-p and can be made at once where top-p does not need what it drops.
Sampler::Candidate* Sampler::collect(const float* logits, float top) {
  const bool cut = settings.min_p > 0 && settings.top_p >= 1.0;
  const double least = static_cast<double>(top) + (cut ? std::log(settings.min_p) : 0.0);
  Candidate* end = candidates_;
  for (uint32_t i = 0; i < vocab_; ++i) {
    if (logits[i] == kLowest || (cut && static_cast<double>(logits[i]) < least)) continue;
    *end++ = {logits[i], static_cast<int32_t>(i)};
  }
  return end;
}

// Orders candidates as far as the shortest prefix with the share top_p reaches, and returns its end.
Sampler::Candidate* Sampler::cut_top_p(Candidate* end, float top) {
  double total = 0, sum = 0;
  for (const Candidate* c = candidates_; c != end; ++c) total += weight(c->logit, top, 1.0);
  Candidate* sorted = candidates_;  // what lies before is in order
  for (ptrdiff_t step = 256; sorted != end; step *= 4) {
    Candidate* next = end - sorted > step ? sorted + step : end;
    if (next != end) std::nth_element(sorted, next, end, before);
    std::sort(sorted, next, before);
    for (; sorted != next; ++sorted) {
      sum += weight(sorted->logit, top, 1.0);
      if (sum >= settings.top_p * total) return sorted + 1;
    }
  }
  return end;
}

int32_t Sampler::draw(const float* logits) {
  const float top = maximum(logits, vocab_);
  if (top == kLowest) fail(SVQ_ERROR_INTERNAL, "every logit is -infinity: no token can be drawn");
  const bool few = settings.top_k > 0 && settings.top_k < vocab_;
  Candidate* end = few ? collect_largest(logits) : collect(logits, top);
  return draw(end, top, few);
}

// Of candidates_ … end, whose largest is `top`; ordered: they are.
int32_t Sampler::draw(Candidate* end, float top, bool ordered) {
  ordered = ordered || settings.top_p < 1.0;
  if (settings.top_p < 1.0) end = cut_top_p(end, top);
  if (settings.min_p > 0 && ordered) {
    while (end - candidates_ > 1 && weight(end[-1].logit, top, 1.0) < settings.min_p) --end;
  }

  double total = 0;
  for (const Candidate* c = candidates_; c != end; ++c) total += weight(c->logit, top, settings.temperature);
  double left = uniform() * total;
  for (const Candidate* c = candidates_; c != end; ++c) {
    left -= weight(c->logit, top, settings.temperature);
    if (left < 0) return c->id;
  }
  // Rounding left a crumb over: the last that counts.
  while (end - candidates_ > 1 && weight(end[-1].logit, top, settings.temperature) == 0) --end;
  return end[-1].id;
}

}  // namespace svq::rt
