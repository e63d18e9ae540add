#include "runtime/base/thread_pool.h"

#include <cerrno>
#include <cstring>

#include "runtime/base/cpu.h"
#include "runtime/base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace svq::rt {
namespace {

// About 50 µs on current CPUs: longer than the gaps between the steps of a token, shorter than a scheduler's time
// slice.
constexpr int kSpins = 2000;

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` does nothing on most cores; isb stalls for some tens of cycles
#endif
}

// Waits until value differs from `old`; returns it.
uint32_t wait_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause_briefly();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(const ThreadOptions& options)
    : threads_(options.threads == 0 ? 1 : options.threads), claims_(threads_) {
  workers_.reserve(threads_ - 1);
  std::atomic<uint32_t> started{0};
  std::atomic<int> refused{0};  // errno of a worker whose priority could not be set
  try {
    for (uint32_t t = 1; t < threads_; ++t) {
      std::vector<uint32_t> cpus = options.cpus;
      if (options.pin && !cpus.empty()) cpus = {options.cpus[t % options.cpus.size()]};
      workers_.emplace_back([this, t, cpus, nice = options.nice, &started, &refused] {
        if (!cpus.empty()) pin_this_thread(cpus);
        if (nice != 0 && !set_this_threads_priority(nice)) refused.store(errno, std::memory_order_relaxed);
        // Counted last: the constructor may return, and its variables go, once all are.
        const uint32_t now = started.fetch_add(1, std::memory_order_acq_rel) + 1;
        if (now + 1 == threads_) ready_.store(1, std::memory_order_release), ready_.notify_one();
        work(t);
      });
    }
    if (threads_ > 1) ready_.wait(0, std::memory_order_acquire);
    if (const int error = refused.load(std::memory_order_relaxed); error != 0) {
      fail(SVQ_ERROR_UNSUPPORTED, "the system refused the worker threads' priority of ", options.nice, ": ",
           std::strerror(error), options.nice < 0 ? " (it takes CAP_SYS_NICE or a limit by ulimit -e)" : "");
    }
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  job_.fetch_add(1, std::memory_order_release);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Success means that the job cannot end before this part does: function_ and context_ stay as they are until then.
bool ThreadPool::claim(uint32_t part, uint32_t job) {
  uint32_t before = job - 1;
  return claims_[part].job.compare_exchange_strong(before, job, std::memory_order_relaxed);
}

void ThreadPool::run_erased(Function function, const void* context) {
  function_ = function;
  context_ = context;
  pending_.store(threads_ - 1, std::memory_order_relaxed);
  const uint32_t job = job_.load(std::memory_order_relaxed) + 1;
  job_.store(job, std::memory_order_release);
  job_.notify_all();  // a system call only if a worker sleeps
  function(context, 0);
  for (uint32_t part = 1; part < threads_; ++part) {
    if (!claim(part, job)) continue;
    function(context, part);
    pending_.fetch_sub(1, std::memory_order_relaxed);
  }
  for (uint32_t left = pending_.load(std::memory_order_acquire); left != 0;) left = wait_change(pending_, left);
}

void ThreadPool::work(uint32_t part) {
  for (uint32_t job = 0;;) {
    job = wait_change(job_, job);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (!claim(part, job)) continue;
    function_(context_, part);
    if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
  }
}

}  // namespace svq::rt
