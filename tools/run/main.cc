// svqrun: talks to a .svq model.
#include <fmt/core.h>

#include <optional>

#include "tools/common/cli.h"
#include "tools/common/text.h"
#include "tools/run/chat.h"
#include "tools/run/conversation.h"
#include "tools/run/interrupt.h"

using namespace svq::tools;

namespace {

struct Options {
  std::string model, device = "cpu";
  std::optional<std::string> prompt;
  uint32_t max_tokens = 0;
  std::string system, grammar, schema;
  bool raw = false;
  SamplerOptions sampler;
  SessionOptions session;
  OutputOptions output;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("FILE", o.model, "The model (.svq)")->required()->type_name("");
  app.add_option("-p,--prompt", o.prompt, "Answer this and leave; without it, chat")
      ->type_name("TEXT")
      ->check(CLI::Validator([](std::string& text) { return text.empty() ? "is empty, expected text" : ""; }, ""));
  app.add_option("-n,--tokens", o.max_tokens, "Most tokens of an answer (default: as many as fit)")
      ->type_name("N")
      ->transform(integer_between(1, 1 << 30));
  app.add_option("--system", o.system, "System message (default: the model's own)")->type_name("TEXT");
  app.add_flag("--raw", o.raw, "Continue the prompt as it stands, without the chat format");
  CLI::Option* grammar =
      app.add_option("--grammar", o.grammar, "Answers follow this grammar (GBNF)")->type_name("FILE");
  app.add_option("--schema", o.schema, "Answers are JSON that satisfies this JSON Schema")
      ->type_name("FILE")
      ->excludes(grammar);

  const auto sampling = [&app](const char* name, std::optional<double>& value, const char* type, const char* help,
                               const CLI::Validator& check) {
    app.add_option(name, value, help)->type_name(type)->transform(check)->group("Sampling");
  };
  sampling("--temperature", o.sampler.temperature, "T",
           "0: always the likeliest token (default: the model's, else 0.8)", number_between(0, 100));
  sampling("--top-k", o.sampler.top_k, "K", "Draw from the K likeliest; 0: off (default: the model's, else 40)",
           integer_between(0, 1 << 30));
  sampling("--top-p", o.sampler.top_p, "P",
           "Draw from the likeliest that sum to P; 1: off (default: the model's, else 0.95)", number_between(0, 1));
  sampling("--min-p", o.sampler.min_p, "P",
           "Draw from those at least P times as likely as the likeliest; 0: off (default: the model's, else 0.05)",
           number_between(0, 1));
  sampling("--repetition-penalty", o.sampler.repetition_penalty, "R",
           "Above 1: recent tokens become less likely; 1: off", number_between(0.01, 100));
  sampling("--seed", o.sampler.seed, "S", "Start of the random numbers (default: 0)",
           integer_between(0, int64_t{1} << 53));

  add_threads(app, o.session.threads);
  add_device(app, o.device);
  app.add_option("--context", o.session.context, "Tokens the context holds (default: the model's, at most 4096)")
      ->type_name("N")
      ->transform(integer_between(1, 1 << 24));
  add_kv_bits(app, o.session.kv_bits);
  app.add_flag("--json", o.output.json, "One JSON object an answer (or /command), on one line, when it is complete");
  app.add_flag("-q,--quiet", o.output.quiet, "No statistics on standard error");
}

int run(const Options& o) {
  Interrupts interrupts;  // before the session's threads start
  const ModelPtr model = load_model(o.model, o.device);
  const svq_model_info info = model_info(model.get());
  const GrammarPtr grammar = !o.grammar.empty()  ? load_grammar(model.get(), SVQ_GRAMMAR_GBNF, o.grammar)
                             : !o.schema.empty() ? load_grammar(model.get(), SVQ_GRAMMAR_JSON_SCHEMA, o.schema)
                                                 : nullptr;
  Conversation conversation(model.get(), o.session, o.sampler, grammar.get(), o.system, o.max_tokens, interrupts);
  const size_t context = svq_session_context(conversation.session());
  if (context > info.context_length && !o.output.quiet)
    print_error(fmt::format("svqrun: note: the context holds {} tokens, the model was trained on {}",
                            format_thousands(context), format_thousands(info.context_length)));
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
           "  svqrun model.svq -p \"Pick up the red cube.\" --schema action.json   JSON for a program\n"
           "  printf 'Hello\\nWhat did I say?\\n' | svqrun model.svq     one turn a line\n"
           "\nThe same seed, model and machine give the same answer.");
  Options options;
  add_options(app, options);
  return run_program(app, "svqrun", argc, argv, [&] { return run(options); });
}
