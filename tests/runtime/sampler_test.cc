// The sampler: order of its steps, distribution, determinism; and the small text helpers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "runtime/base/json.h"
#include "runtime/base/utf8_stream.h"
#include "runtime/sampling/sampler.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Fixture {
  explicit Fixture(uint32_t vocab) : arena(measure(vocab)), sampler(vocab, arena) {
    sampler.settings = {.temperature = 1.0, .top_k = 0, .top_p = 1.0, .min_p = 0.0};
  }
  static uint64_t measure(uint32_t vocab) {
    rt::Arena arena;
    const rt::Sampler s(vocab, arena);
    return arena.used();
  }
  std::map<int32_t, double> shares(const std::vector<float>& logits, int n, const std::vector<int32_t>& history = {}) {
    std::map<int32_t, double> out;
    for (int i = 0; i < n; ++i) out[sampler.sample(logits.data(), history)] += 1.0 / n;
    return out;
  }
  rt::Arena arena;
  rt::Sampler sampler;
};

TEST(Sampler, GreedyTakesTheFirstMaximum) {
  Fixture f(5);
  f.sampler.settings.temperature = 0;
  EXPECT_EQ(f.sampler.sample(std::vector<float>{1, 3, 2, 3, 0}.data(), {}), 1);
  EXPECT_EQ(f.sampler.sample(std::vector<float>{-5, -kInf, -4, -4.5, -9}.data(), {}), 2);
}

TEST(Sampler, FollowsTheSoftmax) {
  Fixture f(4);
  const std::vector<float> logits{0.0f, 1.0f, 2.0f, -1.0f};
  for (const double temperature : {1.0, 0.5, 2.0}) {
    f.sampler.settings.temperature = temperature;
    const auto got = f.shares(logits, 40000);
    double total = 0;
    for (const float l : logits) total += std::exp(l / temperature);
    // Four standard deviations of a share: 4 · sqrt(0.25 / 40000).
    for (int i = 0; i < 4; ++i)
      EXPECT_NEAR(got.count(i) ? got.at(i) : 0, std::exp(logits[static_cast<size_t>(i)] / temperature) / total, 0.01);
  }
}

TEST(Sampler, SeedRepeatsAndDiffers) {
  Fixture f(100);
  const std::vector<float> logits(100, 0.0f);
  const auto draw = [&](uint64_t seed) {
    f.sampler.seed(seed);
    std::vector<int32_t> out;
    for (int i = 0; i < 50; ++i) out.push_back(f.sampler.sample(logits.data(), {}));
    return out;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, TheGeneratorIsTheDocumentedOne) {
  // SplitMix64 of seed 0 begins with 0xE220A8397B1DCDAF: 0.8833… of 1, so of ten equal tokens the ninth.
  Fixture f(10);
  f.sampler.seed(0);
  EXPECT_EQ(f.sampler.sample(std::vector<float>(10, 0.0f).data(), {}), 8);
}

TEST(Sampler, TopKKeepsTheLargestAndTheLowerIdOnTies) {
  Fixture f(6);
  f.sampler.settings.top_k = 2;
  const auto got = f.shares({1, 2, 2, 2, 0, -1}, 2000);
  EXPECT_EQ(got.size(), 2u);
  EXPECT_TRUE(got.count(1) && got.count(2));
  f.sampler.settings.top_k = 100;
  EXPECT_EQ(f.shares({1, 2, 2, 2, 0, 1}, 2000).size(), 6u);
}

TEST(Sampler, TopPKeepsTheShortestPrefix) {
  Fixture f(4);
  const auto p = [](double share) { return static_cast<float>(std::log(share)); };
  const std::vector<float> logits{p(0.1), p(0.5), p(0.3), p(0.1)};
  f.sampler.settings.top_p = 0.4;
  EXPECT_EQ(f.shares(logits, 500).size(), 1u);
  f.sampler.settings.top_p = 0.7;
  const auto got = f.shares(logits, 5000);
  EXPECT_EQ(got.size(), 2u);
  EXPECT_NEAR(got.at(1), 0.625, 0.03);
  f.sampler.settings.top_p = 1e-6;
  EXPECT_EQ(f.shares(logits, 100).begin()->first, 1);
}

// What may be drawn, against a plain sort of everything; a high temperature makes every candidate come up.
TEST(Sampler, LargeVocabulariesKeepTheSameCandidatesAsAPlainSort) {
  constexpr uint32_t kVocab = 5003;
  Fixture f(kVocab);
  std::mt19937 rng(5);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kVocab);
  for (float& l : logits) l = std::round(normal(rng) * 16) / 16;  // ties
  std::vector<int32_t> order(kVocab);
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  const auto share = [&](int32_t id) { return std::exp(double{logit(id)} - logit(order[0])); };

  f.sampler.settings.temperature = 100;
  for (const auto& [k, p, m] : {std::tuple{50u, 1.0, 0.0},
                                {50u, 0.7, 0.0},
                                {1u, 1.0, 0.0},
                                {0u, 0.6, 0.0},
                                {0u, 0.3, 0.2},
                                {0u, 1.0, 0.05},
                                {40u, 0.9, 0.1}}) {
    f.sampler.settings.top_k = k;
    f.sampler.settings.top_p = p;
    f.sampler.settings.min_p = m;
    std::vector<int32_t> expected(order.begin(), order.begin() + (k == 0 ? kVocab : k));
    double total = 0, sum = 0;
    for (const int32_t id : expected) total += share(id);
    if (p < 1) {
      size_t n = 0;
      while (sum < p * total) sum += share(expected[n++]);
      expected.resize(n);
    }
    while (expected.size() > 1 && share(expected.back()) < m) expected.pop_back();
    std::map<int32_t, double> got = f.shares(logits, static_cast<int>(expected.size()) * 30);
    std::vector<int32_t> drawn;
    for (const auto& [id, unused] : got) drawn.push_back(id);
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(drawn, expected) << "top-k " << k << ", top-p " << p << ", min-p " << m;
  }
}

