#include "tools/bench/manners.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "tools/common/runtime.h"
#include "tools/common/text.h"

namespace svq::tools {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

uint64_t status_bytes(const char* key) {  // of /proc/self/status; 0: not known
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key) + 1, nullptr, 10) * 1024;
  }
  return 0;
}

// Times that the system gave a core of this process to another: what no bound covers.
long preempted() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return use.ru_nivcsw;
}

std::vector<svq_token> random_tokens(size_t n, uint32_t vocab) {
  std::mt19937 rng(1);
  std::vector<svq_token> out(n);
  for (svq_token& t : out) t = static_cast<svq_token>(rng() % vocab);
  return out;
}

std::vector<CancelFigures> cancels(svq_session* session, const std::vector<svq_token>& prompt, double prefill_seconds) {
  std::vector<CancelFigures> out;
  std::mt19937 rng(2);
  for (const int64_t bound : {0, 2000, 10000, 50000}) {
    check(svq_session_set_limit(session, SVQ_LIMIT_CANCEL_US, bound));
    std::vector<double> latency;
    uint32_t longest = 0;
    const long before = preempted();
    for (int i = 0; i < 15; ++i) {
      check(svq_session_truncate(session, 0));
      std::atomic<bool> started{false};
      Clock::time_point cancelled;
      const double wait = prefill_seconds * (0.1 + 0.6 * (rng() % 1000) / 1000.0);
      std::thread other([&] {
        while (!started) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::duration<double>(wait));
        cancelled = Clock::now();
        svq_session_cancel(session);
      });
      started = true;
      svq_generate_result result;
      const svq_status status =
          svq_session_generate(session, prompt.data(), prompt.size(), 0, nullptr, nullptr, &result);
      const auto returned = Clock::now();
      other.join();
      longest = std::max(longest, result.longest_step_us);
      if (status == SVQ_ERROR_CANCELLED) {
        latency.push_back(std::chrono::duration<double>(returned - cancelled).count());
      } else {
        (void)svq_session_eval(session, prompt.data(), 1);  // takes the cancel that came too late
      }
    }
    const long switches = preempted() - before;
    if (latency.empty()) continue;
    std::sort(latency.begin(), latency.end());
    out.push_back({bound, latency.size(), latency[latency.size() / 2], latency.back(), longest * 1e-6, switches});
  }
  check(svq_session_set_limit(session, SVQ_LIMIT_CANCEL_US, 0));
  return out;
}

struct Decode {
  double sample = 0, eval = 0;  // seconds a token
};

Decode decode(const svq_model* model, svq_session* session, const std::vector<svq_token>& prompt,
              const svq_grammar* grammar, int n) {
  check(svq_session_set_grammar(session, grammar));
  check(svq_session_truncate(session, 0));
  check(svq_session_eval(session, prompt.data(), prompt.size()));
  check(svq_session_set_sampler(session, SVQ_SAMPLER_SEED, 3));
  Decode out;
  for (int i = 0; i < n; ++i) {
    svq_token token;
    auto start = Clock::now();
    check(svq_session_sample(session, &token));
    out.sample += since(start) / n;
    if (svq_token_is_end(model, token) != 0) {
      if (grammar != nullptr) check(svq_session_set_grammar(session, grammar));  // from its beginning
      token = prompt[static_cast<size_t>(i) % prompt.size()];
    }
    start = Clock::now();
    check(svq_session_eval(session, &token, 1));
    out.eval += since(start) / n;
  }
  check(svq_session_set_grammar(session, nullptr));
  return out;
}

constexpr char kSchema[] = R"({"type": "object", "properties": {
  "action": {"enum": ["move", "pick", "place", "stop"]}, "target": {"type": "string"},
  "position": {"type": "array", "items": {"type": "number", "minimum": -2, "maximum": 2}, "minItems": 3, "maxItems": 3},
  "speed": {"type": "number", "minimum": 0, "maximum": 1}, "reason": {"type": "string", "maxLength": 120}},
  "required": ["action", "target", "position", "speed", "reason"]})";

}  // namespace

