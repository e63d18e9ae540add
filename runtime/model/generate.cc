#include "runtime/model/generate.h"

#include <algorithm>
#include <chrono>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

enum Stop : int32_t { kEndToken = 0, kMaxTokens = 1, kCallback = 2, kContextFull = 3, kCancelled = 4, kDeadline = 5 };

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

uint32_t longest_step(const Pace& pace) {
  return static_cast<uint32_t>(std::min<uint64_t>(pace.longest_step_us(), UINT32_MAX));
}

}  // namespace

void generate(Session& session, std::span<const int32_t> prompt, size_t max_tokens, svq_stream_fn fn, void* user,
              svq_generate_result& result) {
  result = {};
  const Tokenizer* tokenizer = session.model().tokenizer();
  const uint32_t before = session.position();
  auto start = Clock::now();
  bool in_prompt = true;
  Pace& pace = session.pace();
  pace.begin_call();
  try {
    session.eval(prompt, nullptr);
    session.check_stopped();
    result.n_prompt = prompt.size();
    result.prompt_seconds = seconds_since(start);
    in_prompt = false;
    start = Clock::now();
    session.stream().reset();

    Matcher* const matcher = session.matcher();
    const auto room = [&] {  // tokens that may still be drawn
      const uint64_t left = max_tokens - result.n_generated;
      return session.shifts() ? left : std::min<uint64_t>(left, session.context() - session.position());
    };
    if (matcher != nullptr) {
      matcher->reset();
      if (max_tokens != 0 && uint64_t{matcher->least()} + 1 > room()) {
        fail(SVQ_ERROR_CONTEXT_FULL, "the grammar's shortest text takes ", matcher->least(),
             " bytes and an end: more than the ", room(), " tokens there is room for");
      }
    }

    result.stop = kMaxTokens;
    uint64_t token_us = 0;  // that the last one took: no token is begun that would not be finished in time
    while (result.n_generated < max_tokens) {
      if (session.position() == session.context() && !session.shifts()) {
        result.stop = kContextFull;
        break;
      }
      if (!pace.has_time_for(token_us)) {
        result.stop = kDeadline;
        break;
      }
      const uint64_t token_start = pace.now();
      if (matcher != nullptr && matcher->finished() && (tokenizer == nullptr || tokenizer->ends().empty())) {
        result.stop = kEndToken;  // a vocabulary without an end token
        break;
      }
      const int32_t token = session.sample(matcher == nullptr ? UINT64_MAX : room());
      const bool end = tokenizer != nullptr && tokenizer->is_end(token);
      bool stop = false;
      if (!end) {
        ++result.n_generated;
        const auto text =
            session.stream().push(tokenizer == nullptr ? std::string_view() : tokenizer->token_bytes(token));
        stop = fn != nullptr && fn(text.data(), text.size(), token, user) != 0;
      }
      session.eval({&token, 1}, nullptr);
      token_us = pace.now() - token_start;
      if (end || stop) {
        result.stop = end ? kEndToken : kCallback;
        break;
      }
    }
    result.generate_seconds = seconds_since(start);
    result.longest_step_us = longest_step(pace);
  } catch (const Error& e) {
    if (in_prompt) {
      result.n_prompt = session.position() - before;
      result.prompt_seconds = seconds_since(start);
    } else {
      result.generate_seconds = seconds_since(start);
    }
    result.longest_step_us = longest_step(pace);
    if (e.status() == SVQ_ERROR_DEADLINE) {
      result.stop = kDeadline;
      return;
    }
    if (e.status() == SVQ_ERROR_CANCELLED) result.stop = kCancelled;
    throw;
  }
}

}  // namespace svq::rt
