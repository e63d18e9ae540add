// Sessions on the emulated GPU: what they have in common with the CPU's, forks, saved states, shifts, and what is
// refused.
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/model/generate.h"
#include "tests/cuda/emulated.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

struct OnGpu {
  explicit OnGpu(const TinyOptions& tiny = {}, uint64_t budget = 0)
      : bytes(file_bytes(make_tiny(tiny))),
        model(std::make_shared<const rt::Model>(rt::ModelFile::view(bytes.span(), "tiny"), emulated(), budget)) {}
  std::span<uint8_t> bytes_span() { return bytes.span(); }
  PageBytes bytes;
  std::shared_ptr<const rt::Model> model;
};

template <class Body>
void expect_refused(const Body& body, const std::string& names) {
  std::string message;
  EXPECT_EQ(status_of(body, &message), SVQ_ERROR_UNSUPPORTED) << names;
  EXPECT_NE(message.find(names), std::string::npos) << message;
}

TEST(CudaSession, WhatItCannotDoIsRefusedAndNothingChanges) {
  const OnGpu on;
  expect_refused([&] { rt::Session(on.model, {.activations = 32}); }, "float activations");
  expect_refused([&] { rt::Session(on.model, {.nice = 5}); }, "SVQ_SESSION_GPU_PRIORITY");
}

uint64_t free_memory(const std::shared_ptr<const rt::Model>& model) {
  uint64_t out = 0;
  EXPECT_EQ(model->on_gpu()->device().free_memory(&out), nullptr);
  return out;
}

// Whole pages of 256 positions are shared: a fork after 260 takes a page less, and each session goes on as if it had
// been alone, whoever writes first, whoever lives longer.
TEST(CudaSession, ForksShareThePagesOfTheirPrefix) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    const OnGpu on({.n_layers = 1, .context = 600});
    const rt::SessionOptions options{.context = 600, .kv_bits = kv_bits, .chunk = 64};
    const auto prompt = some_tokens(260, 272, 1), left = some_tokens(5, 272, 2), right = some_tokens(9, 272, 3);
    const auto fresh = [&](const std::vector<int32_t>& tokens) {
      rt::Session s(on.model, options);
      s.eval(tokens, nullptr);
      return logits_of(s);
    };
    const uint64_t empty = free_memory(on.model);
    auto parent = std::make_unique<rt::Session>(on.model, options);
    const uint64_t whole = empty - free_memory(on.model);
    parent->eval(prompt, nullptr);
    parent->eval({prompt.data(), 1}, nullptr);  // captures the graph
    parent->truncate(260);
    parent->eval({prompt.data(), 1}, nullptr);
    parent->truncate(260);
    const uint64_t before = free_memory(on.model);
    rt::Session a(*parent, options);
    const uint64_t fork = before - free_memory(on.model);
    rt::Session b(*parent, options);
    const uint64_t page = uint64_t{2} * 2 * 256 * (kv_bits == 16 ? 16 * 2 : 16 + 4);  // k and v, heads
    EXPECT_EQ(whole - fork, page);
    a.eval(left, nullptr);
    EXPECT_EQ(logits_of(a), fresh(joined(prompt, left)));
    b.eval(right, nullptr);
    parent->truncate(100);  // into a page that is shared: the parent gets one of its own
    parent->eval(left, nullptr);
    EXPECT_EQ(logits_of(*parent), fresh(joined({prompt.begin(), prompt.begin() + 100}, left)));
    EXPECT_EQ(logits_of(b), fresh(joined(prompt, right)));
    rt::Session grandchild(b, options);
    parent.reset();
    b.truncate(263);
    b.eval(left, nullptr);
    grandchild.eval(left, nullptr);
    EXPECT_EQ(logits_of(grandchild), fresh(joined(joined(prompt, right), left)));
    EXPECT_EQ(logits_of(b), fresh(joined(joined(prompt, {right.begin(), right.begin() + 3}), left)));
    a.eval(right, nullptr);
    EXPECT_EQ(logits_of(a), fresh(joined(joined(prompt, left), right)));
  }
}

