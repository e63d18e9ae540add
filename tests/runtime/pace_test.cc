// Deadline, cancel bound, duty, priority, locking, budget. Time is simulated: nothing here depends on the machine's
// speed.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "runtime/model/cpu_backend.h"
#include "runtime/model/forward.h"
#include "runtime/model/generate.h"
#include "runtime/model/pace.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

using rt::Pace;

uint64_t fake_now = 1000;
uint64_t slept = 0;
const rt::PaceClock kFake{[] { return fake_now; },
                          [](uint64_t until) {
                            if (until > fake_now) slept += until - fake_now, fake_now = until;
                          }};

struct PaceTest : testing::Test {
  PaceTest() { fake_now = 1000, slept = 0; }
  Pace pace{1, kFake};
  bool step(uint64_t us) {
    fake_now += us;
    return pace.step();
  }
};

TEST_F(PaceTest, WithoutLimitsEverythingGoesOn) {
  pace.begin_call();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(step(1000000));
  EXPECT_EQ(slept, 0u);
  EXPECT_EQ(pace.next_chunk(64), 64u);
  EXPECT_EQ(pace.longest_step_us(), 1000000u);
}

TEST_F(PaceTest, ADeadlineEndsACallAndNotTheNext) {
  pace.limits.deadline_us = 100;
  pace.begin_call();
  EXPECT_TRUE(step(99));
  EXPECT_TRUE(pace.has_time_for(1));
  EXPECT_FALSE(pace.has_time_for(2));
  EXPECT_FALSE(step(1));
  EXPECT_TRUE(pace.past_deadline());
  pace.begin_call();
  EXPECT_FALSE(pace.past_deadline());
  EXPECT_TRUE(step(99));
}

TEST_F(PaceTest, ACancelIsSeenAfterTheStepAndTakenOnce) {
  pace.begin_call();
  pace.cancel();
  EXPECT_FALSE(step(1));
  EXPECT_FALSE(step(1));
  EXPECT_TRUE(pace.take_cancel());
  EXPECT_FALSE(pace.take_cancel());
  EXPECT_TRUE(step(1));
}

// A machine on which a step takes base + slope · tokens µs, getting slower with the position as attention does.
TEST_F(PaceTest, ChunksHoldTheBoundOnMachinesOfAnySpeed) {
  for (const uint64_t slope : {1u, 10u, 100u, 1000u}) {
    for (const uint64_t bound : {1000u, 10000u, 100000u}) {
      Pace p(1, kFake);
      p.limits.bound_us = bound;
      p.begin_call();
      uint32_t position = 0, largest = 0;
      while (position < 4000) {
        const uint32_t n = p.next_chunk(512);
        ASSERT_GE(n, 1u);
        largest = std::max(largest, n);
        p.begin_step();
        for (int layer = 0; layer < 3; ++layer) {
          const uint64_t us = slope * 4 + n * slope * (4000 + position) / 4000;
          if (n > 1) {
            EXPECT_LE(us, bound) << slope << " " << n << " " << position;
          }
          fake_now += us;
          EXPECT_TRUE(p.step());
        }
        p.chunk_done(n);
        position += n;
      }
      const uint64_t one = 5 * slope;  // a step of one token at the start
      if (bound < 3 * one) continue;
      const uint64_t possible = std::min<uint64_t>(512, bound / one);
      EXPECT_GE(largest, std::max<uint64_t>(1, possible / 2)) << slope << " " << bound;
    }
  }
}

TEST_F(PaceTest, DutyIsKeptInEveryWindow) {
  for (const uint32_t percent : {1u, 10u, 25u, 50u, 99u}) {
    for (const uint64_t length : {50u, 700u, 3000u, 40000u}) {
      Pace p(1, kFake);
      p.limits.duty_percent = percent;
      p.limits.duty_window_us = 10000;
      p.begin_call();
      const uint64_t start = fake_now;
      uint64_t busy = 0;
      for (int i = 0; i < 500; ++i) {
        fake_now += length;
        busy += length;
        EXPECT_TRUE(p.step());
      }
      // Over all, at most the share, but for what one step and one window can be off.
      const double elapsed = static_cast<double>(fake_now - start);
      EXPECT_LE(static_cast<double>(busy), elapsed * percent / 100 + static_cast<double>(length) + 10000);
      EXPECT_GE(static_cast<double>(busy), elapsed * percent / 100 * 0.9 - static_cast<double>(length) - 10000);
    }
  }
}

TEST_F(PaceTest, ACancelEndsAPause) {
  pace.limits.duty_percent = 1;
  pace.begin_call();
  pace.cancel();
  EXPECT_FALSE(step(1000000));
  EXPECT_EQ(slept, 0u);
}

