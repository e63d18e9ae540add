// Sessions that are evaluated together get what each would get alone, to the bit.
#include <gtest/gtest.h>

#include "svqrt/svqrt.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

using rt::Session;
using rt::SessionOptions;

struct Case {
  std::string name;
  TinyOptions model;
  uint32_t threads = 1;
};

class Together : public testing::TestWithParam<Case> {};

// Contexts of different lengths and caches of both widths; more sessions than a chunk holds.
TEST_P(Together, EqualsEachAlone) {
  const Loaded loaded(GetParam().model);
  constexpr size_t kSessions = 7, kSteps = 6;
  std::vector<std::unique_ptr<Session>> together, alone;
  for (uint32_t i = 0; i < kSessions; ++i) {
    const SessionOptions options = {
        .context = 40 + i, .threads = GetParam().threads, .kv_bits = i % 3 ? 16u : 8u, .chunk = 5};
    for (auto* all : {&together, &alone}) {
      all->push_back(std::make_unique<Session>(loaded.model, options));
      all->back()->eval(some_tokens(3 * i, 272, i), nullptr);  // the first has none
    }
  }
  std::vector<Session*> sessions;
  for (const auto& s : together) sessions.push_back(s.get());
  for (uint32_t step = 0; step < kSteps; ++step) {
    const auto tokens = some_tokens(kSessions, 272, 100 + step);
    Session::eval_together(sessions, tokens);
    for (size_t i = 0; i < kSessions; ++i) {
      alone[i]->eval({&tokens[i], 1}, nullptr);
      ASSERT_EQ(logits_of(*together[i]), logits_of(*alone[i])) << "session " << i << ", step " << step;
      ASSERT_EQ(together[i]->position(), 3 * i + step + 1);
    }
  }
  for (size_t i = 0; i < kSessions; ++i) {
    EXPECT_EQ(saved(*together[i]), saved(*alone[i])) << i;
    // … and go on alone.
    const auto more = some_tokens(4, 272, 200);
    together[i]->eval(more, nullptr);
    alone[i]->eval(more, nullptr);
    EXPECT_EQ(logits_of(*together[i]), logits_of(*alone[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Together,
    testing::Values(Case{"TwoBits", {}}, Case{"Threads", {}, 3}, Case{"Halves", {.bits = 16}},
                    Case{"Everything", {.bits = 0, .biases = true, .qk_norms = true, .side_paths = true}, 2},
                    Case{"Window", {.sliding_window = 6}}),
    [](const auto& i) { return i.param.name; });

TEST(Together, ForksOfOnePrefixGoTheirWays) {
  const Loaded loaded(TinyOptions{});
  Session parent(loaded.model, {.context = 64, .threads = 1});
  parent.eval(some_tokens(20, 272), nullptr);
  Session a(parent, {.threads = 1}), b(parent, {.threads = 1});
  Session* all[] = {&a, &parent, &b};
  for (uint32_t step = 0; step < 5; ++step) Session::eval_together(all, some_tokens(3, 272, step));
  for (size_t i = 0; i < 3; ++i) {
    Session fresh(loaded.model, {.context = 64, .threads = 1});
    fresh.eval(some_tokens(20, 272), nullptr);
    for (uint32_t step = 0; step < 5; ++step) fresh.eval({some_tokens(3, 272, step).data() + i, 1}, nullptr);
    EXPECT_EQ(logits_of(*all[i]), logits_of(fresh)) << i;
  }
}

TEST(Together, FullContextsShiftOrAreRefused) {
  const Loaded loaded(TinyOptions{});
  Session full(loaded.model, {.context = 8, .threads = 1}), other(loaded.model, {.context = 8, .threads = 1});
  full.eval(some_tokens(8, 272), nullptr);
  Session* both[] = {&other, &full};
  std::string message;
  EXPECT_EQ(status_of([&] { Session::eval_together(both, some_tokens(2, 272)); }, &message), SVQ_ERROR_CONTEXT_FULL);
  EXPECT_NE(message.find("session 1"), std::string::npos) << message;
  EXPECT_EQ(other.position(), 0u);
  EXPECT_NE(full.logits(), nullptr);

  Session shifting(loaded.model, {.context = 8, .threads = 1, .shift = true}),
      alone(loaded.model, {.context = 8, .threads = 1, .shift = true});
  Session* pair[] = {&other, &shifting};
  for (uint32_t step = 0; step < 8; ++step) {
    const auto tokens = some_tokens(2, 272, step);
    Session::eval_together(pair, tokens);
    alone.eval({&tokens[1], 1}, nullptr);
  }
  other.truncate(0);
  for (uint32_t step = 0; step < 5; ++step) {
    const auto tokens = some_tokens(2, 272, step);
    Session::eval_together(pair, tokens);
    alone.eval({&tokens[1], 1}, nullptr);
    EXPECT_EQ(logits_of(shifting), logits_of(alone)) << step;
  }
}

TEST(Together, WhatDoesNotGoTogetherIsRefused) {
  const Loaded one(TinyOptions{}), another(TinyOptions{});
  Session a(one.model, {.threads = 1}), b(one.model, {.threads = 1}), c(another.model, {.threads = 1}),
      floats(one.model, {.threads = 1, .activations = 32});
  const auto refused = [&](std::vector<Session*> sessions, std::vector<int32_t> tokens, const char* word) {
    std::string message;
    EXPECT_EQ(status_of([&] { Session::eval_together(sessions, tokens); }, &message), SVQ_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(message.find(word), std::string::npos) << message;
    for (const Session* s : sessions) EXPECT_EQ(s->position(), 0u);
  };
  refused({&a, &b, &a}, {1, 2, 3}, "session 2 is there twice");
  refused({&a, &c}, {1, 2}, "another model");
  refused({&a, &floats}, {1, 2}, "activations");
  refused({&a, &b}, {1, 272}, "token 1 is 272");
  refused({&a, &b}, {-1, 1}, "token 0 is -1");
}

TEST(Together, ACancelOfTheFirstStopsAll) {
  const Loaded loaded(TinyOptions{});
  Session a(loaded.model, {.threads = 1}), b(loaded.model, {.threads = 1});
  Session* both[] = {&a, &b};
  a.cancel();
  EXPECT_EQ(status_of([&] { Session::eval_together(both, some_tokens(2, 272)); }), SVQ_ERROR_CANCELLED);
  EXPECT_EQ(a.position() + b.position(), 0u);
  b.cancel();  // counts for b's own next call
  Session::eval_together(both, some_tokens(2, 272));
  EXPECT_EQ(a.position() + b.position(), 2u);
  EXPECT_EQ(status_of([&] { b.eval(some_tokens(1, 272), nullptr); }), SVQ_ERROR_CANCELLED);
}

TEST(Together, TheCInterfaceChecksItsArguments) {
  svq_session* sessions[300] = {};
  const std::vector<svq_token> tokens(300, 1);
  EXPECT_EQ(svq_sessions_eval(nullptr, nullptr, 0), SVQ_OK);
  EXPECT_EQ(svq_sessions_eval(nullptr, tokens.data(), 1), SVQ_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(svq_sessions_eval(sessions, nullptr, 1), SVQ_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(svq_sessions_eval(sessions, tokens.data(), 1), SVQ_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(svq_last_error()).find("session 0 is NULL"), std::string::npos) << svq_last_error();
  EXPECT_EQ(svq_sessions_eval(sessions, tokens.data(), 300), SVQ_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(svq_last_error()).find("256"), std::string::npos) << svq_last_error();
}

}  // namespace
}  // namespace svq::test
