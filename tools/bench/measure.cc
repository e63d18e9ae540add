#include "tools/bench/measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "tools/common/cli.h"

namespace svq::tools {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A field of a /proc file that is given in kB, in bytes; 0 when absent.
uint64_t proc_bytes(const char* path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field + ":", 0) != 0) continue;
    uint64_t kilobytes = 0;
    std::istringstream(line.substr(field.size() + 1)) >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

// Peak of resident memory, leaving out what the bandwidth measurement takes in between.
class PeakMemory {
 public:
  void read() { peak_ = std::max(peak_, proc_bytes("/proc/self/status", "VmHWM")); }
  void restart() {
    std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM := VmRSS (proc(5))
  }
  uint64_t peak() const { return peak_; }

 private:
  uint64_t peak_ = 0;
};

bool is_shape(const std::string& name) {
  for (size_t i = 0; const char* shape = svq_shape_name(i); ++i)
    if (name == shape) return true;
  return false;
}

std::string shape_list() {
  std::string list;
  for (size_t i = 0; const char* shape = svq_shape_name(i); ++i) list += (i ? ", " : "") + std::string(shape);
  return list;
}

void load(const BenchOptions& o, Bench& bench) {
  const Stopwatch watch;
  if (std::filesystem::exists(o.model)) {
    if (o.bits != 0)
      throw UsageError(fmt::format("--bits: {} is a file, whose weights have their widths: expected a SHAPE", o.model));
    bench.model = load_model(o.model, o.device);
  } else if (is_shape(o.model)) {
    if (o.device == "cuda")
      throw Failure(
          fmt::format("--device cuda: {} is a shape, and those run on the CPU alone: expected a FILE", o.model));
    svq_model* model = nullptr;
    check(svq_model_create_random(o.model.c_str(), o.bits != 0 ? o.bits : 2, 0, &model));
    bench.model.reset(model);
    bench.random = true;
  } else {
    throw Failure(fmt::format("{}: is neither a file nor the name of a shape ({})", o.model, shape_list()));
  }
  bench.load_seconds = watch.seconds();
  bench.info = model_info(bench.model.get());
  const auto description = nlohmann::json::parse(model_description(bench.model.get(), false), nullptr, false);
  bench.window = description.value("/architecture/sliding_window"_json_pointer, 0u);
}

// What attention reads of the cache for one token with so many in the context: keys and values of every layer, at 8
// bits with a scale of 4 bytes for each.
double kv_bytes(const Bench& bench, uint32_t kv_bits, double positions) {
  const svq_model_info& i = bench.info;
  const double vector = kv_bits == 8 ? i.head_dim + 4 : 2 * i.head_dim;
  if (bench.window > 0) positions = std::min<double>(positions, bench.window);
  return 2.0 * i.n_layers * i.n_kv_heads * vector * positions;
}

class Runner {
 public:
  Runner(const BenchOptions& o, Bench& bench, PowerMeter& meter, uint32_t threads, uint32_t context) : meter_(meter) {
    SessionOptions options;
    options.context = context;
    options.threads = threads;
    options.kv_bits = o.kv_bits;
    const uint32_t most = *std::max_element(o.batch.begin(), o.batch.end());
    for (uint32_t i = 0; i < most; ++i) {
      // Sessions that are decoded with another one need no threads of their own.
      if (i == 1) options.threads = 1;
      sessions_.push_back(create_session(bench.model.get(), options));
      handles_.push_back(sessions_.back().get());
    }
    bench.session_memory = std::max(bench.session_memory, svq_session_memory(handles_[0]));
    std::mt19937 random(0);
    tokens_.resize(context);
    for (svq_token& t : tokens_) t = static_cast<svq_token>(random() % bench.info.vocab);
    // Greedy: what is timed up to the first token is the model, not the drawing.
    check(svq_session_set_sampler(handles_[0], SVQ_SAMPLER_TEMPERATURE, 0));
  }

  uint32_t threads() const { return svq_session_threads(handles_[0]); }

  void prefill(Result& r, bool measured) {
    fill(handles_[0], r.depth);
    meter_.start();
    const Stopwatch watch;
    check(svq_session_eval(handles_[0], &tokens_[r.depth], r.tokens));
    const double seconds = watch.seconds(), joules = meter_.stop();
    const Stopwatch drawing;
    svq_token token;
    check(svq_session_sample(handles_[0], &token));
    const double drawn = seconds + drawing.seconds();
    if (!measured) return;
    r.speed.push_back(r.tokens / seconds);
    r.first_token.push_back(drawn);
    r.joules += joules;
  }

