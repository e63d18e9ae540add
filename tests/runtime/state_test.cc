// What a session's context goes through as a whole: saved, restored, forked, shifted.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "runtime/model/generate.h"
#include "runtime/model/session_state.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

using rt::Session;
using rt::SessionOptions;

std::vector<int32_t> generated(Session& s, size_t n) {
  std::vector<int32_t> out;
  svq_generate_result r;
  rt::generate(
      s, {}, n,
      [](const char*, size_t, svq_token t, void* user) {
        static_cast<std::vector<int32_t>*>(user)->push_back(t);
        return 0;
      },
      &out, r);
  return out;
}

// Checksum made right after a change.
void reseal(std::vector<uint8_t>& state) {
  const uint64_t sum =
      XXH3_64bits(state.data() + offsetof(rt::StateHeader, bytes), state.size() - offsetof(rt::StateHeader, bytes));
  std::memcpy(state.data() + offsetof(rt::StateHeader, checksum), &sum, sizeof sum);
}

// ---------------------------------------------------------------- save, restore

TEST(State, ARestoredSessionContinuesAsTheSavedOneWould) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    const Loaded loaded({.bits = 0, .sliding_window = 20});
    Session a(loaded.model, {.threads = 2, .kv_bits = kv_bits});
    a.sampler().seed(5);
    a.eval(some_tokens(40, 272), nullptr);
    (void)a.sample();
    const auto state = saved(a);
    Session b(loaded.model, {.context = 100, .threads = 1, .kv_bits = kv_bits});  // another size of context
    b.eval(some_tokens(60, 272, 9), nullptr);
    b.restore_state(state, "state");
    EXPECT_EQ(b.position(), 40u);
    EXPECT_EQ(logits_of(a), logits_of(b));
    EXPECT_EQ(generated(a, 30), generated(b, 30));
    EXPECT_EQ(logits_of(a), logits_of(b));
  }
}

TEST(State, AnEmptySessionAndOneWithoutLogitsCanBeSaved) {
  const Loaded loaded(TinyOptions{});
  Session a(loaded.model, {.threads = 1}), b(loaded.model, {.threads = 1});
  b.eval(some_tokens(3, 272), nullptr);
  b.restore_state(saved(a), "state");
  EXPECT_EQ(b.position(), 0u);
  a.eval(some_tokens(10, 272), nullptr);
  a.truncate(7);
  b.restore_state(saved(a), "state");
  EXPECT_EQ(b.position(), 7u);
  EXPECT_EQ(b.logits(), nullptr);
}

TEST(State, AnotherModelIsRefusedByName) {
  TinyModel other = make_tiny({.seed = 2});
  other.meta.name = "other";
  const Loaded mine(TinyOptions{}), theirs(other), twin({.seed = 3});
  Session a(mine.model, {.threads = 1}), b(theirs.model, {.threads = 1}), c(twin.model, {.threads = 1});
  a.eval(some_tokens(5, 272), nullptr);
  b.eval(some_tokens(4, 272), nullptr);
  std::string message;
  EXPECT_EQ(status_of([&] { b.restore_state(saved(a), "s.svqk"); }, &message), SVQ_ERROR_MISMATCH);
  EXPECT_EQ(message, "s.svqk: saved by the model \"tiny\", but this session's model is \"other\"");
  EXPECT_EQ(status_of([&] { c.restore_state(saved(a), "s.svqk"); }, &message), SVQ_ERROR_MISMATCH);
  EXPECT_EQ(message, "s.svqk: saved by the model \"tiny\", but this session's model is \"tiny\", another conversion");
  EXPECT_EQ(b.position(), 4u);
  EXPECT_NE(b.logits(), nullptr);
}

TEST(State, AnotherCacheWidthAndATooSmallContextAreRefused) {
  const Loaded loaded(TinyOptions{});
  Session a(loaded.model, {.threads = 1}), narrow(loaded.model, {.threads = 1, .kv_bits = 8}),
      small(loaded.model, {.context = 9, .threads = 1});
  a.eval(some_tokens(10, 272), nullptr);
  EXPECT_EQ(status_of([&] { narrow.restore_state(saved(a), "s"); }), SVQ_ERROR_MISMATCH);
  EXPECT_EQ(status_of([&] { small.restore_state(saved(a), "s"); }), SVQ_ERROR_CONTEXT_FULL);
}

