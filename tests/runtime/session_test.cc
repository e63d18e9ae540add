// Sessions: context, cancellation, concurrency, generation, memory.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "runtime/model/generate.h"
#include "runtime/model/random_model.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

using rt::Session;

TEST(Session, TruncateThenEvalEqualsAFreshSession) {
  for (const uint32_t kv_bits : {16u, 8u}) {
    const Loaded loaded({.sliding_window = 6});
    auto tokens = some_tokens(30, 272, 3), other = some_tokens(30, 272, 4);
    Session a(loaded.model, {.threads = 1, .kv_bits = kv_bits});
    a.eval(tokens, nullptr);
    a.truncate(11);
    EXPECT_EQ(a.position(), 11u);
    EXPECT_EQ(a.logits(), nullptr);
    a.eval(other, nullptr);

    tokens.resize(11);
    tokens.insert(tokens.end(), other.begin(), other.end());
    Session b(loaded.model, {.threads = 1, .kv_bits = kv_bits});
    b.eval(tokens, nullptr);
    EXPECT_EQ(logits_of(a), logits_of(b));
  }
}

TEST(Session, TruncateToTheCurrentPositionKeepsTheLogits) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.threads = 1});
  s.eval(some_tokens(5, 272), nullptr);
  s.truncate(5);
  EXPECT_NE(s.logits(), nullptr);
  EXPECT_EQ(status_of([&] { s.truncate(6); }), SVQ_ERROR_INVALID_ARGUMENT);
  s.truncate(0);
  EXPECT_EQ(s.position(), 0u);
}

TEST(Session, SeveralAtOnceOnOneModelDoNotDisturbEachOther) {
  const Loaded loaded({.bits = 0});
  constexpr int kSessions = 4;
  std::vector<std::vector<float>> alone, together(kSessions);
  for (uint32_t i = 0; i < kSessions; ++i)
    alone.push_back(all_logits(loaded.model, {.threads = 1}, some_tokens(50, 272, i)));
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kSessions; ++i) {
    threads.emplace_back([&, i] {
      together[i] =
          all_logits(loaded.model, {.threads = 1 + i % 2, .kv_bits = 16, .chunk = 1 + i}, some_tokens(50, 272, i), 7);
    });
  }
  for (std::thread& t : threads) t.join();
  for (int i = 0; i < kSessions; ++i) EXPECT_EQ(alone[static_cast<size_t>(i)], together[static_cast<size_t>(i)]) << i;
}

TEST(Session, OutlivesItsModelHandle) {
  auto loaded = std::make_unique<Loaded>(TinyOptions{});
  Session s(loaded->model, {.threads = 1});
  loaded->model.reset();
  s.eval(some_tokens(5, 272), nullptr);
  EXPECT_NE(s.logits(), nullptr);
}

TEST(Session, CancelBeforeEvalStopsTheNextOneOnly) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.threads = 1});
  const auto tokens = some_tokens(5, 272);
  s.cancel();
  EXPECT_EQ(status_of([&] { s.eval(tokens, nullptr); }), SVQ_ERROR_CANCELLED);
  EXPECT_EQ(s.position(), 0u);
  s.eval(tokens, nullptr);
  EXPECT_EQ(s.position(), 5u);
}

TEST(Session, CancelFromAnotherThreadStopsBetweenChunksAndTheRestCanBeEvaluatedLater) {
  const Loaded loaded({.hidden = 256, .intermediate = 512, .n_layers = 4, .context = 2048});
  constexpr uint32_t kChunk = 4;
  const auto tokens = some_tokens(2000, 272);
  Session s(loaded.model, {.context = 2048, .threads = 2, .chunk = kChunk});
  std::atomic<bool> started{false};
  std::thread other([&] {
    while (!started) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    s.cancel();
  });
  started = true;
  const svq_status status = status_of([&] { s.eval(tokens, nullptr); });
  other.join();
  if (status == SVQ_OK) {  // a machine so fast that all was done: then the next call is the one cancelled
    s.truncate(1000);
    EXPECT_EQ(status_of([&] { s.eval({tokens.data() + 1000, 1000}, nullptr); }), SVQ_ERROR_CANCELLED);
  } else {
    EXPECT_EQ(status, SVQ_ERROR_CANCELLED);
    EXPECT_LT(s.position(), tokens.size());
    EXPECT_EQ(s.position() % kChunk, 0u);
    EXPECT_EQ(s.logits(), nullptr);
  }
  s.eval({tokens.data() + s.position(), 200}, nullptr);
  Session fresh(loaded.model, {.context = 2048, .threads = 2});
  fresh.eval({tokens.data(), s.position()}, nullptr);
  EXPECT_EQ(logits_of(s), logits_of(fresh));
}

