#include "runtime/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {
constexpr float kLowest = -std::numeric_limits<float>::infinity();

[[noreturn]] void bad_logit(size_t id) {
  fail(SVQ_ERROR_INTERNAL, "the logit of token ", id, " is not a number: the model's weights are damaged or overflow");
}
bool is_bad(float logit) { return std::isnan(logit) || logit == -kLowest; }
}  // namespace

Sampler::Sampler(uint32_t vocab, Arena& arena)
    : vocab_(vocab), candidates_(arena.take<Candidate>(vocab)), recent_(arena.take<uint8_t>(vocab)) {}

double Sampler::uniform() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

void Sampler::mark(std::span<const int32_t> history, bool value) {
  for (const int32_t id : history) recent_[id] = value;
}

float Sampler::penalised(float logit, int32_t id) const {
  if (recent_[id] == 0) return logit;
  const auto penalty = static_cast<float>(settings.repetition_penalty);
  return logit > 0 ? logit / penalty : logit * penalty;
}

int32_t Sampler::sample(const float* logits, std::span<const int32_t> history) {
  for (size_t i = 0; i < vocab_; ++i) {
    if (is_bad(logits[i])) bad_logit(i);
  }
  std::span<const int32_t> window;
  if (settings.repetition_penalty != 1.0)
    window = history.last(std::min<size_t>(history.size(), settings.repetition_window));
  mark(window, true);
  const int32_t token = settings.temperature == 0 ? greedy(logits) : draw(logits);
  mark(window, false);
  if (token < 0) fail(SVQ_ERROR_INTERNAL, "every logit is -infinity: no token can be drawn");
  return token;
}

int32_t Sampler::greedy(const float* logits) const {
  int32_t best = -1;
  float best_logit = kLowest;
  for (uint32_t i = 0; i < vocab_; ++i) {
    const float logit = penalised(logits[i], static_cast<int32_t>(i));
    if (logit > best_logit) {
      best_logit = logit;
      best = static_cast<int32_t>(i);
    }
  }
  return best;
}

int32_t Sampler::draw(const float* logits) {
  Candidate* const begin = candidates_;
  Candidate* end = begin;
  float top = kLowest;
  for (uint32_t i = 0; i < vocab_; ++i) {
    const float logit = penalised(logits[i], static_cast<int32_t>(i));
    if (logit == kLowest) continue;
    top = std::max(top, logit);
    *end++ = {logit, static_cast<int32_t>(i)};
  }
  if (end == begin) return -1;

  const auto larger = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (settings.top_k > 0 && settings.top_k < static_cast<size_t>(end - begin)) {
    std::nth_element(begin, begin + settings.top_k, end, larger);
    end = begin + settings.top_k;
  }
  const auto weight = [&](const Candidate& c, double temperature) {
    return std::exp((static_cast<double>(c.logit) - static_cast<double>(top)) / temperature);
  };
  std::sort(begin, end, larger);
  if (settings.top_p < 1.0) {
    double total = 0, sum = 0;
    for (const Candidate* c = begin; c != end; ++c) total += weight(*c, 1.0);
    for (Candidate* c = begin; c != end; ++c) {
      sum += weight(*c, 1.0);
      if (sum >= settings.top_p * total) end = c + 1;
      if (c + 1 == end) break;
    }
  }
  if (settings.min_p > 0) {
    while (end - begin > 1 && weight(end[-1], 1.0) < settings.min_p) --end;  // the first one's weight is 1
  }

  double total = 0;
  for (const Candidate* c = begin; c != end; ++c) total += weight(*c, settings.temperature);
  double left = uniform() * total;
  for (const Candidate* c = begin; c != end; ++c) {
    left -= weight(*c, settings.temperature);
    if (left < 0) return c->id;
  }
  return begin->id;  // rounding left a crumb: the most probable
}

}  // namespace svq::rt