TEST(State, DamagedBytesAreRefusedAndNothingChanges) {
  const Loaded loaded(TinyOptions{});
  Session a(loaded.model, {.threads = 1}), b(loaded.model, {.threads = 1});
  a.eval(some_tokens(10, 272), nullptr);
  b.eval(some_tokens(4, 272), nullptr);
  const auto before = logits_of(b);
  const auto good = saved(a);
  for (size_t i = 0; i < good.size(); i += i < 120 ? 1 : 97) {  // any byte: seen by the checksum or before it
    if (i == 6 || i == 7) continue;                             // a newer minor version is welcome
    auto bad = good;
    bad[i] ^= 0x10;
    EXPECT_NE(status_of([&] { b.restore_state(bad, "s"); }), SVQ_OK) << i;
  }
  for (size_t n = 0; n < good.size(); n += 61) {
    EXPECT_EQ(status_of([&] { b.restore_state({good.data(), n}, "s"); }), SVQ_ERROR_FORMAT) << n;
  }
  // Lies under a right checksum: every field of the header, and a token outside the vocabulary.
  for (size_t field = offsetof(rt::StateHeader, bytes); field + 4 <= offsetof(rt::StateHeader, random_state);
       field += 4) {
    for (const uint32_t value : {0u, 1u, 11u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
      auto bad = good;
      if (std::memcmp(bad.data() + field, &value, 4) == 0) continue;
      std::memcpy(bad.data() + field, &value, 4);
      reseal(bad);
      if (field == offsetof(rt::StateHeader, name_bytes) && value <= 8) continue;  // the name is only shown
      EXPECT_NE(status_of([&] { b.restore_state(bad, "s"); }), SVQ_OK) << field << " " << value;
    }
  }
  auto bad = good;
  const int32_t token = 272;
  std::memcpy(bad.data() + sizeof(rt::StateHeader) + 8, &token, 4);
  reseal(bad);
  EXPECT_EQ(status_of([&] { b.restore_state(bad, "s"); }), SVQ_ERROR_FORMAT);
  bad = good;
  bad[offsetof(rt::StateHeader, major)] = rt::kStateMajor + 1;
  reseal(bad);
  EXPECT_EQ(status_of([&] { b.restore_state(bad, "s"); }), SVQ_ERROR_VERSION);
  EXPECT_EQ(b.position(), 4u);
  EXPECT_EQ(logits_of(b), before);
}

// A file may be written to while it is read: what was checked is not what came then.
TEST(State, BytesThatChangeBetweenTheTwoReadsLeaveAnEmptySession) {
  const Loaded loaded(TinyOptions{});
  const auto tokens = some_tokens(10, 272);
  Session a(loaded.model, {.threads = 1}), b(loaded.model, {.threads = 1});
  a.eval(tokens, nullptr);
  const auto state = saved(a);
  for (const size_t change : {sizeof(rt::StateHeader), sizeof(rt::StateHeader) + 9, state.size() - 5, state.size()}) {
    b.eval(some_tokens(4, 272, 9), nullptr);
    std::vector<int> times(state.size(), 0);
    const rt::StateSource source{state.size(), [&](uint64_t at, uint8_t* to, uint64_t bytes) {
                                   std::copy_n(state.begin() + static_cast<ptrdiff_t>(at), bytes, to);
                                   // Names and tokens are read once more, to be looked at.
                                   const int last = change < sizeof(rt::StateHeader) + 48 ? 3 : 2;
                                   for (uint64_t i = 0; i < bytes; ++i) {
                                     if (++times[at + i] == last && at + i == change) to[i] ^= 1;
                                   }
                                 }};
    std::string message;
    const svq_status status = status_of([&] { b.restore_state(source, "s.svqk"); }, &message);
    if (change == state.size()) {  // nothing does
      EXPECT_EQ(status, SVQ_OK) << message;
      EXPECT_EQ(logits_of(a), logits_of(b));
      continue;
    }
    EXPECT_EQ(status, SVQ_ERROR_CHECKSUM) << change;
    EXPECT_NE(message.find("has changed while it was read"), std::string::npos) << message;
    EXPECT_EQ(b.position(), 0u);
    EXPECT_EQ(b.logits(), nullptr);
    b.eval(tokens, nullptr);
    EXPECT_EQ(logits_of(a), logits_of(b));
    b.truncate(0);
  }
}

// ---------------------------------------------------------------- fork

// Kilobytes of the mapping at `address` that are this mapping's own; -1 where the system does not tell.
long private_kilobytes(const void* address) {
  std::ifstream in("/proc/self/smaps");
  std::ostringstream start;
  start << std::hex << reinterpret_cast<uintptr_t>(address) << '-';
  bool found = false;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(start.str(), 0) == 0) found = true;
    if (found && line.rfind("Private_Dirty:", 0) == 0) return std::stol(line.substr(14));
  }
  return -1;
}

TEST(Fork, ContinuesAsTheParentWouldAndSharesItsPages) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    const Loaded loaded({.n_layers = 4, .context = 2048});
    const SessionOptions options{.context = 2048, .threads = 1, .kv_bits = kv_bits};
    const auto prompt = some_tokens(1500, 272, 1), left = some_tokens(20, 272, 2), right = some_tokens(20, 272, 3);
    Session parent(loaded.model, options);
    parent.eval(prompt, nullptr);
    Session a(parent, {.threads = 2}), b(parent, {.threads = 1});
    EXPECT_EQ(a.context(), 2048u);
    EXPECT_EQ(logits_of(a), logits_of(parent));
    const long none = private_kilobytes(a.cache_address());
    if (none >= 0) {
      EXPECT_EQ(none, 0);
    }
    parent.eval(right, nullptr);
    a.eval(left, nullptr);
    b.eval(right, nullptr);
    if (none >= 0) {  // a page at each border of prompt and continuation, of some 1.5 MB
      EXPECT_LE(private_kilobytes(a.cache_address()), 4 * 4 * 2 * 2 * 2);
      EXPECT_GT(private_kilobytes(a.cache_address()), 0);
    }
    for (const auto& [session, rest] : {std::pair{&parent, &right}, {&a, &left}, {&b, &right}}) {
      Session fresh(loaded.model, options);
      fresh.eval(prompt, nullptr);
      fresh.eval(*rest, nullptr);
      EXPECT_EQ(logits_of(*session), logits_of(fresh));
    }
  }
}

