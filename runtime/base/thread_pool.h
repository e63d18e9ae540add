// A session's threads: n - 1 workers and the caller. Work is split statically into as many parts as there are threads,
// so that no result depends on timing. Each worker takes its own part; one whose worker has not started yet (asleep, or
// off the CPU on a busy machine) is done by the caller after its own. Workers spin for some microseconds between two
// jobs, as the next one follows at once inside a token, and then sleep. One thread at a time may call run. With one
// thread there is no synchronisation at all.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace svq::rt {

struct ThreadOptions {
  uint32_t threads = 1;        // the caller among them
  bool pin = false;            // worker i (1 …) runs on the i-th CPU of `cpus`; CPU 0 is left to the caller
  int nice = 0;                // of the workers: -20 … 19; 20: only when a CPU has nothing else to do
  std::vector<uint32_t> cpus;  // that workers may use; empty: any. The calling thread is never moved.
};

class ThreadPool {
 public:
  explicit ThreadPool(const ThreadOptions& options);  // throws Error (UNSUPPORTED) if the system refuses the priority
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  // job(part) for every part in [0, threads), no part on two threads at once. Returns when all are done. No exceptions.
  template <class Job>
  void run(const Job& job) {
    if (threads_ == 1) {
      job(0u);
      return;
    }
    run_erased([](const void* context, uint32_t part) { (*static_cast<const Job*>(context))(part); }, &job);
  }

  // job(begin, end, part) over contiguous ranges of [0, n), sizes differing by at most one.
  template <class Job>
  void split(uint64_t n, const Job& job) {
    run([&](uint32_t part) {
      const uint64_t begin = n * part / threads_, end = n * (part + 1) / threads_;
      if (begin < end) job(begin, end, part);
    });
  }

 private:
  using Function = void (*)(const void*, uint32_t);
  void run_erased(Function function, const void* context);
  void work(uint32_t part);
  bool claim(uint32_t part, uint32_t job);
  void stop();

  const uint32_t threads_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> job_{0};      // number of the current job
  alignas(64) std::atomic<uint32_t> pending_{0};  // parts of it, without the caller's own, that are not finished
  struct alignas(64) Claim {
    std::atomic<uint32_t> job{0};  // the last job of which this part was taken
  };
  std::vector<Claim> claims_;  // (threads)
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> ready_{0};  // 1: every worker has started
  std::vector<std::thread> workers_;
};

}  // namespace svq::rt
