// How answers look on the terminal, in a pipe and as JSON; the interactive chat.
#pragma once
#include <string>

#include "tools/run/conversation.h"

namespace svq::tools {

struct OutputOptions {
  bool json = false;
  bool quiet = false;  // no statistics on standard error
};

// Answers one prompt. raw: the text is continued as it stands. Returns the exit code.
int answer_once(Conversation& conversation, const std::string& prompt, bool raw, const OutputOptions& output);

// Lines of standard input are turns; on a terminal with prompts and commands (/help). Returns the exit code.
int chat(Conversation& conversation, Interrupts& interrupts, const svq_model_info& info, bool raw,
         const OutputOptions& output);

}  // namespace svq::tools
