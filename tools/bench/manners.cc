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

// Cancels a prefill at random moments; the longest time from the cancel to the call's return.
std::string cancels(svq_session* session, const std::vector<svq_token>& prompt, double prefill_seconds) {
  std::string out;
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
      const svq_status status = svq_session_generate(session, prompt.data(), prompt.size(), 0, nullptr, nullptr, &result);
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
    out += fmt::format("cancel, bound {:>8}: median {:.2f} ms, worst of {} {:.2f} ms, longest step {:.2f} ms; {} times taken off a core\n",
                       bound == 0 ? "none" : fmt::format("{} ms", bound / 1000), latency[latency.size() / 2] * 1e3, latency.size(),
                       latency.back() * 1e3, longest * 1e-3, switches);
  }
  check(svq_session_set_limit(session, SVQ_LIMIT_CANCEL_US, 0));
  return out;
}

struct Decode {
  double sample = 0, eval = 0;  // seconds a token
};

Decode decode(const svq_model* model, svq_session* session, const std::vector<svq_token>& prompt, const svq_grammar* grammar, int n) {
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

std::string manners_report(const MannersOptions& o) {
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());
  const SessionPtr session = create_session(model.get(), {.context = o.tokens + 256, .threads = o.threads});
  const auto prompt = random_tokens(o.tokens, info.vocab);
  std::string out = fmt::format("{}: {}, {} threads\n", o.model, format_bytes(info.file_bytes), svq_session_threads(session.get()));

  auto start = Clock::now();
  check(svq_session_eval(session.get(), prompt.data(), prompt.size()));
  const double prefill = since(start);
  size_t bytes = 0;
  (void)svq_session_save(session.get(), nullptr, &bytes);
  const std::string path = fmt::format("/tmp/svqbench-{}.svqk", getpid());
  start = Clock::now();
  check(svq_session_save_file(session.get(), path.c_str()));
  const double save = since(start);
  const SessionPtr second = create_session(model.get(), {.context = o.tokens + 256, .threads = o.threads});
  start = Clock::now();
  check(svq_session_restore_file(second.get(), path.c_str()));
  const double restore = since(start);
  std::remove(path.c_str());
  svq_session* forked = nullptr;
  start = Clock::now();
  check(svq_session_fork(session.get(), nullptr, &forked));
  const double fork = since(start);
  svq_session_free(forked);
  out += fmt::format("{} tokens: prefill {:.0f} ms; saved session {}: save {:.0f} ms, restore {:.1f} ms; fork {:.2f} ms\n", o.tokens,
                     prefill * 1e3, format_bytes(bytes), save * 1e3, restore * 1e3, fork * 1e3);

  svq_size_estimate estimate;
  check(svq_estimate_size(o.model.c_str(), nullptr, &estimate));
  const uint64_t peak = status_bytes("VmHWM:"), kv = estimate.kv_bytes_per_token * o.tokens;
  out += fmt::format("peak memory {}: {} above file and two KV caches of as many tokens\n", format_bytes(peak),
                     format_bytes(peak > info.file_bytes + 2 * kv ? peak - info.file_bytes - 2 * kv : 0));

  out += cancels(session.get(), prompt, prefill);

  const std::vector<svq_token> head(prompt.begin(), prompt.begin() + 32);
  start = Clock::now();
  svq_grammar* grammar = nullptr;
  check(svq_grammar_create(model.get(), SVQ_GRAMMAR_JSON_SCHEMA, kSchema, std::strlen(kSchema), &grammar));
  out += fmt::format("grammar of a schema of 5 properties: made in {:.0f} ms, {}\n", since(start) * 1e3, format_bytes(svq_grammar_memory(grammar)));
  const int n = 150;
  (void)decode(model.get(), session.get(), head, nullptr, 20);
  const Decode free = decode(model.get(), session.get(), head, nullptr, n);
  const Decode bound = decode(model.get(), session.get(), head, grammar, n);
  svq_grammar_free(grammar);
  out += fmt::format("{} tokens: eval {:.3f} ms; drawing {:.3f} ms free, {:.3f} ms under the grammar: {:+.2f} % of a token's time\n", n,
                     free.eval * 1e3, free.sample * 1e3, bound.sample * 1e3, 100 * (bound.sample - free.sample) / (free.eval + free.sample));
  return out;
}

}  // namespace svq::tools
