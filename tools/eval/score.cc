#include "tools/eval/score.h"

#include <algorithm>
#include <cmath>

namespace svq::tools {

double log_probability(std::span<const float> logits, svq_token token) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float l : logits) sum += std::exp(static_cast<double>(l) - peak);
  const double result = static_cast<double>(logits[static_cast<size_t>(token)]) - peak - std::log(sum);
  if (!std::isfinite(result)) throw Failure("the model's logits are not finite: the file is damaged or not usable");
  return result;
}

Scorer::Scorer(svq_session* session, uint32_t vocab)
    : session_(session),
      vocab_(vocab),
      // At most 40 MB of logits: a large vocabulary must not cost more memory than the model, and 64 tokens are the
      // runtime's chunk.
      slice_(std::clamp<size_t>((size_t{40} << 20) / (sizeof(float) * vocab), 1, 64)),
      logits_(slice_ * vocab) {}

void Scorer::evaluate(std::span<const svq_token> tokens) {
  if (tokens.empty()) return;
  check(svq_session_eval(session_, tokens.data(), tokens.size()));
  held_.insert(held_.end(), tokens.begin(), tokens.end());
  n_evaluated_ += tokens.size();
}

std::span<const double> Scorer::score(std::span<const svq_token> tokens, size_t from) {
  result_.clear();
  const auto common = std::mismatch(tokens.begin(), tokens.end(), held_.begin(), held_.end()).first - tokens.begin();
  // The logits after token from - 1 are needed: that token is evaluated again if it is held.
  const size_t kept = std::min(static_cast<size_t>(common), from - 1);
  check(svq_session_truncate(session_, kept));
  held_.resize(kept);
  evaluate(tokens.subspan(kept, from - 1 - kept));
  for (size_t start = from - 1; start + 1 < tokens.size();) {
    const size_t n = std::min(slice_, tokens.size() - 1 - start);
    check(svq_session_eval_logits(session_, &tokens[start], n, logits_.data()));
    held_.insert(held_.end(), &tokens[start], &tokens[start] + n);
    n_evaluated_ += n;
    for (size_t i = 0; i < n; ++i)
      result_.push_back(log_probability({&logits_[i * vocab_], vocab_}, tokens[start + i + 1]));
    start += n;
  }
  return result_;
}

}  // namespace svq::tools
