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
// How long the caller waits before it looks for parts that no worker has begun: a wake-up takes longer than most jobs.
constexpr int kGrace = 20;

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` does nothing on most cores; isb stalls for some tens of cycles
#endif
}

// Waits until value differs from `old`; returns it.
uint32_t wait_change(const std::atomic<uint32_t>& value, uint32_t old, Ahead& ahead) {
  do {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
  } while (ahead.fetch_some());
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause_briefly();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

bool Ahead::fetch_some() {
  constexpr size_t kLine = 64, kLines = 8;  // as many as are under way at once on most cores
  if (at_ == count_) return false;
  Range& r = ranges_[at_];
  for (size_t i = 0; i < kLines && r.size != 0; ++i) {
    __builtin_prefetch(r.data, 0, 2);  // into the second-level cache
    r.data += kLine;
    r.size = r.size > kLine ? r.size - kLine : 0;
  }
  if (r.size == 0) ++at_;
  return at_ < count_;
}

thread_local uint32_t ThreadPool::own_part_ = 0;

ThreadPool::ThreadPool(const ThreadOptions& options)
    : threads_(options.threads == 0 ? 1 : options.threads), states_(threads_) {
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
  job_.number.fetch_add(1, std::memory_order_release);
  job_.number.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Success means that the job cannot end before this part does: job_ stays as it is until then.
bool ThreadPool::claim(uint32_t part, uint32_t job) {
  uint32_t before = job - 1;
  return states_[part].claimed.compare_exchange_strong(before, job, std::memory_order_relaxed);
}

bool ThreadPool::take(uint32_t part, uint32_t piece, bool front, uint32_t* begin, uint32_t* end) {
  std::atomic<uint64_t>& left = states_[part].left;
  uint64_t range = left.load(std::memory_order_relaxed), rest;
  do {
    const auto from = static_cast<uint32_t>(range >> 32), to = static_cast<uint32_t>(range);
    if (from >= to) return false;
    const uint32_t size = to - from < piece ? to - from : piece;
    *begin = front ? from : to - size;
    *end = *begin + size;
    rest = front ? uint64_t{*end} << 32 | to : uint64_t{from} << 32 | *begin;
  } while (!left.compare_exchange_weak(range, rest, std::memory_order_relaxed));
  return true;
}

void ThreadPool::run_erased(Function function, const void* context) {
  job_.function = function;
  job_.context = context;
  pending_.store(threads_ - 1, std::memory_order_relaxed);
  const uint32_t job = job_.number.load(std::memory_order_relaxed) + 1;
  job_.number.store(job, std::memory_order_release);
  job_.number.notify_all();  // a system call only if a worker sleeps
  function(context, 0);
  // Parts already claimed are left alone: looking at their claims would take the lines from the workers.
  for (int i = 0; i < kGrace; ++i) {
    if (pending_.load(std::memory_order_acquire) == 0) return;
    if (!states_[0].ahead.fetch_some()) pause_briefly();
  }
  for (uint32_t part = 1; part < threads_; ++part) {
    if (!claim(part, job)) continue;
    function(context, part);
    pending_.fetch_sub(1, std::memory_order_relaxed);
  }
  for (uint32_t left = pending_.load(std::memory_order_acquire); left != 0;) {
    left = wait_change(pending_, left, states_[0].ahead);
  }
}

void ThreadPool::work(uint32_t part) {
  own_part_ = part;
  for (uint32_t job = 0;;) {
    job = wait_change(job_.number, job, states_[part].ahead);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (!claim(part, job)) continue;
    job_.function(job_.context, part);
    if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
  }
}

}  // namespace svq::rt