TEST(Sampler, TopPAndMinPAreTakenAtTemperatureOne) {
  Fixture f(3);
  const auto p = [](double share) { return static_cast<float>(std::log(share)); };
  const std::vector<float> logits{p(0.6), p(0.3), p(0.1)};
  f.sampler.settings.temperature = 100;  // what is left is then nearly uniform
  f.sampler.settings.min_p = 0.4;        // 0.3 / 0.6 stays, 0.1 / 0.6 goes
  EXPECT_EQ(f.shares(logits, 2000).size(), 2u);
  f.sampler.settings.min_p = 0;
  f.sampler.settings.top_p = 0.85;
  EXPECT_EQ(f.shares(logits, 2000).size(), 2u);
}

TEST(Sampler, MinPOneLeavesTheMaxima) {
  Fixture f(4);
  f.sampler.settings.min_p = 1;
  EXPECT_EQ(f.shares({5, 1, 5, 4.99f}, 1000).size(), 2u);
}

TEST(Sampler, RepetitionPenaltyActsOnRecentTokensOnce) {
  Fixture f(3);
  f.sampler.settings.temperature = 0;
  f.sampler.settings.repetition_penalty = 2;
  f.sampler.settings.repetition_window = 3;
  const std::vector<float> logits{3.0f, 2.0f, -1.0f};
  EXPECT_EQ(f.sampler.sample(logits.data(), {}), 0);
  EXPECT_EQ(f.sampler.sample(logits.data(), std::vector<int32_t>{0, 0, 0}), 1);     // 1.5 against 2: once, not thrice
  EXPECT_EQ(f.sampler.sample(logits.data(), std::vector<int32_t>{0, 1, 1, 1}), 0);  // 0 has left the window
  EXPECT_EQ(f.sampler.sample(std::vector<float>{-1.0f, -1.5f, -3}.data(), std::vector<int32_t>{0}),
            1);  // -2 against -1.5
  f.sampler.settings.repetition_window = 0;
  EXPECT_EQ(f.sampler.sample(logits.data(), std::vector<int32_t>{0, 0, 0}), 0);
}

TEST(Sampler, LogitsThatAreNoNumbersAreAnError) {
  Fixture f(4);
  for (const double temperature : {0.0, 1.0}) {
    f.sampler.settings.temperature = temperature;
    for (const float bad : {kNaN, kInf}) {
      EXPECT_EQ(status_of([&] {
                  (void)f.sampler.sample(std::vector<float>{0, 1, bad, 2}.data(), {});
                }),
                SVQ_ERROR_INTERNAL);
    }
    EXPECT_EQ(status_of([&] { (void)f.sampler.sample(std::vector<float>(4, -kInf).data(), {}); }), SVQ_ERROR_INTERNAL);
    EXPECT_EQ(f.sampler.sample(std::vector<float>{-kInf, -kInf, -3, -kInf}.data(), {}), 2);
  }
}

TEST(Sampler, ExtremeSettingsStillDraw) {
  Fixture f(3);
  f.sampler.settings.temperature = 1e-9;
  EXPECT_EQ(f.sampler.sample(std::vector<float>{1, 2, 1.5f}.data(), {}), 1);
  EXPECT_EQ(f.sampler.sample(std::vector<float>{-1e38f, 3e38f, 1e38f}.data(), {}), 1);
  f.sampler.settings.temperature = 100;
  f.sampler.settings.repetition_penalty = 1e3;
  EXPECT_NO_THROW(f.sampler.sample(std::vector<float>{1, -2, 3}.data(), std::vector<int32_t>{0, 1, 2}));
}

TEST(Utf8Stream, HoldsBackIncompleteCharacters) {
  const std::string text = "aé€😀z";
  for (size_t step = 1; step <= text.size(); ++step) {
    rt::Utf8Stream stream;
    std::string out;
    for (size_t at = 0; at < text.size(); at += step) {
      const std::string part(stream.push(std::string_view(text).substr(at, step)));
      out += part;
      rt::Utf8Stream check;  // each part stands on its own
      EXPECT_EQ(check.push(part), part);
    }
    EXPECT_EQ(out, text);
  }
}

TEST(Utf8Stream, ReplacesWhatIsNoUtf8) {
  const auto convert = [](std::string_view text) { return std::string(rt::Utf8Stream().push(text)); };
  EXPECT_EQ(convert("a\xFF"
                    "b"),
            "a\uFFFD"
            "b");
  EXPECT_EQ(convert("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(convert("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(convert("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // past U+10FFFF
  EXPECT_EQ(convert("\xE2\x82z"), "\uFFFDz");                          // cut short
  EXPECT_EQ(convert("\xE2\x82"), "");                                  // may still become one
}

TEST(Json, EscapesAndSeparates) {
  rt::JsonWriter j;
  j.begin_object().field("a\"b", "x\\y\n\t\x01").field("n", -3).field("u", ~uint64_t{0}).field("t", true);
  j.field("d", 0.1)
      .field("nan", std::nan(""))
      .key("list")
      .begin_array()
      .value(1)
      .begin_object()
      .end_object()
      .value("\xFF")
      .end_array()
      .end_object();
  EXPECT_EQ(j.text(),
            "{\"a\\\"b\":\"x\\\\y\\n\\t\\u0001\",\"n\":-3,\"u\":18446744073709551615,\"t\":true,\"d\":0.1,\"nan\":null,"
            "\"list\":[1,{},\"\uFFFD\"]}");
}

}  // namespace
}  // namespace svq::test