TEST_F(PaceTest, APollSeesCancelAndDeadlineAndShortensTheLongestTime) {
  pace.limits.deadline_us = 1000;
  pace.begin_call();
  pace.begin_step();
  for (int i = 0; i < 9; ++i) {
    fake_now += 100;
    EXPECT_FALSE(pace.poll());
  }
  EXPECT_EQ(pace.longest_step_us(), 100u);
  fake_now += 100;
  EXPECT_TRUE(pace.poll());
  EXPECT_FALSE(pace.step());
  pace.limits.deadline_us = 0;
  pace.begin_call();
  pace.begin_step();
  EXPECT_FALSE(pace.poll());
  pace.cancel();
  EXPECT_TRUE(pace.poll());
  EXPECT_TRUE(pace.take_cancel());
  EXPECT_FALSE(pace.step());  // the chunk is lost all the same
  pace.begin_step();
  EXPECT_TRUE(step(1));
}

// ---------------------------------------------------------------- on sessions

// Time passes by one at every look, so that a deadline falls where one likes: the pass ends there, not at the layer's
// end, wherever it falls; what comes after it is as if it had not been.
TEST(Manners, AChunkIsLeftInTheMiddleOfALayer) {
  static uint64_t looks;
  const rt::PaceClock counting{[] { return ++looks; }, [](uint64_t) {}};
  for (const uint32_t bits : {2u, 16u}) {
    const Loaded loaded({.n_layers = 1, .context = 1024, .bits = bits, .embedding_bits = bits});
    const rt::Weights& w = loaded.model->weights();
    for (const uint32_t threads : {1u, 3u}) {
      rt::ThreadPool pool({.threads = threads});
      rt::Arena arena(64 << 20), cache(16 << 20);
      rt::CpuBackend backend(w, {.context = 1024, .max_tokens = 512, .threads = threads}, loaded.model->kernels(),
                             &pool, arena, cache);
      rt::Forward forward(w, backend);
      const auto tokens = some_tokens(512, 272);
      std::vector<float> whole(512 * 272), logits(512 * 272);
      rt::Pace pace(threads, counting);
      looks = 0;
      pace.begin_call();
      ASSERT_TRUE(forward.run(0, tokens, 0, whole.data(), false, pace));
      const uint64_t all = looks;  // of a whole pass by the calling thread
      EXPECT_GT(all, 40u / threads) << bits;
      EXPECT_LE(pace.longest_step_us(), 1u);
      if (threads > 1) continue;  // the workers' looks pass time too
      for (uint64_t at = 4; at < all - 2; at += 53) {
        looks = 0;
        pace.limits.deadline_us = at;
        pace.begin_call();
        ASSERT_FALSE(forward.run(0, tokens, 0, logits.data(), false, pace)) << at << " of " << all;
        EXPECT_LE(looks, at + 6) << all;
        pace.limits.deadline_us = 0;
        pace.begin_call();
        ASSERT_TRUE(forward.run(0, tokens, 0, logits.data(), false, pace));
        ASSERT_EQ(std::memcmp(logits.data(), whole.data(), logits.size() * sizeof(float)), 0) << at;
      }
    }
  }
}

// Another thread cancels again and again: every evaluation is cancelled or right.
TEST(Manners, CancelsAtAnyMomentLeaveASessionThatGoesOn) {
  const Loaded loaded({.n_layers = 2, .context = 1024});
  const auto tokens = some_tokens(300, 272);
  rt::Session plain(loaded.model, {.threads = 1}), s(loaded.model, {.threads = 2, .chunk = 300});
  plain.eval(tokens, nullptr);
  std::atomic<bool> done{false};
  std::thread other([&] {
    for (uint32_t i = 0; !done; ++i) {
      s.cancel();
      std::this_thread::sleep_for(std::chrono::microseconds(50 + i * 37 % 4000));
    }
  });
  int cancelled = 0, whole = 0;
  for (int i = 0; i < 3000 && (cancelled < 50 || whole < 20); ++i) {
    s.truncate(0);
    const svq_status status = status_of([&] { s.eval(tokens, nullptr); });
    if (status == SVQ_OK) {
      ++whole;
      EXPECT_EQ(std::memcmp(s.logits(), plain.logits(), 272 * sizeof(float)), 0);
    } else {
      ASSERT_EQ(status, SVQ_ERROR_CANCELLED);
      ++cancelled;
      EXPECT_EQ(s.position(), 0u);
      EXPECT_EQ(s.logits(), nullptr);
    }
  }
  done = true;
  other.join();
  EXPECT_GT(cancelled, 0);
}

TEST(Manners, ADeadlineStopsGenerationWithWhatItHas) {
  const Loaded loaded(make_tiny_saying('E'));
  rt::Session s(loaded.model, {.threads = 1});
  svq_generate_result r;
  s.pace().limits.deadline_us = 1;
  rt::generate(s, some_tokens(200, 256), 5, nullptr, nullptr, r);
  EXPECT_EQ(r.stop, 5);
  EXPECT_EQ(r.n_generated, 0u);
  EXPECT_EQ(r.n_prompt, s.position());
  s.pace().limits.deadline_us = uint64_t{3600} * 1000000;
  rt::generate(s, some_tokens(3, 256), 5, nullptr, nullptr, r);
  EXPECT_EQ(r.stop, 1);
  EXPECT_EQ(r.n_generated, 5u);
}