TEST(Session, TokensThatDoNotFitAreRefusedBeforeAnythingIsEvaluated) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.context = 10, .threads = 1});
  s.eval(some_tokens(6, 272), nullptr);
  const auto before = logits_of(s);
  EXPECT_EQ(status_of([&] { s.eval(some_tokens(5, 272), nullptr); }), SVQ_ERROR_CONTEXT_FULL);
  EXPECT_EQ(s.position(), 6u);
  EXPECT_EQ(logits_of(s), before);
  s.eval(some_tokens(4, 272), nullptr);
  EXPECT_EQ(s.position(), 10u);
  EXPECT_EQ(status_of([&] { s.eval(std::vector<int32_t>{1}, nullptr); }), SVQ_ERROR_CONTEXT_FULL);
}

TEST(Session, TokensOutOfRangeAreRefused) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.threads = 1});
  for (const int32_t bad : {-1, 272, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(status_of([&] { s.eval(std::vector<int32_t>{1, bad}, nullptr); }), SVQ_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(s.position(), 0u);
  }
}

TEST(Session, SamplingWithoutLogitsIsAnError) {
  const Loaded loaded(TinyOptions{});
  Session s(loaded.model, {.threads = 1});
  EXPECT_EQ(status_of([&] { (void)s.sample(); }), SVQ_ERROR_STATE);
  s.eval({}, nullptr);
  EXPECT_EQ(status_of([&] { (void)s.sample(); }), SVQ_ERROR_STATE);
}

TEST(Session, DefaultsFollowTheModel) {
  const Loaded loaded({.context = 100});
  const Session s(loaded.model, {});
  EXPECT_EQ(s.context(), 100u);
  EXPECT_GE(s.threads(), 1u);
  EXPECT_LE(s.threads(), 8u);
}

TEST(Session, PinnedThreadsComputeTheSame) {
  const Loaded loaded(TinyOptions{});
  const auto tokens = some_tokens(20, 272);
  EXPECT_EQ(all_logits(loaded.model, {.threads = 2, .pin_threads = true}, tokens),
            all_logits(loaded.model, {.threads = 2, .affinity = 1}, tokens));
}

TEST(Session, MemoryIsWhatWasEstimated) {
  const Loaded loaded({.bits = 0, .side_paths = true});
  for (const rt::SessionOptions& o :
       {rt::SessionOptions{}, rt::SessionOptions{.context = 17, .threads = 3, .kv_bits = 8, .chunk = 5}}) {
    const Session s(loaded.model, o);
    EXPECT_EQ(s.memory(), rt::session_bytes(loaded.model->weights(), loaded.model->kernels(), o));
  }
  // The part that grows with the context is the cache and the token history.
  const auto bytes = [&](uint32_t context) {
    return rt::session_bytes(loaded.model->weights(), loaded.model->kernels(),
                             {.context = context, .threads = 1, .chunk = 1});
  };
  const uint64_t per_token = rt::KvCache::bytes_per_token(loaded.model->weights().config, 16);
  EXPECT_EQ(per_token, 2u * 2 * 2 * 2 * 16);
  EXPECT_EQ(bytes(2048) - bytes(1024), 1024 * (per_token + sizeof(int32_t)));
}

// ---------------------------------------------------------------- generation

struct Stream {
  std::string text;
  std::vector<int32_t> tokens;
  int stop_after = -1;
  Session* cancel = nullptr;
  static int callback(const char* text, size_t bytes, svq_token token, void* user) {
    auto& self = *static_cast<Stream*>(user);
    self.text.append(text, bytes);
    self.tokens.push_back(token);
    if (self.cancel != nullptr) self.cancel->cancel();
    return static_cast<int>(self.tokens.size()) == self.stop_after;
  }
};

TEST(Generate, StopsAtMaxTokens) {
  const Loaded loaded(make_tiny_saying('A'));
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 7, Stream::callback, &stream, r);
  EXPECT_EQ(stream.text, "AAAAAAA");
  EXPECT_EQ(r.stop, 1);
  EXPECT_EQ(r.n_prompt, 3u);
  EXPECT_EQ(r.n_generated, 7u);
  EXPECT_EQ(s.position(), 10u);
  rt::generate(s, {}, 2, Stream::callback, &stream, r);  // goes on from what the context holds
  EXPECT_EQ(stream.text, "AAAAAAAAA");
  EXPECT_EQ(r.n_prompt, 0u);
}

TEST(Generate, AnEndTokenIsEvaluatedButNotShown) {
  const Loaded loaded(make_tiny_saying(267));  // <|im_end|>
  ASSERT_TRUE(loaded.model->tokenizer()->is_end(267));
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 7, Stream::callback, &stream, r);
  EXPECT_EQ(r.stop, 0);
  EXPECT_EQ(r.n_generated, 0u);
  EXPECT_TRUE(stream.tokens.empty());
  EXPECT_EQ(s.position(), 4u);
}

TEST(Generate, TheCallbackStops) {
  const Loaded loaded(make_tiny_saying('B'));
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  stream.stop_after = 3;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 7, Stream::callback, &stream, r);
  EXPECT_EQ(r.stop, 2);
  EXPECT_EQ(stream.text, "BBB");
  EXPECT_EQ(s.position(), 6u);
}

