// Sessions on the emulated GPU: what they have in common with the CPU's, and what is refused.
#include <gtest/gtest.h>

#include "kernels-cuda/emulation/device.h"
#include "runtime/model/generate.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

std::shared_ptr<cuda::Device> emulated() { return std::shared_ptr<cuda::Device>(cuda::open_emulated({})); }

struct OnGpu {
  explicit OnGpu(const TinyOptions& tiny = {}, uint64_t budget = 0)
      : bytes(file_bytes(make_tiny(tiny))),
        model(std::make_shared<const rt::Model>(rt::ModelFile::view(bytes.span(), "tiny"), emulated(), budget)) {}
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
  expect_refused([&] { rt::Session(on.model, {.shift = true}); }, "SVQ_SESSION_SHIFT");
  expect_refused([&] { rt::Session(on.model, {.nice = 5}); }, "SVQ_SESSION_GPU_PRIORITY");

  rt::Session s(on.model, {.context = 64});
  const auto tokens = some_tokens(5, 272);
  s.eval(tokens, nullptr);
  const std::vector<float> before(s.logits(), s.logits() + 272);
  std::vector<uint8_t> bytes(1 << 20);
  expect_refused([&] { rt::Session fork(s, {}); }, "fork of a session");
  expect_refused([&] { (void)s.state_bytes(); }, "save of a session");
  expect_refused([&] { s.save_state(bytes.data()); }, "save of a session");
  expect_refused([&] { s.restore_state(bytes, "state"); }, "restore of a session");
  EXPECT_EQ(s.position(), 5u);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), s.logits()));
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