TEST(Manners, ADeadlineInsideAnEvaluationLeavesWholeChunks) {
  const Loaded loaded({.n_layers = 3});
  const auto tokens = some_tokens(200, 272);
  rt::Session s(loaded.model, {.threads = 1, .chunk = 7});
  s.pace().limits.deadline_us = 1;
  s.pace().begin_call();
  std::string message;
  EXPECT_EQ(status_of([&] { s.eval(tokens, nullptr); }, &message), SVQ_ERROR_DEADLINE);
  EXPECT_NE(message.find("1 microseconds"), std::string::npos) << message;
  EXPECT_EQ(s.position() % 7, 0u);
  s.pace().limits.deadline_us = 0;
  s.pace().begin_call();
  s.eval({tokens.data() + s.position(), 200 - s.position()}, nullptr);
  rt::Session fresh(loaded.model, {.threads = 1});
  fresh.eval(tokens, nullptr);
  EXPECT_EQ(std::memcmp(s.logits(), fresh.logits(), 272 * sizeof(float)), 0);
}

TEST(Manners, LimitsChangeNoResult) {
  const Loaded loaded({.n_layers = 3});
  const auto tokens = some_tokens(200, 272);
  rt::Session s(loaded.model, {.threads = 2}), plain(loaded.model, {.threads = 1});
  s.pace().limits = {.bound_us = 50, .duty_percent = 90, .duty_window_us = 200};
  s.pace().begin_call();
  s.eval(tokens, nullptr);
  plain.eval(tokens, nullptr);
  EXPECT_EQ(std::memcmp(s.logits(), plain.logits(), 272 * sizeof(float)), 0);
}

// Nice values of this process's threads.
std::vector<int> nice_values() {
  std::vector<int> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    out.push_back(getpriority(PRIO_PROCESS, static_cast<id_t>(std::stoi(entry.path().filename().string()))));
  }
  return out;
}

TEST(Manners, PriorityIsTheWorkersAndNotTheCallers) {
  const Loaded loaded(TinyOptions{});
  const int mine = getpriority(PRIO_PROCESS, 0);
  const int wanted = std::min(19, mine + 3);
  const auto before = nice_values();
  rt::Session s(loaded.model, {.threads = 4, .nice = wanted});
  const auto after = nice_values();
  const auto count = [&](const std::vector<int>& v) { return std::count(v.begin(), v.end(), wanted); };
  if (wanted != mine) {
    EXPECT_EQ(count(after) - count(before), 3);
  }
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), mine);
  rt::Session idle(loaded.model, {.threads = 2, .nice = 20});
  idle.eval(some_tokens(5, 272), nullptr);
}

TEST(Manners, LockedMemoryWorksOrIsRefusedWithNumbers) {
  const Loaded loaded(TinyOptions{});
  std::string message;
  const svq_status status = status_of(
      [&] {
        rt::Session s(loaded.model, {.threads = 1, .lock = true});
        s.eval(some_tokens(5, 272), nullptr);
      },
      &message);
  if (status != SVQ_OK) {
    EXPECT_EQ(status, SVQ_ERROR_OUT_OF_MEMORY);
    EXPECT_NE(message.find("bytes cannot be locked"), std::string::npos) << message;
  }
}

TEST(Manners, ABudgetRefusesWithNumbersAndGivesBack) {
  const auto bytes = file_bytes(make_tiny());
  const TemporaryFile file(bytes);
  std::string message;
  EXPECT_EQ(status_of([&] { (void)rt::Model::load(file.path(), {.memory_budget = bytes.size()}); }, &message),
            SVQ_ERROR_OUT_OF_MEMORY);
  EXPECT_NE(message.find(std::to_string(bytes.size()) + " bytes and "), std::string::npos) << message;

  const auto probe = rt::Model::load(file.path(), {});
  const rt::SessionOptions options{.context = 64, .threads = 1};
  const uint64_t session = rt::session_bytes(probe->weights(), probe->kernels(), options);
  const uint64_t model = bytes.size() + rt::model_heap_bytes(probe->metadata(), probe->weights());
  const auto tight = rt::Model::load(file.path(), {.memory_budget = model + 2 * session});
  const auto a = std::make_unique<rt::Session>(tight, options);
  auto b = std::make_unique<rt::Session>(tight, options);
  EXPECT_EQ(status_of([&] { rt::Session c(tight, options); }, &message), SVQ_ERROR_OUT_OF_MEMORY);
  EXPECT_NE(message.find(std::to_string(session)), std::string::npos) << message;
  EXPECT_NE(message.find(std::to_string(model + 2 * session)), std::string::npos) << message;
  EXPECT_EQ(status_of([&] { rt::Session c(*a, options); }), SVQ_ERROR_OUT_OF_MEMORY);  // a fork counts in full
  b.reset();
  rt::Session again(tight, options);
}

}  // namespace
}  // namespace svq::test
