// A session's threads: n - 1 workers and the caller. Work is split statically into as many parts as there are threads,
// or shared out in pieces (share); no result may depend on who did which. Each worker takes its own part; one whose
// worker has not started yet (asleep, or off the CPU on a busy machine) is done by the caller after its own. Workers
// spin for some microseconds between two jobs, as the next one follows at once inside a token, and then sleep. One
// thread at a time may call run. With one thread there is no synchronisation at all.
//
// A thread that waits can spend the time on fetching into its cache what it will read next (Ahead): between two
// products of a token the memory would have nothing to do.
#pragma once
#include <atomic>
#include <cstddef>
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

// Memory that a thread will read next, in order.
class Ahead {
 public:
  // Starts a new list for whoever is called `owner`; false: the list is that already.
  bool start(uint32_t owner, size_t budget) {
    if (owner == owner_) return false;
    owner_ = owner;
    left_ = budget;
    count_ = at_ = 0;
    return true;
  }
  // Beyond kRanges nothing is added. size is cut to what is left of the budget.
  void add(const void* data, size_t size) {
    if (size > left_) size = left_;
    if (count_ == kRanges || size == 0) return;
    left_ -= size;
    ranges_[count_++] = {static_cast<const char*>(data), size};
  }
  // Asks for the next few lines; false: nothing left.
  bool fetch_some();

 private:
  static constexpr uint32_t kRanges = 12;
  struct Range {
    const char* data;
    size_t size;
  };
  Range ranges_[kRanges] = {};
  uint32_t owner_ = UINT32_MAX, count_ = 0, at_ = 0;
  size_t left_ = 0;
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

  // The same in pieces of at most `piece`: a part begins with its range of split() from the front; once that is used
  // up, it takes pieces off the back of other parts' ranges. job may run for several pieces of a part.
  template <class Job>
  void share(uint32_t n, uint32_t piece, const Job& job) {
    if (threads_ == 1) {
      if (n != 0) job(0u, n, 0u);
      return;
    }
    for (uint32_t part = 0; part < threads_; ++part) {
      const uint64_t begin = uint64_t{n} * part / threads_, end = uint64_t{n} * (part + 1) / threads_;
      states_[part].left.store(begin << 32 | end, std::memory_order_relaxed);  // published with the job
    }
    run([&](uint32_t part) {
      uint32_t begin, end;
      while (take(part, piece, true, &begin, &end)) job(begin, end, part);
      for (uint32_t i = 1; i < threads_; ++i) {
        while (take((part + i) % threads_, piece, false, &begin, &end)) job(begin, end, part);
      }
    });
  }

  // From within a job: where its part's thread notes what it will read next. Null if this thread does the part for
  // another, or if nothing ever waits.
  Ahead* ahead(uint32_t part) { return threads_ > 1 && own_part_ == part ? &states_[part].ahead : nullptr; }

 private:
  using Function = void (*)(const void*, uint32_t);
  void run_erased(Function function, const void* context);
  void work(uint32_t part);
  bool claim(uint32_t part, uint32_t job);
  bool take(uint32_t part, uint32_t piece, bool front, uint32_t* begin, uint32_t* end);
  void stop();

  const uint32_t threads_;
  // The current job in one cache line, which is all that a worker has to fetch to start.
  struct alignas(64) Job {
    std::atomic<uint32_t> number{0};
    Function function = nullptr;
    const void* context = nullptr;
  };
  Job job_;
  alignas(64) std::atomic<uint32_t> pending_{0};  // parts of it, without the caller's own, that are not finished
  struct alignas(64) State {                      // of a part
    std::atomic<uint32_t> claimed{0};             // the last job of which it was taken
    alignas(64) std::atomic<uint64_t> left{0};    // share(): begin << 32 | end
    alignas(64) Ahead ahead;                      // its own thread's alone
  };
  std::vector<State> states_;  // (threads)
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> ready_{0};  // 1: every worker has started
  std::vector<std::thread> workers_;
  static thread_local uint32_t own_part_;  // 0 outside of workers
};

}  // namespace svq::rt
