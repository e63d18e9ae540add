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

TEST(ThreadPool, ShareCoversTheRangeInPieces) {
  for (const uint32_t threads : {1u, 2u, 3u, 7u}) {
    rt::ThreadPool pool({.threads = threads, .pin = false, .cpus = {}});
    for (const uint32_t n : {0u, 1u, 5u, 64u, 1000u}) {
      for (const uint32_t piece : {1u, 4u, 7u, 2000u}) {
        std::vector<int> seen(n);
        pool.share(n, piece, [&](uint64_t begin, uint64_t end, uint32_t part) {
          EXPECT_LT(part, threads);
          EXPECT_LT(begin, end);
          EXPECT_LE(end - begin, threads > 1 ? piece : n);
          for (uint64_t i = begin; i < end; ++i) ++seen[i];
        });
        EXPECT_EQ(seen, std::vector<int>(n, 1)) << threads << " threads, pieces of " << piece;
      }
    }
  }
}

// A part that is held up keeps the piece it has; the others take the rest of its range.
TEST(ThreadPool, ShareLeavesNothingToASlowPart) {
  rt::ThreadPool pool({.threads = 2, .pin = false, .cpus = {}});
  std::atomic<int> done{0};
  pool.share(100, 1, [&](uint64_t begin, uint64_t, uint32_t) {
    if (begin == 0) {  // whoever has it waits until all other 99 are done
      while (done.load() < 99) std::this_thread::yield();
    }
    ++done;
  });
  EXPECT_EQ(done.load(), 100);
}

TEST(ThreadPool, AheadStopsAtItsBudget) {
  const std::vector<char> memory(10000);
  rt::Ahead ahead;
  EXPECT_FALSE(ahead.fetch_some());
  ASSERT_TRUE(ahead.start(1, 64 * 8 * 3));
  EXPECT_FALSE(ahead.start(1, 64));
  ahead.add(memory.data(), 64 * 8);
  ahead.add(memory.data() + 1000, 9000);
  int calls = 1;
  while (ahead.fetch_some()) ++calls;
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(ahead.start(2, 64));
}

TEST(ThreadPool, AheadBelongsToThePartsOwnThread) {
  rt::ThreadPool pool({.threads = 2, .pin = false, .cpus = {}});
  for (int i = 0; i < 50; ++i) {
    const std::thread::id caller = std::this_thread::get_id();
    pool.run([&](uint32_t part) {
      const bool own = (part == 0) == (std::this_thread::get_id() == caller);
      EXPECT_EQ(pool.ahead(part) != nullptr, own);
    });
  }
  rt::ThreadPool one({.threads = 1, .pin = false, .cpus = {}});
  one.run([&](uint32_t part) { EXPECT_EQ(one.ahead(part), nullptr); });
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
