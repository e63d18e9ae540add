// svqrun: talks to a .svq model.
#include <fmt/core.h>

#include <optional>

#include "tools/common/cli.h"
#include "tools/run/chat.h"
#include "tools/run/conversation.h"
#include "tools/run/interrupt.h"

using namespace svq::tools;

namespace {

struct Options {
  std::string model;
  std::optional<std::string> prompt;
  uint32_t max_tokens = 0;
  std::string system;
  bool raw = false;
  SamplerOptions sampler;
  SessionOptions session;
  OutputOptions output;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("FILE", o.model, "The model (.svq)")->required()->type_name("");
  app.add_option("-p,--prompt", o.prompt, "Answer this and leave; without it, chat")->type_name("TEXT");
  app.add_option("-n,--tokens", o.max_tokens, "Most tokens of an answer (default: as many as fit)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app.add_option("--system", o.system, "System message (default: the model's own)")->type_name("TEXT");
  app.add_flag("--raw", o.raw, "Continue the prompt as it stands, without the chat format");

  const auto number = [&app](const char* name, std::optional<double>& value, const char* help, double low,
                             double high) {
    app.add_option(name, value, help)->type_name("X")->check(CLI::Range(low, high))->group("Sampling");
  };
  number("--temperature", o.sampler.temperature, "0: always the likeliest token (default: the model's, else 0.8)", 0,
         100);
  number("--top-k", o.sampler.top_k, "Draw from the K likeliest tokens; 0: off (default: the model's, else 40)", 0,
         1 << 30);
  number("--top-p", o.sampler.top_p, "Draw from the likeliest tokens that sum to P; 1: off", 0, 1);
  number("--min-p", o.sampler.min_p, "Draw from tokens at least P times as likely as the likeliest; 0: off", 0, 1);
  number("--repetition-penalty", o.sampler.repetition_penalty, "Above 1: recent tokens become less likely; 1: off",
         0.01, 100);
  number("--seed", o.sampler.seed, "Start of the random numbers (default: 0)", 0, 9007199254740992.0);

  add_threads(app, o.session.threads);
  app.add_option("--context", o.session.context, "Tokens the context holds (default: the model's, at most 4096)")
      ->type_name("N")
      ->check(CLI::Range(1u, 1u << 24));
  add_kv_bits(app, o.session.kv_bits);
  app.add_flag("--json", o.output.json, "One JSON object an answer, on one line, when it is complete");
  app.add_flag("-q,--quiet", o.output.quiet, "No statistics on standard error");
}

int run(const Options& o) {
  Interrupts interrupts;  // before the session's threads start
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());
  Conversation conversation(model.get(), o.session, o.sampler, o.system, o.max_tokens, interrupts);
  const bool raw = o.raw || !conversation.has_chat();
  if (raw && !o.system.empty())
    throw Failure(o.raw ? "--system: has no effect with --raw"
                        : fmt::format("--system: {} has no chat format", o.model));
  if (o.prompt) return answer_once(conversation, *o.prompt, raw, o.output);
  return chat(conversation, interrupts, info, raw, o.output);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Talks to a .svq model: answers a prompt, or chats."};
  describe(app, "svqrun",
           "  svqrun model.svq                                          chat\n"
           "  svqrun model.svq -p \"What is the capital of France?\"\n"
           "  svqrun model.svq -p \"def fibonacci(n):\" --raw -n 100      plain continuation\n"
           "  printf 'Hello\\nWhat did I say?\\n' | svqrun model.svq     one turn a line\n"
           "\nThe same seed, model and machine give the same answer.");
  Options options;
  add_options(app, options);
  return run_program(app, "svqrun", argc, argv, [&] { return run(options); });
}
