#include <gtest/gtest.h>

#include <cmath>

#include "tests/tools/fixture.h"

namespace svq::test {
namespace {

std::string text_file() {
  std::string text;
  for (int i = 0; i < 120; ++i) text += "line " + std::to_string(i * 7919 % 1000) + " of a text\n";
  return write_file("text.txt", text);
}

TEST(Perplexity, JsonFieldsAndNearlyUniform) {
  const auto j = run_json(
      "svqeval", {"perplexity", tiny_model(), "--text", text_file(), "--context", "64", "--chunks", "5", "--json"});
  EXPECT_EQ(j.at("chunks"), 5);
  EXPECT_EQ(j.at("tokens_scored"), 5 * (64 - 1 - 32));  // predictions made from positions 32 to 62
  EXPECT_NEAR(j.at("perplexity"), kTinyVocab, 0.15 * kTinyVocab);
  EXPECT_NEAR(std::log(j.at("perplexity").get<double>()), j.at("negative_log_likelihood"), 1e-9);
  EXPECT_GT(j.at("standard_error"), 0);
  EXPECT_EQ(j.at("running_perplexity").size(), 5u);
  EXPECT_EQ(j.at("running_perplexity")[4], j.at("perplexity"));
  EXPECT_EQ(j.at("tokens_scored"), 5 * 31);  // predictions from position 32 to 62
  const auto every = run_json("svqeval", {"perplexity", tiny_model(), "--text", text_file(), "--context", "64",
                                          "--chunks", "5", "--score", "all", "--json"});
  EXPECT_EQ(every.at("tokens_scored"), 5 * 63);
  EXPECT_NE(every.at("perplexity"), j.at("perplexity"));
}

TEST(Perplexity, SameForEveryThreadCount) {
  double first = 0;
  for (const char* threads : {"1", "2", "3"}) {
    const auto j = run_json("svqeval", {"perplexity", tiny_model(), "--text", text_file(), "--context", "100",
                                        "--chunks", "3", "--threads", threads, "--json"});
    if (first == 0) first = j.at("perplexity");
    EXPECT_EQ(j.at("perplexity").get<double>(), first);
  }
}

TEST(Perplexity, FloatActivationsAreClose) {
  const auto perplexity = [](const char* bits) {
    return run_json("svqeval", {"perplexity", tiny_model(), "--text", text_file(), "--context", "64", "--chunks", "2",
                                "--activations", bits, "--json"})
        .at("perplexity")
        .get<double>();
  };
  const double float32 = perplexity("32"), int8 = perplexity("8");
  EXPECT_NE(float32, int8);
  EXPECT_NEAR(int8 / float32, 1, 0.01);
}

TEST(Perplexity, BeginOfTextReplacesTheFirstTokenOfEveryChunk) {
  // Chunks "ab…" of which only the first tokens differ: once replaced, all score alike.
  std::string text;
  for (char c : {'p', 'q', 'r'}) text += c + std::string(31, 'x');
  const std::string path = write_file("chunks.txt", text.substr(1));  // the tokenizer adds a token before it
  const auto running = [&](const std::string& model, const std::string& file) {
    return run_json("svqeval", {"perplexity", model, "--text", file, "--context", "32", "--json"})
        .at("running_perplexity");
  };
  const auto with_bos = running(tiny_model_with_bos(), path);
  ASSERT_EQ(with_bos.size(), 3u);
  EXPECT_NEAR(with_bos[0].get<double>(), with_bos[2].get<double>(), 1e-9);
  const auto without = running(tiny_model(), write_file("chunks-whole.txt", text));
  ASSERT_EQ(without.size(), 3u);
  EXPECT_GT(std::fabs(without[0].get<double>() - without[2].get<double>()), 1e-9);
}

TEST(Perplexity, ControlTokensAreTextUnlessAskedFor) {
  std::string chat;
  for (int i = 0; i < 16; ++i) chat += "<|im_start|>abc<|im_end|>";  // 25 bytes, or 5 tokens
  const std::string path = write_file("chat.txt", chat);
  const auto chunks = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"perplexity", tiny_model(), "--text", path, "--context", "16", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_json("svqeval", arguments).at("chunks").get<int>();
  };
  EXPECT_EQ(chunks({}), 16 * 25 / 16);
  EXPECT_EQ(chunks({"--parse-special"}), 16 * 5 / 16);
}

TEST(Perplexity, TextTooShort) {
  const Outcome o = run("svqeval", {"perplexity", tiny_model(), "--text", write_file("short.txt", "short")});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("short.txt: holds 5 tokens, one chunk needs 512"), std::string::npos) << o.err;
}

