// svqrt.hpp on the shared library.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "svqrt/svqrt.hpp"

namespace {

std::string tiny() {
  const char* path = std::getenv("SVQ_TEST_TINY");
  return path == nullptr ? "" : path;
}
svq::Model tiny_model() { return svq::Model(tiny()); }

TEST(CxxApi, FailuresAreExceptionsWithStatusAndSentence) {
  try {
    const svq::Model model("/nonexistent.svq");
    FAIL();
  } catch (const svq::Error& e) {
    EXPECT_EQ(e.status(), SVQ_ERROR_IO);
    EXPECT_NE(std::string(e.what()).find("/nonexistent.svq"), std::string::npos);
  }
}

TEST(CxxApi, TextEvaluationAndGeneration) {
  const svq::Model model = tiny_model();
  model.verify();
  EXPECT_EQ(model.info().vocab, 272u);
  EXPECT_EQ(model.detokenize(model.tokenize("the other thing")), "the other thing");
  EXPECT_TRUE(model.tokenize("").empty());
  EXPECT_EQ(model.code_histogram("blocks.0.q").size(), 4u);
  EXPECT_NE(model.describe(true).find("\"tensors\""), std::string::npos);
  const std::vector<svq::Message> messages{{"user", "hello"}};
  EXPECT_EQ(model.tokenize(model.chat_format(messages), SVQ_TOKENIZE_PARSE_SPECIAL), model.chat_tokenize(messages));

  svq::SessionOptions options;
  options.threads = 1;
  options.context = 64;
  svq::Session session(model, options);
  const auto prompt = model.tokenize("the thing");
  const auto all = session.eval_logits(prompt);
  EXPECT_EQ(all.size(), prompt.size() * 272);
  EXPECT_EQ(session.logits()[5], all[(prompt.size() - 1) * 272 + 5]);
  session.set_sampler(SVQ_SAMPLER_SEED, 3);
  const svq_token first = session.sample();
  EXPECT_GE(first, 0);
  session.truncate(0);
  session.set_sampler(SVQ_SAMPLER_SEED, 3);
  svq_token streamed = -1;
  const auto result = session.generate(prompt, 5, [&](std::string_view, svq_token token) {
    streamed = token;
    return false;
  });
  EXPECT_EQ(streamed, result.stop == 2 ? first : -1);
  EXPECT_THROW(session.eval(std::vector<svq_token>(100, 1)), svq::Error);
  session.cancel();
  EXPECT_THROW(session.eval({1}), svq::Error);
}

TEST(CxxApi, SessionsForkSaveAndRestore) {
  const svq::Model model = tiny_model();
  svq::Session a(model);
  a.eval({1, 2, 3});
  svq::Session b = a.fork();
  EXPECT_EQ(b.position(), 3u);
  b.eval({4});
  a.restore(b.save());
  EXPECT_EQ(a.position(), 4u);
  EXPECT_EQ(std::vector<float>(a.logits(), a.logits() + 272), std::vector<float>(b.logits(), b.logits() + 272));
  a.set_limit(SVQ_LIMIT_DEADLINE_US, 1);
  EXPECT_EQ(a.generate(std::vector<svq_token>(50, 6), 3).stop, 5);
}

TEST(CxxApi, GrammarsAndTools) {
  const svq::Model model = tiny_model();
  svq::Session session(model);
  session.set_grammar(svq::Grammar(model, SVQ_GRAMMAR_GBNF, "root ::= [a-c]{3}"));
  std::string text;
  const auto gather = [&](std::string_view part, svq_token) {
    text += part;
    return true;
  };
  EXPECT_EQ(session.generate({1}, 10, gather).stop, 0);
  EXPECT_EQ(text.size(), 3u);
  EXPECT_EQ(text.find_first_not_of("abc"), std::string::npos);
  const std::string tools = R"([{"name": "stop"}])";
  EXPECT_GT(model.chat_tokenize_tools({{"user", "x"}}, tools).size(), model.chat_tokenize({{"user", "x"}}).size());
  session.set_grammar(svq::Grammar(model, SVQ_GRAMMAR_TOOLS, tools));
  text.clear();
  session.generate({1}, 120, gather);
  EXPECT_NE(model.tool_calls(text).find("\"stop\""), std::string::npos);
  session.clear_grammar();
  EXPECT_THROW(svq::Grammar(model, SVQ_GRAMMAR_JSON_SCHEMA, "{\"pattern\": 1}"), svq::Error);
}

TEST(CxxApi, EstimateMatchesTheSession) {
  svq_size_estimate size;
  svq::check(svq_estimate_size(tiny().c_str(), nullptr, &size));
  const svq::Model model = tiny_model();
  EXPECT_EQ(size.file_bytes, model.info().file_bytes);
  EXPECT_EQ(size.session_bytes, svq::Session(model).memory());
  EXPECT_GT(size.kv_bytes_per_token, 0u);
  EXPECT_GT(size.model_bytes, 0u);
}

TEST(CxxApi, ReadBandwidthIsPlausible) {
  const double rate = svq_measure_read_bandwidth(1, 64 << 20);
  EXPECT_GT(rate, 1e6);
  EXPECT_LT(rate, 1e13);
}

}  // namespace