Manners measure_manners(const MannersOptions& o) {
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());
  const SessionPtr session = create_session(model.get(), {.context = o.tokens + 256, .threads = o.threads});
  const auto prompt = random_tokens(o.tokens, info.vocab);
  Manners out{.model = o.model, .file_bytes = info.file_bytes, .tokens = o.tokens};
  out.threads = svq_session_threads(session.get());

  auto start = Clock::now();
  check(svq_session_eval(session.get(), prompt.data(), prompt.size()));
  out.prefill_seconds = since(start);
  size_t bytes = 0;
  (void)svq_session_save(session.get(), nullptr, &bytes);
  out.saved_bytes = bytes;
  const std::string path = fmt::format("/tmp/svqbench-{}.svqk", getpid());
  start = Clock::now();
  check(svq_session_save_file(session.get(), path.c_str()));
  out.save_seconds = since(start);
  const SessionPtr second = create_session(model.get(), {.context = o.tokens + 256, .threads = o.threads});
  start = Clock::now();
  check(svq_session_restore_file(second.get(), path.c_str()));
  out.restore_seconds = since(start);
  std::remove(path.c_str());
  svq_session* forked = nullptr;
  start = Clock::now();
  check(svq_session_fork(session.get(), nullptr, &forked));
  out.fork_seconds = since(start);
  svq_session_free(forked);

  svq_size_estimate estimate;
  check(svq_estimate_size(o.model.c_str(), nullptr, &estimate));
  const uint64_t expected = info.file_bytes + 2 * estimate.kv_bytes_per_token * o.tokens;
  out.peak_memory = status_bytes("VmHWM:");
  out.peak_above = out.peak_memory > expected ? out.peak_memory - expected : 0;

  out.cancels = cancels(session.get(), prompt, out.prefill_seconds);

  const std::vector<svq_token> head(prompt.begin(), prompt.begin() + 32);
  start = Clock::now();
  svq_grammar* grammar = nullptr;
  check(svq_grammar_create(model.get(), SVQ_GRAMMAR_JSON_SCHEMA, kSchema, std::strlen(kSchema), &grammar));
  out.grammar_seconds = since(start);
  out.grammar_bytes = svq_grammar_memory(grammar);
  out.drawn = 150;
  const int n = static_cast<int>(out.drawn);
  (void)decode(model.get(), session.get(), head, nullptr, 20);
  const Decode free = decode(model.get(), session.get(), head, nullptr, n);
  out.eval_seconds = free.eval;
  out.draw_seconds = free.sample;
  out.draw_grammar_seconds = decode(model.get(), session.get(), head, grammar, n).sample;
  svq_grammar_free(grammar);
  return out;
}

std::string manners_report(const Manners& m) {
  std::string out = fmt::format("{}: {}, {} threads\n", m.model, format_bytes(m.file_bytes), m.threads);
  out += fmt::format(
      "{} tokens: prefill {:.0f} ms; saved session {}: save {:.0f} ms, restore {:.1f} ms; fork {:.2f} "
      "ms\n",
      m.tokens, m.prefill_seconds * 1e3, format_bytes(m.saved_bytes), m.save_seconds * 1e3, m.restore_seconds * 1e3,
      m.fork_seconds * 1e3);
  out += fmt::format("peak memory {}: {} above file and two KV caches of as many tokens\n", format_bytes(m.peak_memory),
                     format_bytes(m.peak_above));
  for (const CancelFigures& c : m.cancels)
    out += fmt::format(
        "cancel, bound {:>8}: median {:.2f} ms, worst of {} {:.2f} ms, longest step {:.2f} ms; {} times taken "
        "off a core\n",
        c.bound_us == 0 ? "none" : fmt::format("{} ms", c.bound_us / 1000), c.median_seconds * 1e3, c.count,
        c.worst_seconds * 1e3, c.longest_step_seconds * 1e3, c.preempted);
  out += fmt::format("grammar of a schema of 5 properties: made in {:.0f} ms, {}\n", m.grammar_seconds * 1e3,
                     format_bytes(m.grammar_bytes));
  out += fmt::format(
      "{} tokens: eval {:.3f} ms; drawing {:.3f} ms free, {:.3f} ms under the grammar: {:+.2f} % "
      "of a token's time\n",
      m.drawn, m.eval_seconds * 1e3, m.draw_seconds * 1e3, m.draw_grammar_seconds * 1e3,
      100 * (m.draw_grammar_seconds - m.draw_seconds) / (m.eval_seconds + m.draw_seconds));
  return out;
}

nlohmann::ordered_json manners_json(const Manners& m) {
  nlohmann::ordered_json json = {{"model", m.model},
                                 {"version", svq_version_string()},
                                 {"device", "cpu"},
                                 {"file_bytes", m.file_bytes},
                                 {"threads", m.threads},
                                 {"tokens", m.tokens},
                                 {"prefill_seconds", m.prefill_seconds},
                                 {"saved_bytes", m.saved_bytes},
                                 {"save_seconds", m.save_seconds},
                                 {"restore_seconds", m.restore_seconds},
                                 {"fork_seconds", m.fork_seconds},
                                 {"peak_memory_bytes", m.peak_memory},
                                 {"peak_memory_above_file_and_kv_bytes", m.peak_above},
                                 {"cancels", nlohmann::ordered_json::array()},
                                 {"grammar_seconds", m.grammar_seconds},
                                 {"grammar_bytes", m.grammar_bytes},
                                 {"drawn_tokens", m.drawn},
                                 {"eval_seconds_per_token", m.eval_seconds},
                                 {"draw_seconds_per_token", m.draw_seconds},
                                 {"draw_grammar_seconds_per_token", m.draw_grammar_seconds}};
  for (const CancelFigures& c : m.cancels)
    json["cancels"].push_back({{"bound_us", c.bound_us},
                               {"count", c.count},
                               {"median_seconds", c.median_seconds},
                               {"worst_seconds", c.worst_seconds},
                               {"longest_step_seconds", c.longest_step_seconds},
                               {"preempted", c.preempted}});
  return json;
}

}  // namespace svq::tools
