#include "tools/run/conversation.h"

#include <exception>

namespace svq::tools {

const char* stop_name(Stop stop) {
  switch (stop) {
    case Stop::kEnd:
      return "end";
    case Stop::kLength:
      return "max_tokens";
    case Stop::kContextFull:
      return "context_full";
    case Stop::kInterrupted:
      return "cancelled";
  }
  return "";
}

Conversation::Conversation(svq_model* model, const SessionOptions& session, const SamplerOptions& sampler,
                           const svq_grammar* grammar, std::string system, size_t max_tokens, Interrupts& interrupts)
    : model_(model),
      session_(create_session(model, session)),
      system_(std::move(system)),
      max_tokens_(max_tokens ? max_tokens : svq_session_context(session_.get())),
      interrupts_(interrupts) {
  const std::string format = model_info(model).chat_format;
  has_chat_ = !format.empty() && format != "none";
  auto set = [&](svq_sampler_parameter parameter, const std::optional<double>& value) {
    if (value) check(svq_session_set_sampler(session_.get(), parameter, *value));
  };
  set(SVQ_SAMPLER_TEMPERATURE, sampler.temperature);
  set(SVQ_SAMPLER_TOP_K, sampler.top_k);
  set(SVQ_SAMPLER_TOP_P, sampler.top_p);
  set(SVQ_SAMPLER_MIN_P, sampler.min_p);
  set(SVQ_SAMPLER_REPETITION_PENALTY, sampler.repetition_penalty);
  set(SVQ_SAMPLER_SEED, sampler.seed);
  check(svq_session_set_grammar(session_.get(), grammar));
}

namespace {

struct Stream {
  const OnText& on_text;
  std::string text;
  std::exception_ptr error;
};

int on_token(const char* text, size_t bytes, svq_token token, void* user) {
  Stream& stream = *static_cast<Stream*>(user);
  try {
    stream.text.append(text, bytes);
    stream.on_text({text, bytes});
    return 0;
  } catch (...) {  // must not pass through the library
    stream.error = std::current_exception();
    return 1;
  }
}

}  // namespace

Answer Conversation::generate(const std::vector<svq_token>& prompt, const OnText& on_text) {
  Answer answer;
  Stream stream{on_text, {}, nullptr};
  const size_t start = svq_session_position(session_.get());
  interrupts_.begin(session_.get());
  svq_status status;
  svq_generate_result result{};
  for (;;) {
    const size_t done = svq_session_position(session_.get()) - start;
    status = svq_session_generate(session_.get(), prompt.data() + done, prompt.size() - done, max_tokens_, on_token,
                                  &stream, &result);
    answer.prompt_seconds += result.prompt_seconds;
    answer.n_prompt += result.n_prompt;
    // A Ctrl-C that came when the answer before was just complete cancels this one: it is not meant.
    const bool stale = status == SVQ_ERROR_CANCELLED && !interrupts_.requested() && result.n_generated == 0 &&
                       svq_session_position(session_.get()) - start < prompt.size();
    if (!stale) break;
  }
  interrupts_.end();
  if (stream.error) std::rethrow_exception(stream.error);
  answer.text = std::move(stream.text);
  answer.n_generated = result.n_generated;
  answer.generate_seconds = result.generate_seconds;
  if (status == SVQ_ERROR_CANCELLED) {
    answer.stop = Stop::kInterrupted;
  } else if (status == SVQ_ERROR_CONTEXT_FULL) {
    answer.stop = Stop::kContextFull;
    answer.prompt_too_long = true;
    answer.n_prompt = prompt.size();
  } else {
    check(status);
    answer.stop = result.stop == 3   ? Stop::kContextFull
                  : result.stop == 1 ? Stop::kLength
                  : result.stop == 4 ? Stop::kInterrupted
                                     : Stop::kEnd;
  }
  return answer;
}

Answer Conversation::ask(const std::string& user, const OnText& on_text) {
  std::vector<svq_message> messages;
  if (n_turns_ == 0 && !system_.empty()) messages.push_back({"system", system_.c_str()});
  messages.push_back({"user", user.c_str()});
  const std::vector<svq_token> turn = chat_tokenize(model_, messages, n_turns_ > 0, true);
  std::vector<svq_token> prompt = pending_;
  prompt.insert(prompt.end(), turn.begin(), turn.end());

  const size_t start = svq_session_position(session_.get());
  const Answer answer = generate(prompt, on_text);
  if (answer.stop != Stop::kEnd && answer.n_generated == 0) {  // as if it had not been asked
    check(svq_session_truncate(session_.get(), start));
    return answer;
  }
  pending_.clear();
  if (answer.stop != Stop::kEnd) pending_ = end_of_answer(messages);
  ++n_turns_;
  return answer;
}

// The token with which the chat format ends an answer, as after an answer that the model ended itself.
std::vector<svq_token> Conversation::end_of_answer(std::vector<svq_message> messages) const {
  messages.push_back({"assistant", "x"});
  std::vector<svq_token> turn = chat_tokenize(model_, messages, n_turns_ > 0, false);
  while (!turn.empty() && !svq_token_is_end(model_, turn.back())) turn.pop_back();
  return turn.empty() ? turn : std::vector<svq_token>{turn.back()};
}

Answer Conversation::complete(const std::string& text, const OnText& on_text) {
  reset();
  const std::vector<svq_token> prompt = tokenize(model_, text, SVQ_TOKENIZE_ADD_SPECIAL | SVQ_TOKENIZE_PARSE_SPECIAL);
  if (prompt.empty()) throw Failure("the prompt is empty");
  return generate(prompt, on_text);
}

void Conversation::reset() {
  check(svq_session_truncate(session_.get(), 0));
  pending_.clear();
  n_turns_ = 0;
}

}  // namespace svq::tools
