// A conversation with a model: turns in its chat format, or plain texts to continue.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/runtime.h"
#include "tools/run/interrupt.h"

namespace svq::tools {

// Absent: the model's own default.
struct SamplerOptions {
  std::optional<double> temperature, top_k, top_p, min_p, repetition_penalty, seed;
};

enum class Stop { kEnd, kLength, kContextFull, kInterrupted };
const char* stop_name(Stop stop);  // as in Python: "end", "max_tokens", "context_full", "cancelled"

struct Answer {
  std::string text;
  Stop stop = Stop::kEnd;
  size_t n_prompt = 0, n_generated = 0;
  double prompt_seconds = 0, generate_seconds = 0;
  bool prompt_too_long =
      false;  // nothing was evaluated: the prompt, n_prompt tokens, does not fit (stop: kContextFull)
};

using OnText = std::function<void(std::string_view)>;  // whole UTF-8 characters, as they come

class Conversation {
 public:
  // max_tokens 0: until the model ends its answer or the context is full. grammar: of every answer, or null. The model
  // outlives the conversation.
  Conversation(svq_model* model, const SessionOptions& session, const SamplerOptions& sampler,
               const svq_grammar* grammar, std::string system, size_t max_tokens, Interrupts& interrupts);

  bool has_chat() const { return has_chat_; }
  const svq_session* session() const { return session_.get(); }

  // One turn in the chat format. The context keeps it; an answer that was cut off is ended before the next turn.
  Answer ask(const std::string& user, const OnText& on_text);
  // The text as it stands, in an empty context.
  Answer complete(const std::string& text, const OnText& on_text);
  void reset();

 private:
  Answer generate(const std::vector<svq_token>& prompt, const OnText& on_text);
  std::vector<svq_token> end_of_answer(std::vector<svq_message> messages) const;

  svq_model* model_;
  SessionPtr session_;
  std::string system_;
  size_t max_tokens_;
  Interrupts& interrupts_;
  bool has_chat_;
  size_t n_turns_ = 0;
  std::vector<svq_token> pending_;  // the end of an answer that was cut off, evaluated with the next turn
};

}  // namespace svq::tools
