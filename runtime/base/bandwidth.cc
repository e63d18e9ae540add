#include "runtime/base/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "runtime/base/memory_map.h"
#include "runtime/base/thread_pool.h"

namespace svq::rt {

double measure_read_bandwidth(uint32_t threads, uint64_t bytes) {
  MemoryMap memory = MemoryMap::anonymous(bytes);
  memory.prefer_huge_pages();
  ThreadPool pool({.threads = threads, .pin = false, .cpus = {}});
  struct alignas(64) Sum {
    uint64_t value;
  };
  std::vector<Sum> sums(threads);
  const uint64_t lines = bytes / 64;
  // Each thread writes what it will read: on several memory nodes its part lies near it.
  pool.split(lines, [&](uint64_t begin, uint64_t end, uint32_t) {
    std::memset(memory.data() + begin * 64, 1, (end - begin) * 64);
  });
  // With and without prefetching: on some machines the one is faster, on some the other.
  constexpr uint64_t kAhead = 512;  // words: a page
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const bool prefetch = pass % 2;
    const auto start = std::chrono::steady_clock::now();
    pool.split(lines, [&](uint64_t begin, uint64_t end, uint32_t thread) {
      const auto* words = reinterpret_cast<const uint64_t*>(memory.data());
      uint64_t sum[8] = {};  // independent sums, which compilers turn into vectors
      for (uint64_t i = begin * 8; i < end * 8; i += 8) {
        if (prefetch) __builtin_prefetch(words + i + kAhead);
        for (int j = 0; j < 8; ++j) sum[j] += words[i + static_cast<uint64_t>(j)];
      }
      for (const uint64_t s : sum) sums[thread].value += s;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(lines * 64) / seconds);
  }
  volatile uint64_t sink = 0;  // the sums are used: the reads cannot be dropped
  for (const Sum& s : sums) sink = sink + s.value;
  return best;
}

}  // namespace svq::rt
