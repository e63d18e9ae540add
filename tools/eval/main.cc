// svqeval: how good a .svq model is.
#include "tools/common/cli.h"
#include "tools/eval/choices.h"
#include "tools/eval/perplexity.h"

using namespace svq::tools;

namespace {

void add_session_options(CLI::App& app, SessionOptions& session) {
  add_threads(app, session.threads);
  add_kv_bits(app, session.kv_bits);
  app.add_option("--activations", session.activations,
                 "Bits of an activation in packed linears: 8 (default), or 32 for float arithmetic (slow)")
      ->type_name("BITS")
      ->check(one_of({"8", "32"}));
}

// "\n" and "\t" as a shell passes them on.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '\\' && (next == 'n' || next == 't' || next == '\\')) {
      out += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures the quality of a .svq model."};
  describe(app, "svqeval",
           "  svqeval perplexity model.svq --text wikitext-test.txt --chunks 16\n"
           "  svqeval perplexity model.svq --text wikitext-test.txt --context 2048 --json\n"
           "  svqeval choices model.svq --tasks piqa.jsonl --limit 500");
  app.require_subcommand(1);

  PerplexityOptions perplexity;
  CLI::App* p = app.add_subcommand("perplexity", "Perplexity of a text, cut into chunks");
  p->footer("\nExample:\n  svqeval perplexity model.svq --text wikitext-test.txt --context 512 --chunks 16");
  p->add_option("FILE", perplexity.model, "The model (.svq)")->required()->type_name("");
  p->add_option("--text", perplexity.text, "The text, a plain file")->required()->type_name("TEXT");
  p->add_option("--context", perplexity.context, "Tokens of a chunk (default: 512)")
      ->type_name("N")
      ->transform(integer_between(4, 1 << 24));
  p->add_option("--chunks", perplexity.chunks, "Chunks to evaluate (default: all)")
      ->type_name("N")
      ->transform(integer_between(1, 1 << 30));
  p->add_option_function<std::string>(
       "--score", [&](const std::string& what) { perplexity.score_all = what == "all"; },
       "Predictions that count: half (the second half of each chunk, llama.cpp's rule; default) or all")
      ->type_name("WHAT")
      ->check(CLI::IsMember({"half", "all"}));
  p->add_flag("--parse-special", perplexity.parse_special,
              "Control tokens written in the text, such as <|im_end|>, are these tokens: for chats");
  add_session_options(*p, perplexity.session);
  p->add_flag("--json", perplexity.json, "Report as JSON");

  ChoicesOptions choices;
  CLI::App* c = app.add_subcommand("choices", "Accuracy on multiple-choice tasks, without examples");
  c->footer(
      "\nA line of TASKS is one of\n"
      "  {\"query\": …, \"choices\": […, …], \"gold\": 0}\n"
      "  {\"context_options\": […, …], \"continuation\": …, \"gold\": 0}\n"
      "\nExample:\n  svqeval choices model.svq --tasks arc_easy.jsonl --limit 500");
  c->add_option("FILE", choices.model, "The model (.svq)")->required()->type_name("");
  c->add_option("--tasks", choices.tasks, "The tasks, one JSON object a line")->required()->type_name("TASKS");
  c->add_option("--limit", choices.limit, "Tasks to evaluate, from the first (default: all)")
      ->type_name("N")
      ->transform(integer_between(1, 1 << 30));
  c->add_option("--delimiter", choices.delimiter, "What goes between query and choice (default: \"\\nAnswer: \")")
      ->type_name("TEXT");
  add_session_options(*c, choices.session);
  c->add_flag("--json", choices.json, "Report as JSON");

  return run_program(app, "svqeval", argc, argv, [&] {
    if (p->parsed()) return run_perplexity(perplexity);
    choices.delimiter = unescaped(choices.delimiter);
    return run_choices(choices);
  });
}
