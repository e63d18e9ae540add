// The thread pool: every part exactly once, whoever does it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "runtime/base/thread_pool.h"

namespace svq::test {
namespace {

TEST(ThreadPool, EveryPartOnce) {
  for (const uint32_t threads : {1u, 2u, 3u, 7u}) {
    rt::ThreadPool pool({.threads = threads, .pin = false, .cpus = {}});
    std::vector<uint32_t> done(threads);
    for (uint32_t job = 1; job <= 500; ++job) {
      pool.run([&](uint32_t part) { ++done[part]; });
      for (uint32_t part = 0; part < threads; ++part) ASSERT_EQ(done[part], job) << part << " of " << threads;
    }
  }
}

TEST(ThreadPool, SplitCoversTheRange) {
  rt::ThreadPool pool({.threads = 3, .pin = false, .cpus = {}});
  for (const uint64_t n : {0u, 1u, 2u, 3u, 4u, 100u, 101u}) {
    std::vector<int> seen(n);
    pool.split(n, [&](uint64_t begin, uint64_t end, uint32_t part) {
      EXPECT_LT(part, 3u);
      for (uint64_t i = begin; i < end; ++i) ++seen[i];
    });
    EXPECT_EQ(seen, std::vector<int>(n, 1));
  }
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  rt::ThreadPool pool({.threads = 3, .pin = false, .cpus = {}});
  std::atomic<int> parts{0};
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than they spin
    pool.run([&](uint32_t) { ++parts; });
  }
  EXPECT_EQ(parts, 30);
}

TEST(ThreadPool, CreatedAndDestroyedWithoutAJob) {
  for (int i = 0; i < 20; ++i) const rt::ThreadPool pool({.threads = 4, .pin = true, .cpus = {0}});
}

}  // namespace
}  // namespace svq::test
