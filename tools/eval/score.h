// Log-likelihoods from logits, in double precision.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tools/common/runtime.h"

namespace svq::tools {

// log softmax(logits)[token], in nats. Throws Failure when a logit is not finite.
double log_probability(std::span<const float> logits, svq_token token);

// Evaluates texts one after another in one session; what two texts have in common at their start is evaluated once.
class Scorer {
 public:
  Scorer(svq_session* session, uint32_t vocab);

  // Log probabilities of tokens[from …], each given all tokens before it. from >= 1; the tokens fit in the session.
  // The span is valid until the next call.
  std::span<const double> score(std::span<const svq_token> tokens, size_t from);

  size_t n_evaluated() const { return n_evaluated_; }  // tokens, over all calls

 private:
  void evaluate(std::span<const svq_token> tokens);

  svq_session* session_;
  uint32_t vocab_;
  size_t slice_;               // tokens whose logits are held at once
  std::vector<float> logits_;  // [slice_, vocab]
  std::vector<double> result_;
  std::vector<svq_token> held_;  // the tokens in the session's context
  size_t n_evaluated_ = 0;
};

}  // namespace svq::tools
