// After a session is created, evaluating and sampling allocate nothing: every call of malloc and its kin in this
// program is counted.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <vector>

#include "runtime/model/generate.h"
#include "tests/runtime/helpers.h"

namespace {
std::atomic<uint64_t> allocations{0};
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
}

TEST_F(Allocation, NothingIsAllocatedAfterTheSessionIsCreated) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    for (const uint32_t threads : {1u, 3u}) {
      const Loaded loaded(
          {.hidden = 128, .intermediate = 512, .bits = 0, .biases = true, .qk_norms = true, .side_paths = true});
      const auto tokens = some_tokens(50, 272);
      std::vector<float> logits(50 * 272);
      rt::Session session(loaded.model, {.threads = threads, .kv_bits = kv_bits, .chunk = 8});
      session.sampler().settings = {
          .temperature = 1, .top_k = 20, .top_p = 0.9, .min_p = 0.01, .repetition_penalty = 1.1};

      const uint64_t before = allocations;
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
      session.truncate(10);
      session.eval(tokens, nullptr);
      svq_generate_result result;
      rt::generate(
          session, {}, 30, [](const char*, size_t, svq_token, void*) { return 0; }, nullptr, result);
      EXPECT_EQ(allocations, before) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace svq::test