TEST(Perplexity, TextMissing) {
  const Outcome o = run("svqeval", {"perplexity", tiny_model(), "--text", "/no/such/text"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("/no/such/text"), std::string::npos) << o.err;
}

constexpr const char* kTasks =
    R"({"query": "Question: a?", "choices": ["b", "cc", "d d d"], "gold": 1})"
    "\n\n"
    R"({"context_options": ["the cat and the dog", "the cat and the bird"], "continuation": "flew.", "gold": 1})"
    "\n";

TEST(Choices, BothFormsAndJsonFields) {
  const auto j = run_json("svqeval", {"choices", tiny_model(), "--tasks", write_file("tasks.jsonl", kTasks), "--json"});
  EXPECT_EQ(j.at("n"), 2);
  EXPECT_NEAR(j.at("chance"), (1.0 / 3 + 1.0 / 2) / 2, 1e-12);
  for (const char* key : {"accuracy", "accuracy_normalised"}) {
    const double accuracy = j.at(key);
    EXPECT_TRUE(accuracy == 0 || accuracy == 0.5 || accuracy == 1) << accuracy;
    EXPECT_TRUE(j.contains(std::string(key) + "_standard_error"));
  }
  EXPECT_LT(j.at("tokens_evaluated"), j.at("tokens"));  // beginnings in common once
}

TEST(Choices, LikelihoodPrefersShortChoicesAndPerByteDoesNot) {
  // A nearly uniform model: each byte costs about log 259, so that the shortest choice always is the likeliest.
  std::string tasks;
  for (int i = 0; i < 8; ++i)
    tasks += R"({"query": "q)" + std::to_string(i) + R"(", "choices": ["abcdefgh", "z"], "gold": 1})" + "\n";
  const auto j =
      run_json("svqeval", {"choices", tiny_model(), "--tasks", write_file("lengths.jsonl", tasks), "--json"});
  EXPECT_EQ(j.at("accuracy"), 1.0);
  EXPECT_EQ(j.at("accuracy_standard_error"), 0.0);
}

TEST(Choices, Limit) {
  const auto j = run_json(
      "svqeval", {"choices", tiny_model(), "--tasks", write_file("tasks.jsonl", kTasks), "--limit", "1", "--json"});
  EXPECT_EQ(j.at("n"), 1);
}

struct BadTasks {
  const char* name;
  const char* second_line;
  const char* expected;
};
class ChoicesErrors : public testing::TestWithParam<BadTasks> {};

TEST_P(ChoicesErrors, NameTheLineAndTheField) {
  const std::string first = R"({"query": "q", "choices": ["a", "b"], "gold": 0})";
  const std::string path = write_file("bad.jsonl", first + "\n" + GetParam().second_line + "\n");
  const Outcome o = run("svqeval", {"choices", tiny_model(), "--tasks", path});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("bad.jsonl: line 2: "), std::string::npos) << o.err;
  EXPECT_NE(o.err.find(GetParam().expected), std::string::npos) << o.err;
}

INSTANTIATE_TEST_SUITE_P(
    Tools, ChoicesErrors,
    testing::Values(BadTasks{"NotJson", "{\"query\": ", "JSON"}, BadTasks{"NotAnObject", "[1]", "object"},
                    BadTasks{"NeitherForm", "{\"gold\": 0}", "choices"},
                    BadTasks{"NoQuery", R"({"choices": ["a", "b"], "gold": 0})", "query"},
                    BadTasks{"NoGold", R"({"query": "q", "choices": ["a", "b"]})", "gold"},
                    BadTasks{"GoldTooLarge", R"({"query": "q", "choices": ["a", "b"], "gold": 2})", "0 to 1"},
                    BadTasks{"GoldNegative", R"({"query": "q", "choices": ["a", "b"], "gold": -1})", "gold"},
                    BadTasks{"GoldIsText", R"({"query": "q", "choices": ["a", "b"], "gold": "a"})", "gold"},
                    BadTasks{"OneChoice", R"({"query": "q", "choices": ["a"], "gold": 0})", "choices"},
                    BadTasks{"EmptyChoice", R"({"query": "q", "choices": ["a", ""], "gold": 0})", "choices"},
                    BadTasks{"ChoicesAreNumbers", R"({"query": "q", "choices": [1, 2], "gold": 0})", "choices"},
                    BadTasks{"NoContinuation", R"({"context_options": ["a", "b"], "gold": 0})", "continuation"}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST(Choices, EmptyFile) {
  const Outcome o = run("svqeval", {"choices", tiny_model(), "--tasks", write_file("empty.jsonl", "\n")});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("empty.jsonl: holds no tasks"), std::string::npos) << o.err;
}

}  // namespace
}  // namespace svq::test