TEST(CudaSession, AForkDrawsAsItsParentWould) {
  const OnGpu on;
  rt::Session a(on.model, {.context = 64});
  a.sampler().settings = {.temperature = 1.5, .top_k = 0, .top_p = 1, .min_p = 0};
  a.sampler().seed(77);
  a.eval(some_tokens(5, 272), nullptr);
  (void)a.sample();
  rt::Session b(a, {});
  for (int i = 0; i < 12; ++i) {
    const int32_t token = a.sample();
    ASSERT_EQ(token, b.sample()) << i;
    a.eval({&token, 1}, nullptr);
    b.eval({&token, 1}, nullptr);
  }
}

// The same bytes on both backends: a session saved on the one goes on on the other.
TEST(CudaSession, SavedStatesGoOnHereAndOnTheCpu) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    OnGpu on({.context = 512, .bits = 16, .embedding_bits = 16});
    const auto cpu = std::make_shared<const rt::Model>(rt::ModelFile::view(on.bytes_span(), "tiny"));
    const rt::SessionOptions options{.context = 400, .threads = 1, .kv_bits = kv_bits};
    const auto tokens = some_tokens(260, 272), rest = some_tokens(3, 272, 4);
    rt::Session a(on.model, options), b(on.model, {.context = 330, .kv_bits = kv_bits}), c(cpu, options),
        d(on.model, options);
    a.eval(tokens, nullptr);
    b.eval(some_tokens(7, 272, 8), nullptr);
    const auto state = saved(a);
    b.restore_state(state, "state");
    EXPECT_EQ(logits_of(a), logits_of(b));
    EXPECT_EQ(saved(b), state);
    c.restore_state(state, "state");
    EXPECT_EQ(saved(c), state);  // bytes written by the one, read by the other
    d.restore_state(saved(c), "state");
    for (rt::Session* s : {&a, &b, &c, &d}) s->eval(rest, nullptr);
    EXPECT_EQ(logits_of(a), logits_of(b));
    EXPECT_EQ(logits_of(a), logits_of(d));
    EXPECT_LT(relative_error(logits_of(a), logits_of(c)), kv_bits == 16 ? 1e-3 : 0.05);
    auto bad = state;
    bad[state.size() / 2] ^= 1;
    const auto before = logits_of(b);
    EXPECT_EQ(status_of([&] { b.restore_state(bad, "state"); }), SVQ_ERROR_CHECKSUM);
    EXPECT_EQ(logits_of(b), before);
  }
}

// As on the CPU (tests/runtime/state_test.cc), over the borders of pages, and with pages that a fork holds.
TEST(CudaSession, AShiftedContextIsAsIfItHadAlwaysStoodThere) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    for (const uint32_t keep : {0u, 3u}) {
      if ((kv_bits == 8) != (keep == 0)) continue;  // one of each
      const OnGpu on({.n_layers = 1, .context = 1024, .bits = 16, .embedding_bits = 16});
      const uint32_t context = 270;
      const auto tokens = some_tokens(context + 1, 272, 5);
      rt::Session s(on.model, {.context = context, .kv_bits = kv_bits, .shift = true, .keep = keep});
      s.eval({tokens.data(), context}, nullptr);
      const auto full = logits_of(s);
      const rt::Session fork(s, {});
      s.eval({tokens.data() + context, 1}, nullptr);
      const uint32_t drop = (context - keep) / 2;
      EXPECT_EQ(s.position(), context + 1 - drop);
      std::vector<int32_t> rest(tokens.begin(), tokens.begin() + keep);
      rest.insert(rest.end(), tokens.begin() + keep + drop, tokens.end());
      rt::Session fresh(on.model, {.context = context, .kv_bits = kv_bits});
      fresh.eval(rest, nullptr);
      EXPECT_LT(relative_error(logits_of(s), logits_of(fresh)), kv_bits == 16 ? 2e-3 : 2e-2) << keep;
      EXPECT_EQ(logits_of(fork), full);
    }
  }
}

TEST(CudaSession, GenerationGoesOnInAFullContext) {
  const OnGpu on(TinyOptions{});
  rt::Session s(on.model, {.context = 16, .chunk = 4, .shift = true, .keep = 2});
  s.eval(some_tokens(50, 256), nullptr);
  EXPECT_LE(s.position(), 16u);
  svq_generate_result r;
  rt::generate(s, {}, 40, nullptr, nullptr, r);
  EXPECT_NE(r.stop, 3);
}

TEST(CudaSession, PriorityReachesTheStream) {
  const OnGpu on;
  for (const int32_t priority : {0, 3, 5}) {
    const rt::Session s(on.model, {.context = 64, .gpu_priority = priority});
    EXPECT_EQ(cuda::emulated_counts().last_priority, priority);
  }
}

