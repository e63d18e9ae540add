#include "tools/eval/choices.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "tools/common/cli.h"
#include "tools/common/text.h"
#include "tools/eval/score.h"
#include "tools/eval/tasks.h"

namespace svq::tools {
namespace {

struct Sequence {
  std::vector<svq_token> tokens;  // context and continuation
  size_t from;                    // first token that is scored
};

// Text is tokenized whole, because a token may not end where the context does; what is scored begins with the first
// token that differs from those of the context alone.
Sequence tokenize_candidate(const svq_model* model, const Candidate& candidate, const std::string& name, size_t line) {
  const auto context = tokenize(model, candidate.context, SVQ_TOKENIZE_ADD_SPECIAL);
  Sequence s{tokenize(model, candidate.context + candidate.continuation, SVQ_TOKENIZE_ADD_SPECIAL), 0};
  if (s.tokens.size() < 2)
    throw Failure(fmt::format("{}: line {}: context and continuation are too short to be scored", name, line));
  s.from = static_cast<size_t>(std::mismatch(s.tokens.begin(), s.tokens.end(), context.begin(), context.end()).first -
                               s.tokens.begin());
  s.from = std::clamp<size_t>(s.from, 1, s.tokens.size() - 1);
  return s;
}

struct Accuracy {
  size_t right = 0, n = 0;
  double value() const { return static_cast<double>(right) / static_cast<double>(n); }
  double error() const { return n < 2 ? 0 : std::sqrt(value() * (1 - value()) / static_cast<double>(n - 1)); }
};

size_t best(const std::vector<double>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

}  // namespace

int run_choices(const ChoicesOptions& o) {
  const std::vector<Task> tasks = parse_tasks(read_file(o.tasks), o.tasks, o.delimiter, o.limit);
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());

  std::vector<std::vector<Sequence>> sequences(tasks.size());
  size_t longest = 0;
  double chance = 0;
  for (size_t t = 0; t < tasks.size(); ++t) {
    for (const Candidate& candidate : tasks[t].candidates) {
      sequences[t].push_back(tokenize_candidate(model.get(), candidate, o.tasks, tasks[t].line));
      const size_t n = sequences[t].back().tokens.size();
      if (info.context_length && n > info.context_length)
        throw Failure(fmt::format("{}: line {}: takes {} tokens, {} was trained for {} positions", o.tasks,
                                  tasks[t].line, n, o.model, info.context_length));
      longest = std::max(longest, n);
    }
    chance += 1.0 / static_cast<double>(tasks[t].candidates.size()) / static_cast<double>(tasks.size());
  }

  SessionOptions session_options = o.session;
  session_options.context = static_cast<uint32_t>(longest);
  const SessionPtr session = create_session(model.get(), session_options);
  Scorer scorer(session.get(), info.vocab);

  Progress progress(true);
  Accuracy plain, normalised;
  size_t n_tokens = 0;
  const auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  for (size_t t = 0; t < tasks.size(); ++t) {
    std::vector<double> likelihood, per_byte;
    for (size_t c = 0; c < sequences[t].size(); ++c) {
      const std::span<const double> scores = scorer.score(sequences[t][c].tokens, sequences[t][c].from);
      likelihood.push_back(std::accumulate(scores.begin(), scores.end(), 0.0));
      per_byte.push_back(likelihood.back() / static_cast<double>(tasks[t].candidates[c].bytes));
      n_tokens += sequences[t][c].tokens.size();
    }
    plain.right += best(likelihood) == tasks[t].gold;
    normalised.right += best(per_byte) == tasks[t].gold;
    ++plain.n, ++normalised.n;
    const double rest = elapsed() / static_cast<double>(t + 1) * static_cast<double>(tasks.size() - t - 1);
    progress.show(fmt::format("task {}/{}  accuracy {:.1f} %  by byte {:.1f} %  about {} left", t + 1, tasks.size(),
                              100 * plain.value(), 100 * normalised.value(), format_duration(rest)));
  }
  progress.clear();
  const double seconds = elapsed();
  if (o.json) {
    print_json({{"model", o.model},
                {"tasks", o.tasks},
                {"n", tasks.size()},
                {"accuracy", plain.value()},
                {"accuracy_standard_error", plain.error()},
                {"accuracy_normalised", normalised.value()},
                {"accuracy_normalised_standard_error", normalised.error()},
                {"chance", chance},
                {"delimiter", o.delimiter},
                {"tokens", n_tokens},
                {"tokens_evaluated", scorer.n_evaluated()},
                {"threads", svq_session_threads(session.get())},
                {"activations", o.session.activations ? o.session.activations : 8},
                {"kv_bits", o.session.kv_bits ? o.session.kv_bits : 16},
                {"seconds", seconds}});
  } else {
    fmt::print("{}: {} tasks, {} ({} of {} tokens evaluated: beginnings in common are evaluated once)\n", o.tasks,
               tasks.size(), format_duration(seconds), format_thousands(scorer.n_evaluated()),
               format_thousands(n_tokens));
    fmt::print("accuracy by likelihood            {:5.2f} % ± {:.2f}\n", 100 * plain.value(), 100 * plain.error());
    fmt::print("accuracy by likelihood per byte   {:5.2f} % ± {:.2f}\n", 100 * normalised.value(),
               100 * normalised.error());
    fmt::print("chance                            {:5.2f} %\n", 100 * chance);
  }
  return kExitOk;
}

}  // namespace svq::tools