TEST(Fork, OfForksAfterTruncationAndBeyondTheParentsLife) {
  const Loaded loaded(TinyOptions{});
  const auto tokens = some_tokens(100, 272);
  const auto fresh = [&](const std::vector<int32_t>& all) {
    Session s(loaded.model, {.threads = 1});
    s.eval(all, nullptr);
    return logits_of(s);
  };
  auto parent = std::make_unique<Session>(loaded.model, SessionOptions{.threads = 1});
  parent->eval(tokens, nullptr);
  auto child = std::make_unique<Session>(*parent, SessionOptions{.threads = 1});
  parent->truncate(40);  // still what the shared pages hold
  Session early(*parent, {.threads = 1});
  parent->eval(some_tokens(5, 272, 8), nullptr);
  Session late(*parent, {.threads = 1});  // the parent has pages of its own by now
  child->eval(some_tokens(6, 272, 9), nullptr);
  Session grandchild(*child, {.threads = 1});
  parent.reset();
  child.reset();
  const std::vector<int32_t> head(tokens.begin(), tokens.begin() + 40), tail = some_tokens(7, 272, 10);
  early.eval(tail, nullptr);
  late.eval(tail, nullptr);
  grandchild.eval(tail, nullptr);
  EXPECT_EQ(logits_of(early), fresh(joined(head, tail)));
  EXPECT_EQ(logits_of(late), fresh(joined(joined(head, some_tokens(5, 272, 8)), tail)));
  EXPECT_EQ(logits_of(grandchild), fresh(joined(joined(tokens, some_tokens(6, 272, 9)), tail)));
}

TEST(Fork, CopiesSamplerAndRandomState) {
  const Loaded loaded(TinyOptions{});
  Session a(loaded.model, {.threads = 1});
  a.sampler().settings = {.temperature = 1.5, .top_k = 0, .top_p = 1, .min_p = 0};
  a.sampler().seed(77);
  a.eval(some_tokens(5, 272), nullptr);
  (void)a.sample();
  Session b(a, {.threads = 1});
  EXPECT_EQ(generated(a, 20), generated(b, 20));
}

// ---------------------------------------------------------------- shift

TEST(Shift, WithOneLayerTheRestIsAsIfItHadAlwaysStoodThere) {
  // With one layer keys and values depend on the token and its position alone, so that a shifted cache is a fresh one
  // up to the rounding of keys that were turned twice.
  for (const uint32_t kv_bits : {16u, 8u}) {
    for (const uint32_t keep : {0u, 3u}) {
      const Loaded loaded({.n_layers = 1, .bits = 8});
      const auto tokens = some_tokens(33, 272, 5);
      Session s(loaded.model,
                {.context = 32, .threads = 2, .kv_bits = kv_bits, .activations = 32, .shift = true, .keep = keep});
      s.eval({tokens.data(), 32}, nullptr);
      s.eval({tokens.data() + 32, 1}, nullptr);
      const uint32_t drop = (32 - keep) / 2;
      EXPECT_EQ(s.position(), 33 - drop);
      std::vector<int32_t> rest(tokens.begin(), tokens.begin() + keep);
      rest.insert(rest.end(), tokens.begin() + keep + drop, tokens.end());
      Session fresh(loaded.model, {.context = 32, .threads = 1, .kv_bits = kv_bits, .activations = 32});
      fresh.eval(rest, nullptr);
      EXPECT_LT(relative_error(logits_of(s), logits_of(fresh)), kv_bits == 16 ? 2e-3 : 2e-2) << keep;
    }
  }
}

TEST(Shift, GenerationGoesOnForever) {
  const Loaded loaded(make_tiny_saying('C'));
  Session s(loaded.model, {.context = 16, .threads = 1, .shift = true, .keep = 2});
  s.eval(some_tokens(50, 256), nullptr);  // a prompt longer than the context keeps its end
  EXPECT_LE(s.position(), 16u);
  EXPECT_EQ(generated(s, 100), std::vector<int32_t>(100, 'C'));
}

TEST(Shift, WhatCannotFitIsAnError) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.context = 8, .threads = 1, .shift = true, .keep = 100});  // keeps 7
  s.eval(some_tokens(8, 272), nullptr);
  s.eval(some_tokens(3, 272), nullptr);
  EXPECT_EQ(s.position(), 8u);
}

}  // namespace
}  // namespace svq::test
