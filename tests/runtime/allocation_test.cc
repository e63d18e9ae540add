// After a session is created, evaluating and sampling allocate nothing, touch no file and take no lock: every call of
// malloc, open, mmap, pthread_mutex_lock and their kin in this program is counted.
#include <gtest/gtest.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <vector>

#include "runtime/grammar/json_schema.h"
#include "runtime/model/generate.h"
#include "tests/runtime/helpers.h"

namespace {
std::atomic<uint64_t> allocations{0}, files{0}, locks{0};
}

// Sanitizers bring their own malloc.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GLIBC__)
#define SVQ_COUNTS_ALLOCATIONS 1
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* malloc(size_t n) {
  ++allocations;
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  ++allocations;
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  ++allocations;
  return __libc_realloc(p, n);
}
int open(const char* path, int flags, ...) {
  ++files;
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return openat(AT_FDCWD, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  ++files;
  static const auto next = reinterpret_cast<FILE* (*)(const char*, const char*)>(dlsym(RTLD_NEXT, "fopen"));
  return next(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  ++files;
  static const auto next = reinterpret_cast<FILE* (*)(const char*, const char*)>(dlsym(RTLD_NEXT, "fopen64"));
  return next(path, mode);
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) noexcept {
  ++files;
  static const auto next = reinterpret_cast<void* (*)(void*, size_t, int, int, int, off_t)>(dlsym(RTLD_NEXT, "mmap"));
  return next(at, n, protection, flags, fd, offset);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  ++locks;
  static const auto next = reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  return next(mutex);
}
}
#else
#define SVQ_COUNTS_ALLOCATIONS 0
#endif

namespace svq::test {
namespace {

class Allocation : public testing::Test {
 protected:
  void SetUp() override {
    if (!SVQ_COUNTS_ALLOCATIONS) GTEST_SKIP() << "malloc cannot be counted in this build";
  }
};

TEST_F(Allocation, TheCounterCounts) {
  const uint64_t before = allocations;
  std::vector<int> values;
  values.resize(100 + before % 2);
  EXPECT_GT(allocations, before) << values.size();
  const uint64_t f = files;
  std::ifstream in("/dev/null");
  (void)rt::MemoryMap::anonymous(4096);
  std::mutex mutex;
  const uint64_t l = locks;
  mutex.lock();
  mutex.unlock();
  EXPECT_GE(files, f + 2);
  EXPECT_EQ(locks, l + 1);
}

TEST_F(Allocation, NothingIsAllocatedAfterTheSessionIsCreated) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    for (const uint32_t threads : {1u, 3u}) {
      const Loaded loaded(
          {.hidden = 128, .intermediate = 512, .bits = 0, .biases = true, .qk_norms = true, .side_paths = true});
      const auto tokens = some_tokens(50, 272);
      std::vector<float> logits(50 * 272);
      rt::Session session(
          loaded.model, {.context = 120, .threads = threads, .kv_bits = kv_bits, .chunk = 8, .shift = true, .keep = 5});
      session.sampler().settings = {
          .temperature = 1, .top_k = 20, .top_p = 0.9, .min_p = 0.01, .repetition_penalty = 1.1};

      const auto grammar = std::make_shared<const rt::Grammar>(
          rt::parse_gbnf(rt::schema_grammar("{\"type\": \"array\", \"minItems\": 3}")), loaded.model->token_trie(),
          *loaded.model->tokenizer());
      rt::Session beside(loaded.model, {.context = 200, .threads = 1, .kv_bits = kv_bits});
      rt::Session constrained(loaded.model, {.context = 200, .threads = threads, .kv_bits = kv_bits});
      constrained.set_grammar(grammar);
      session.pace().limits = {
          .deadline_us = uint64_t{3600} * 1000000, .bound_us = 2000, .duty_percent = 90, .duty_window_us = 500};

      const uint64_t before = allocations, files_before = files, locks_before = locks;
      session.eval(tokens, nullptr);
      session.eval(tokens, logits.data());
      for (int i = 0; i < 20; ++i) {
        const int32_t token = session.sample();
        session.eval({&token, 1}, nullptr);
      }
      session.sampler().settings.temperature = 0;
      (void)session.sample();
      session.sampler().settings = {.top_k = 0};
      (void)session.sample();
      rt::Session* const both[] = {&session, &beside};
      for (int i = 0; i < 5; ++i)
        rt::Session::eval_together(both, std::span(tokens).subspan(static_cast<size_t>(i), 2));
      session.truncate(10);
      session.eval(tokens, nullptr);
      svq_generate_result result;
      rt::generate(
          session, {}, 200, [](const char*, size_t, svq_token, void*) { return 0; }, nullptr, result);
      EXPECT_EQ(result.stop, 1);
      rt::generate(
          constrained, tokens, 140, [](const char*, size_t, svq_token, void*) { return 0; }, nullptr, result);
      EXPECT_EQ(result.stop, 0);
      EXPECT_EQ(allocations, before) << threads << " threads";
      EXPECT_EQ(files, files_before) << threads << " threads";
      EXPECT_EQ(locks, locks_before) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace svq::test