TEST(Generate, AFullContextIsAReasonToStop) {
  const Loaded loaded(make_tiny_saying('C'));
  Session s(loaded.model, {.context = 8, .threads = 1});
  Stream stream;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 100, Stream::callback, &stream, r);
  EXPECT_EQ(r.stop, 3);
  EXPECT_EQ(stream.text, "CCCCC");
  EXPECT_EQ(s.position(), 8u);
  EXPECT_EQ(status_of([&] { rt::generate(s, some_tokens(1, 256), 1, nullptr, nullptr, r); }), SVQ_ERROR_CONTEXT_FULL);
}

TEST(Generate, CancelIsReported) {
  const Loaded loaded(make_tiny_saying('D'));
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  stream.cancel = &s;
  svq_generate_result r;
  EXPECT_EQ(status_of([&] { rt::generate(s, some_tokens(3, 256), 100, Stream::callback, &stream, r); }),
            SVQ_ERROR_CANCELLED);
  EXPECT_EQ(r.stop, 4);
  EXPECT_EQ(r.n_generated, 1u);
  EXPECT_EQ(s.position(), 3u);  // the token on show was not evaluated any more
}

TEST(Generate, StreamsOnlyWholeCharacters) {
  const Loaded loaded(make_tiny_saying(0xC3));  // a lead byte: never a character
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 3, Stream::callback, &stream, r);
  EXPECT_EQ(stream.text, "\xEF\xBF\xBD\xEF\xBF\xBD");  // the third waits for its continuation
}

TEST(Generate, WithoutTokenizerTokensHaveNoText) {
  const Loaded loaded({.tokenizer = false});
  Session s(loaded.model, {.threads = 1});
  Stream stream;
  svq_generate_result r;
  rt::generate(s, some_tokens(3, 256), 4, Stream::callback, &stream, r);
  EXPECT_EQ(stream.tokens.size(), 4u);
  EXPECT_TRUE(stream.text.empty());
}

TEST(Generate, TheSeedDeterminesTheText) {
  const Loaded loaded(TinyOptions{});
  const auto run = [&](uint64_t seed, uint32_t threads) {
    Session s(loaded.model, {.threads = threads});
    s.sampler().settings = {.temperature = 2.0, .top_k = 0, .top_p = 1.0, .min_p = 0};
    s.sampler().seed(seed);
    Stream stream;
    svq_generate_result r;
    rt::generate(s, some_tokens(3, 256), 40, Stream::callback, &stream, r);
    return stream.tokens;
  };
  EXPECT_EQ(run(1, 1), run(1, 2));
  EXPECT_NE(run(1, 1), run(2, 1));
}

TEST(Generate, TheModelsOwnDefaultsAreTheSamplers) {
  TinyModel tiny = make_tiny();
  tiny.meta.generation = std::make_unique<fb::GenerationT>();
  tiny.meta.generation->temperature = 0.25f;
  tiny.meta.generation->top_k = 7;
  tiny.meta.generation->top_p = std::numeric_limits<float>::quiet_NaN();
  const Loaded loaded(tiny);
  Session s(loaded.model, {.threads = 1});
  EXPECT_EQ(s.sampler().settings.temperature, 0.25);
  EXPECT_EQ(s.sampler().settings.top_k, 7u);
  EXPECT_EQ(s.sampler().settings.top_p, 0.95);
  EXPECT_EQ(s.sampler().settings.repetition_penalty, 1.0);
}

// ---------------------------------------------------------------- random models

TEST(RandomModel, RunsAndIsReproducible) {
  for (const uint32_t bits : {2u, 16u}) {
    const auto make = [&](uint64_t seed) {
      return std::make_shared<const rt::Model>(rt::create_random_model("smollm2-135m", bits, seed));
    };
    const auto model = make(5);
    rt::verify_checksums(model->file());
    EXPECT_EQ(model->sizes().n_parameters, 134479872u);  // 49152·576 + 30·(2·576² + 2·576·192 + 3·576·1536)
    EXPECT_NEAR(model->sizes().bits_per_weight, bits, 0.1);
    const std::vector<int32_t> tokens{1, 2, 3};
    Session s(model, {.context = 16, .threads = 1, .chunk = 4});
    s.eval(tokens, nullptr);
    double squares = 0;
    for (const float l : logits_of(s)) squares += double{l} * l;
    EXPECT_GT(squares / 49152, 1e-4);
    EXPECT_LT(squares / 49152, 1e4);
    if (bits == 2) {
      Session again(make(5), {.context = 16, .threads = 1, .chunk = 4}),
          different(make(6), {.context = 16, .threads = 1, .chunk = 4});
      again.eval(tokens, nullptr);
      different.eval(tokens, nullptr);
      EXPECT_EQ(logits_of(s), logits_of(again));
      EXPECT_NE(logits_of(s), logits_of(different));
    }
  }
}

TEST(RandomModel, UnknownShapesAndWidthsAreRefused) {
  std::string message;
  EXPECT_EQ(status_of([] { (void)rt::create_random_model("gpt-5", 2, 0); }, &message), SVQ_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(message.find("smollm2-135m"), std::string::npos);
  EXPECT_EQ(status_of([] { (void)rt::create_random_model("smollm2-135m", 9, 0); }), SVQ_ERROR_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace svq::test