  void decode(Result& r, bool measured) {
    for (uint32_t i = 0; i < r.batch; ++i) fill(handles_[i], r.depth);
    meter_.start();
    const Stopwatch watch;
    std::vector<svq_token> row(r.batch);
    for (uint32_t i = 0; i < r.tokens; ++i) {
      if (r.batch == 1) {
        check(svq_session_eval(handles_[0], &tokens_[r.depth + i], 1));
        continue;
      }
      for (uint32_t s = 0; s < r.batch; ++s) row[s] = tokens_[(r.depth + i + s) % tokens_.size()];
      check(svq_sessions_eval(handles_.data(), row.data(), r.batch));
    }
    const double seconds = watch.seconds(), joules = meter_.stop();
    if (!measured) return;
    r.speed.push_back(r.tokens * r.batch / seconds);
    r.joules += joules;
  }

 private:
  // A context of exactly `depth` tokens; what is there already is kept.
  void fill(svq_session* session, uint32_t depth) {
    const size_t held = std::min<size_t>(svq_session_position(session), depth);
    check(svq_session_truncate(session, held));
    if (held < depth) check(svq_session_eval(session, &tokens_[held], depth - held));
  }

  PowerMeter& meter_;
  std::vector<SessionPtr> sessions_;
  std::vector<svq_session*> handles_;  // the same; prefill is the first one's
  std::vector<svq_token> tokens_;
};

}  // namespace

std::string Result::name() const {
  const std::string at = depth ? fmt::format(" @ {}", depth) : "";
  const std::string together = batch > 1 ? fmt::format(" x{}", batch) : "";
  return fmt::format("{}{}{}{}", decode ? "tg" : "pp", tokens, together, at);
}

Bench run_bench(const BenchOptions& o, Progress& progress) {
  Bench bench;
  PeakMemory memory;
  PowerMeter meter;
  bench.power_source = meter.source();
  progress.show("loading");
  load(o, bench);

  std::vector<Result> plan;
  uint32_t context = 1;
  for (uint32_t depth : o.depth) {
    for (bool decode : {false, true}) {
      for (uint32_t tokens : decode ? o.generate : o.prompt) {
        if (tokens == 0) continue;
        for (uint32_t batch : decode ? o.batch : std::vector<uint32_t>{1})
          plan.push_back({decode, tokens, depth, 0, batch, {}, {}});
        context = std::max(context, depth + tokens);
      }
    }
  }
  bench.context = context;
  if (plan.empty()) throw Failure("--prompt and --generate are both 0: nothing to measure");

  const uint64_t available = proc_bytes("/proc/meminfo", "MemAvailable");
  const uint64_t stream = o.read_megabytes ? uint64_t{o.read_megabytes} * 1'000'000
                          : available      ? std::clamp<uint64_t>(available / 4, 32 << 20, 512 << 20)
                                           : 512 << 20;
  const std::vector<uint32_t> thread_counts = o.threads.empty() ? std::vector<uint32_t>{0} : o.threads;
  for (uint32_t requested : thread_counts) {
    const size_t first = bench.results.size();
    uint32_t threads = requested;
    {
      Runner runner(o, bench, meter, requested, context);
      threads = runner.threads();
      for (Result result : plan) {
        result.threads = threads;
        for (uint32_t i = 0; i <= o.repeat; ++i) {  // 0: warm-up
          progress.show(fmt::format("{}, {} threads: {}", result.name(), threads,
                                    i ? fmt::format("run {} of {}", i, o.repeat) : "warm-up"));
          result.decode ? runner.decode(result, i > 0) : runner.prefill(result, i > 0);
        }
        bench.results.push_back(std::move(result));
      }
      memory.read();
    }
    progress.show(fmt::format("read bandwidth, {} threads", threads));
    const double bandwidth = svq_measure_read_bandwidth(threads, stream);
    memory.restart();
    for (size_t i = first; i < bench.results.size(); ++i) {
      Result& r = bench.results[i];
      r.read_bandwidth = bandwidth;
      if (!r.decode) continue;
      const double speed = spread_of(r.speed).mean;
      r.weight_bandwidth = speed / r.batch * static_cast<double>(bench.info.decode_bytes);
      r.kv_bandwidth = speed * kv_bytes(bench, o.kv_bits, r.depth + (r.tokens + 1) / 2.0);
    }
  }
  bench.peak_memory = memory.peak();
  bench.state = read_device_state();
  progress.clear();
  return bench;
}

}  // namespace svq::tools
