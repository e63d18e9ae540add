#include "tools/eval/perplexity.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <cstdio>

#include "tools/common/cli.h"
#include "tools/common/text.h"
#include "tools/eval/score.h"

namespace svq::tools {
namespace {

// Running mean of the negative log-likelihood and of its square.
struct Tally {
  double sum = 0, sum_squares = 0;
  uint64_t n = 0;

  void add(double log_probability) {
    sum -= log_probability;
    sum_squares += log_probability * log_probability;
    ++n;
  }
  double mean() const { return sum / static_cast<double>(n); }
  double perplexity() const { return std::exp(mean()); }
  // Standard error of the perplexity: d exp(m) = exp(m) dm.
  double error() const {
    if (n < 2) return 0;
    const double variance = std::max(0.0, sum_squares / static_cast<double>(n) - mean() * mean());
    return perplexity() * std::sqrt(variance / static_cast<double>(n - 1));
  }
};

}  // namespace

int run_perplexity(const PerplexityOptions& o) {
  const std::string text = read_file(o.text);
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());
  if (info.context_length && o.context > info.context_length)
    throw Failure(
        fmt::format("--context {}: {} was trained for {} positions", o.context, o.model, info.context_length));

  uint32_t flags = SVQ_TOKENIZE_ADD_SPECIAL;
  if (o.parse_special) flags |= SVQ_TOKENIZE_PARSE_SPECIAL;
  std::vector<svq_token> tokens = tokenize(model.get(), text, flags);
  const bool replace_first = adds_bos(model.get());
  const size_t available = tokens.size() / o.context;
  if (available == 0)
    throw Failure(fmt::format("{}: holds {} tokens, one chunk needs {} (--context)", o.text, tokens.size(), o.context));
  if (o.chunks > available)
    throw Failure(fmt::format("--chunks {}: {} holds {} chunks of {} tokens", o.chunks, o.text, available, o.context));
  const size_t n_chunks = o.chunks ? o.chunks : available;

  SessionOptions session_options = o.session;
  session_options.context = o.context;
  const SessionPtr session = create_session(model.get(), session_options);
  Scorer scorer(session.get(), info.vocab);

  if (!o.json)
    fmt::print("{}: {} tokens, {} chunks of {}, {} scored, {} threads\n", o.text, format_thousands(tokens.size()), n_chunks,
               o.context, o.score_all ? "every position" : "second half of each",
               svq_session_threads(session.get()));
  Progress progress(true);
  Tally all;
  auto per_chunk = nlohmann::ordered_json::array();
  const auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  for (size_t c = 0; c < n_chunks; ++c) {
    const std::span<svq_token> chunk(&tokens[c * o.context], o.context);
    if (replace_first) chunk[0] = info.bos;
    for (double log_probability : scorer.score(chunk, o.score_all ? 1 : o.context / 2 + 1)) all.add(log_probability);
    per_chunk.push_back(all.perplexity());
    const double rest = elapsed() / static_cast<double>(c + 1) * static_cast<double>(n_chunks - c - 1);
    progress.clear();
    if (!o.json) {
      fmt::print("chunk {:>{}}/{}  perplexity {:.4f}\n", c + 1, std::to_string(n_chunks).size(), n_chunks,
                 all.perplexity());
      std::fflush(stdout);
    }
    if (c + 1 < n_chunks)
      progress.show(fmt::format("chunk {}/{}, about {} left", c + 2, n_chunks, format_duration(rest)));
  }
  progress.clear();
  const double seconds = elapsed();
  const double speed = static_cast<double>(scorer.n_evaluated()) / seconds;
  if (o.json) {
    print_json({{"model", o.model},
                {"text", o.text},
                {"perplexity", all.perplexity()},
                {"standard_error", all.error()},
                {"negative_log_likelihood", all.mean()},
                {"context", o.context},
                {"chunks", n_chunks},
                {"score", o.score_all ? "all" : "half"},
                {"tokens_scored", all.n},
                {"running_perplexity", per_chunk},
                {"threads", svq_session_threads(session.get())},
                {"activations", o.session.activations ? o.session.activations : 8},
                {"kv_bits", o.session.kv_bits ? o.session.kv_bits : 16},
                {"isa", info.isa ? info.isa : ""},
                {"seconds", seconds},
                {"tokens_per_second", speed}});
  } else {
    fmt::print("perplexity {:.4f} ± {:.4f} over {} predictions ({}, {:.1f} tokens/s)\n", all.perplexity(), all.error(),
               format_thousands(all.n), format_duration(seconds), speed);
  }
  return kExitOk;
}

}  // namespace svq::tools