// A grammar's mask needs all logits: they are fetched, and the constraint holds.
TEST(CudaSession, GrammarsHoldAndAreReadFromTheFetchedLogits) {
  const OnGpu on;
  const auto grammar = std::make_shared<const rt::Grammar>(rt::parse_gbnf("root ::= [a-c]{4} \"!\""),
                                                           on.model->token_trie(), *on.model->tokenizer());
  for (const double temperature : {0.0, 1.5}) {
    rt::Session s(on.model, {.context = 64});
    s.sampler().settings = {.temperature = temperature};
    s.set_grammar(grammar);
    std::string text;
    svq_generate_result r;
    rt::generate(
        s, some_tokens(4, 256), 20,
        [](const char* t, size_t n, svq_token, void* user) {
          static_cast<std::string*>(user)->append(t, n);
          return 0;
        },
        &text, r);
    EXPECT_EQ(r.stop, 0);
    ASSERT_EQ(text.size(), 5u) << text;
    EXPECT_EQ(text.find_first_not_of("abc"), 4u) << text;
    EXPECT_EQ(text.back(), '!');
  }
}

// A chunk is one step of the pace: after the first, a bound that none can hold leaves one token a chunk, each waited
// for. None of it changes a logit.
TEST(CudaSession, ABoundMakesChunksSmallAndChangesNoLogit) {
  const OnGpu on;
  const auto tokens = some_tokens(24, 272);
  const auto waits = [&](uint64_t bound, std::vector<float>* logits) {
    rt::Session s(on.model, {.context = 64, .chunk = 12});
    s.pace().limits.bound_us = bound;
    s.pace().begin_call();
    const uint64_t before = cuda::emulated_counts().synchronizations;
    s.eval(tokens, nullptr);
    const uint64_t after = cuda::emulated_counts().synchronizations;
    logits->assign(s.logits(), s.logits() + 272);
    return after - before;
  };
  std::vector<float> free, bound;
  EXPECT_LE(waits(0, &free), 3u);
  EXPECT_GE(waits(1, &bound), 24u);
  EXPECT_EQ(free, bound);
}

TEST(CudaSession, ADutyLimitAndADeadlineChangeNoLogit) {
  const OnGpu on;
  const auto tokens = some_tokens(9, 272);
  rt::Session plain(on.model, {.context = 64, .chunk = 2}), limited(on.model, {.context = 64, .chunk = 2});
  limited.pace().limits = {.deadline_us = 3600ull * 1000 * 1000, .duty_percent = 50, .duty_window_us = 100};
  limited.pace().begin_call();
  plain.eval(tokens, nullptr);
  limited.eval(tokens, nullptr);
  EXPECT_TRUE(std::equal(plain.logits(), plain.logits() + 272, limited.logits()));
  limited.pace().limits.deadline_us = 1;  // over before the first chunk has been queued
  limited.pace().begin_call();
  while (!limited.pace().past_deadline()) {
  }
  EXPECT_EQ(status_of([&] { limited.eval(tokens, nullptr); }), SVQ_ERROR_DEADLINE);
  EXPECT_EQ(limited.position(), 9u);
}

TEST(CudaSession, TheBudgetCountsTheWeightsOnTheGpuAndEverySession) {
  const OnGpu probe;
  const rt::SessionOptions options{.context = 64, .chunk = 8};
  const uint64_t model = rt::DeviceModel::bytes(probe.model->file(), probe.model->weights()) +
                         rt::model_heap_bytes(probe.model->metadata(), probe.model->weights());
  const uint64_t session = rt::Session(probe.model, options).memory() +
                           rt::gpu_session_bytes(probe.model->weights(), probe.model->on_gpu().get(), options);
  const OnGpu tight({}, model + 2 * session);
  const rt::Session a(tight.model, options);
  {
    const rt::Session b(tight.model, options);
    std::string message;
    EXPECT_EQ(status_of([&] { rt::Session(tight.model, options); }, &message), SVQ_ERROR_OUT_OF_MEMORY);
    EXPECT_NE(message.find(std::to_string(session)), std::string::npos) << message;
  }
  const rt::Session again(tight.model, options);
}

}  // namespace
}  // namespace svq::test
