#include "tools/run/chat.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tools/common/cli.h"
#include "tools/common/text.h"

namespace svq::tools {
namespace {

double rate(size_t n, double seconds) { return seconds > 0 ? static_cast<double>(n) / seconds : 0; }

// Text from a model as a terminal may show it: control characters other than line break and tab become U+FFFD, so that
// no model can send escape sequences.
std::string harmless(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    const unsigned char next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      out += "\uFFFD";
    } else if (c == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 … U+009F
      out += "\uFFFD";
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

class Printer {
 public:
  Printer(Conversation& conversation, bool raw, const OutputOptions& output)
      : conversation_(conversation), raw_(raw), output_(output), terminal_(isatty(STDOUT_FILENO)) {}

  // Runs a turn and shows it.
  Answer turn(const std::string& prompt) {
    bool line_open = false;
    const OnText show = [&](std::string_view text) {
      if (text.empty() || output_.json) return;
      const std::string shown = terminal_ ? harmless(text) : std::string(text);
      if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0)
        throw Failure("standard output cannot be written");
      line_open = shown.back() != '\n';
    };
    const Answer answer = raw_ ? conversation_.complete(prompt, show) : conversation_.ask(prompt, show);
    if (line_open) fmt::print("\n");
    total_.n_prompt += answer.n_prompt, total_.prompt_seconds += answer.prompt_seconds;
    total_.n_generated += answer.n_generated, total_.generate_seconds += answer.generate_seconds;
    if (output_.json && !answer.prompt_too_long) print(answer);
    std::fflush(stdout);
    return answer;
  }

  void statistics(const Answer& a) const {
    if (output_.quiet || output_.json || a.prompt_too_long) return;
    print_error(fmt::format("[prompt {} tokens, {:.1f} tok/s; answer {} tokens, {:.1f} tok/s{}]\n", a.n_prompt,
                            rate(a.n_prompt, a.prompt_seconds), a.n_generated, rate(a.n_generated, a.generate_seconds),
                            a.stop == Stop::kInterrupted   ? "; stopped"
                            : a.stop == Stop::kContextFull ? "; the context is full"
                                                           : ""));
  }

  const Answer& total() const { return total_; }
  bool terminal() const { return terminal_; }

 private:
  void print(const Answer& a) const {
    print_json({{"text", a.text},
                {"stop", stop_name(a.stop)},
                {"prompt_tokens", a.n_prompt},
                {"generated_tokens", a.n_generated},
                {"prompt_seconds", a.prompt_seconds},
                {"generate_seconds", a.generate_seconds},
                {"prompt_tokens_per_second", rate(a.n_prompt, a.prompt_seconds)},
                {"tokens_per_second", rate(a.n_generated, a.generate_seconds)},
                {"context_tokens", svq_session_position(conversation_.session())},
                {"threads", svq_session_threads(conversation_.session())}},
               false);
  }

  Conversation& conversation_;
  bool raw_;
  OutputOptions output_;
  bool terminal_;
  Answer total_;
};

constexpr const char* kHelp =
    "  /reset   forget the conversation\n"
    "  /stats   tokens in the context, speed, memory\n"
    "  /quit    leave (also Ctrl-D)\n"
    "  A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.\n";

void print_stats(const Conversation& conversation, const Answer& total) {
  const svq_session* s = conversation.session();
  print_error(
      fmt::format("  context {} of {} tokens, {} of memory, {} threads\n"
                  "  so far: prompts {} tokens, {:.1f} tok/s; answers {} tokens, {:.1f} tok/s\n",
                  svq_session_position(s), svq_session_context(s), format_bytes(svq_session_memory(s)),
                  svq_session_threads(s), total.n_prompt, rate(total.n_prompt, total.prompt_seconds), total.n_generated,
                  rate(total.n_generated, total.generate_seconds)));
}

std::string too_long(const Conversation& conversation, const Answer& answer, const char* advice) {
  return fmt::format("the prompt takes {} tokens, and {} of the context's {} are free: {}", answer.n_prompt,
                     svq_session_context(conversation.session()) - svq_session_position(conversation.session()),
                     svq_session_context(conversation.session()), advice);
}

bool use_colour() {
  const char* term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR") && term && std::strcmp(term, "dumb") != 0;
}

}  // namespace

int answer_once(Conversation& conversation, const std::string& prompt, bool raw, const OutputOptions& output) {
  Printer printer(conversation, raw, output);
  const Answer answer = printer.turn(prompt);
  if (answer.prompt_too_long) throw Failure(too_long(conversation, answer, "--context N makes it larger"));
  printer.statistics(answer);
  return answer.stop == Stop::kInterrupted ? kExitInterrupted : kExitOk;
}

int chat(Conversation& conversation, Interrupts& interrupts, const svq_model_info& info, bool raw,
         const OutputOptions& output) {
  const bool interactive = isatty(STDIN_FILENO) && !output.json;
  Printer printer(conversation, raw, output);
  if (interactive) {
    print_error(fmt::format("{}: {}, {:.2f} bits a weight, context {} tokens. /help lists the commands.\n", info.name,
                            format_bytes(info.file_bytes), info.bits_per_weight,
                            svq_session_context(conversation.session())));
    if (raw) print_error("Each line is a text of its own, continued as it stands.\n");
  }
  const bool colour = use_colour();
  bool asked_to_leave = false;
  for (std::string text;;) {
    if (interactive) {
      interrupts.expect_line();
      fmt::print("{}{} {}", colour ? "\033[1;32m" : "", text.empty() ? ">" : "…", colour ? "\033[0m" : "");
      std::fflush(stdout);
    }
    std::string line;
    const Interrupts::Input input = interrupts.read_line(line);
    if (input == Interrupts::Input::kEnd) {
      if (interactive) fmt::print("\n");
      return kExitOk;
    }
    if (input == Interrupts::Input::kInterrupted) {
      if (interactive) fmt::print("\n");
      if (!interactive || asked_to_leave) return kExitInterrupted;
      print_error("Ctrl-C again, or /quit, leaves.\n");
      asked_to_leave = true;
      text.clear();
      continue;
    }
    asked_to_leave = false;
    if (interactive && !line.empty() && line.back() == '\\') {
      line.back() = '\n';
      text += line;
      continue;
    }
    text += line;
    const std::string prompt = std::move(text);
    text.clear();
    if (prompt.find_first_not_of(" \t\n") == std::string::npos) continue;
    if (prompt == "/quit" || prompt == "/exit") return kExitOk;
    if (output.json && (prompt == "/help" || prompt == "/stats" || prompt == "/reset"))
      print_json({{"command", prompt}}, false);  // an object for every line
    if (prompt == "/help") {
      print_error(kHelp);
    } else if (prompt == "/stats") {
      print_stats(conversation, printer.total());
    } else if (prompt == "/reset") {
      conversation.reset();
      if (interactive) print_error("The conversation is forgotten.\n");
    } else if (interactive && prompt[0] == '/' && prompt.find_first_of(" /.", 1) == std::string::npos) {
      print_error(prompt + " is not a command; /help lists them.\n");
    } else {
      const Answer answer = printer.turn(prompt);
      if (answer.prompt_too_long) {
        const std::string sentence = too_long(conversation, answer, "/reset starts over, --context N makes it larger");
        if (!interactive) throw Failure(sentence);
        print_error(sentence + "\n");
        continue;
      }
      printer.statistics(answer);
      if (interactive && answer.stop == Stop::kContextFull && !raw)
        print_error("The context is full: /reset starts over, --context N makes it larger.\n");
      if (!interactive && answer.stop == Stop::kInterrupted) return kExitInterrupted;
    }
  }
}

}  // namespace svq::tools
