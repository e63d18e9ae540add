// What handing a job to the thread pool and waiting for its end costs: the time of a job whose parts all compute for
// the same few microseconds, less those microseconds. Such a wait stands between the products of a layer.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>

#include "runtime/base/thread_pool.h"

namespace svq::rt {
namespace {

using Clock = std::chrono::steady_clock;

// Dependent multiplications: the same time wherever it runs.
uint64_t compute(uint64_t steps) {
  uint64_t x = 1;
  for (uint64_t i = 0; i < steps; ++i) benchmark::DoNotOptimize(x = x * 6364136223846793005u + 1);
  return x;
}

double seconds_of(uint64_t steps) {
  double best = 1;
  for (int i = 0; i < 50; ++i) {
    const auto begin = Clock::now();
    benchmark::DoNotOptimize(compute(steps));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (seconds < best) best = seconds;
  }
  return best;
}

void synchronisation(benchmark::State& state) {
  constexpr uint64_t kSteps = 4000;
  ThreadPool pool({.threads = static_cast<uint32_t>(state.range(0)), .pin = false, .cpus = {}});
  const double work = seconds_of(kSteps);
  double total = 0;
  for (auto _ : state) {
    const auto begin = Clock::now();
    pool.run([](uint32_t) { benchmark::DoNotOptimize(compute(kSteps)); });
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    state.SetIterationTime(seconds > work ? seconds - work : 0);
    total += seconds;
  }
  state.counters["job_us"] = 1e6 * total / static_cast<double>(state.iterations());
  state.counters["work_us"] = 1e6 * work;
}

BENCHMARK(synchronisation)->Arg(1)->Arg(2)->Arg(4)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace svq::rt

BENCHMARK_MAIN();
