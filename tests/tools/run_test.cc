#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/tools/fixture.h"

namespace svq::test {
namespace {

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST(Run, JsonFields) {
  const auto j = run_json("svqrun", {tiny_model(), "-p", "hello", "-n", "5", "--temperature", "0", "--json"});
  EXPECT_EQ(j.at("stop"), "max_tokens");
  EXPECT_EQ(j.at("generated_tokens"), 5);
  EXPECT_GT(j.at("prompt_tokens"), 5);  // the chat format around it
  EXPECT_TRUE(j.at("text").is_string());
  EXPECT_GT(j.at("tokens_per_second"), 0);
  EXPECT_GT(j.at("prompt_tokens_per_second"), 0);
  EXPECT_GT(j.at("context_tokens"), j.at("prompt_tokens"));
}

TEST(Run, JsonHasALineForEveryLine) {
  const Outcome o = run("svqrun", {tiny_model(), "-n", "2", "--json"}, {.input = "/tmp\n/reset\nhello\n"});
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const auto lines = json_lines(o.out);
  ASSERT_EQ(lines.size(), 3u) << o.out;
  EXPECT_GT(lines[0].at("prompt_tokens"), 4);  // no command: a prompt
  EXPECT_EQ(lines[1].at("command"), "/reset");
  EXPECT_TRUE(lines[2].contains("text"));
}

std::string file_with(const std::string& name, const std::string& text) {
  const std::string path = ::testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Run, AnswersSatisfyASchema) {
  const std::string schema = file_with("schema.json", R"({"type": "object", "properties": {"grip": {"type": "boolean"},
    "newtons": {"type": "integer", "minimum": 1, "maximum": 40}}, "required": ["grip", "newtons"]})");
  for (const char* seed : {"1", "2", "3"}) {
    const auto j = run_json(
        "svqrun", {tiny_model(), "-p", "hello", "--schema", schema, "--temperature", "1", "--seed", seed, "--json"});
    const auto action = nlohmann::json::parse(j.at("text").get<std::string>());
    EXPECT_TRUE(action.at("grip").is_boolean()) << action;
    EXPECT_GE(action.at("newtons").get<int>(), 1);
    EXPECT_LE(action.at("newtons").get<int>(), 40);
    EXPECT_EQ(j.at("stop"), "end");
  }
}

TEST(Run, AnswersFollowAGrammar) {
  const std::string grammar = file_with("grammar.gbnf", "root ::= \"yes\" | \"no\"\n");
  const Outcome o = run("svqrun", {tiny_model(), "-q", "--grammar", grammar}, {.input = "hello\nagain\n"});
  std::istringstream lines(o.out);
  int n = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    EXPECT_TRUE(line == "yes" || line == "no") << o.out;
    ++n;
  }
  EXPECT_EQ(n, 2) << o.out;
}

TEST(Run, WrongGrammarsNameTheirFile) {
  const std::string bad = file_with("bad.gbnf", "root ::= other\n");
  Outcome o = run("svqrun", {tiny_model(), "-p", "hello", "--grammar", bad});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("bad.gbnf"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("other"), std::string::npos) << o.err;
  o = run("svqrun", {tiny_model(), "-p", "hello", "--grammar", bad, "--schema", bad});
  EXPECT_EQ(o.exit_code, 2) << o.err;
  EXPECT_EQ(run("svqrun", {tiny_model(), "-p", "hello", "--schema", "/nowhere.json"}).exit_code, 1);
}

TEST(Run, ContextsBeyondTheTrainedLengthAreNoted) {
  const Outcome o = run("svqrun", {tiny_model(), "-p", "hello", "-n", "1", "--context", "1000000"});
  EXPECT_NE(o.err.find("trained on"), std::string::npos) << o.err;
  const Outcome quiet = run("svqrun", {tiny_model(), "-p", "hello", "-n", "1", "--context", "1000000", "-q"});
  EXPECT_EQ(quiet.err, "");
}

TEST(Run, RawPromptHasNoChatFormat) {
  const auto j = run_json("svqrun", {tiny_model(), "-p", "hello", "-n", "1", "--raw", "--json"});
  EXPECT_EQ(j.at("prompt_tokens"), 5);
}

TEST(Run, ModelWithoutChatFormatContinuesText) {
  const auto j = run_json("svqrun", {tiny_model_without_chat(), "-p", "hello", "-n", "1", "--json"});
  EXPECT_EQ(j.at("prompt_tokens"), 5);
  const Outcome o = run("svqrun", {tiny_model_without_chat(), "-p", "hello", "--system", "x"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("chat format"), std::string::npos) << o.err;
}

TEST(Run, BeginOfTextIsAdded) {
  const auto j = run_json("svqrun", {tiny_model_with_bos(), "-p", "hello", "-n", "1", "--raw", "--json"});
  EXPECT_EQ(j.at("prompt_tokens"), 6);
}

TEST(Run, SeedDecidesTheAnswer) {
  const auto text = [](const char* seed, const char* threads) {
    const Outcome o = run("svqrun", {tiny_model(), "-p", "hello", "-n", "40", "--temperature", "1", "--seed", seed,
                                     "--threads", threads, "-q"});
    EXPECT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(o.err, "");
    return o.out;
  };
  const std::string first = text("7", "1");
  EXPECT_EQ(first, text("7", "1"));
  EXPECT_EQ(first, text("7", "2"));
  EXPECT_NE(first, text("8", "1"));
}

TEST(Run, AnswerMayEndByItself) {
  const auto j = run_json("svqrun", {tiny_model(), "-p", "hello", "--temperature", "1", "--top-k", "0", "--top-p", "1",
                                     "--min-p", "0", "--json"});
  EXPECT_EQ(j.at("stop"), "end");  // by chance: one token of 259 ends the answer, the context holds 4096
}

TEST(Run, SpeedOnStandardError) {
  const Outcome o = run("svqrun", {tiny_model(), "-p", "hello", "-n", "4"});
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_NE(o.err.find("answer 4 tokens"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("tok/s"), std::string::npos) << o.err;
}

TEST(Run, PromptLongerThanTheContext) {
  const Outcome o = run("svqrun", {tiny_model(), "-p", std::string(100, 'x'), "--context", "32"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("32"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("--context"), std::string::npos) << o.err;
}

TEST(Run, ContextFillsUp) {
  const auto j = run_json("svqrun", {tiny_model(), "-p", "hello", "--context", "64", "--temperature", "0", "--json"});
  EXPECT_EQ(j.at("stop"), "context_full");
  EXPECT_EQ(j.at("context_tokens"), 64);
}

// Lines are turns of one conversation. An answer that --tokens cut off is closed like one that the model ended.
TEST(Run, LinesAreTurns) {
  const Outcome o =
      run("svqrun", {tiny_model(), "--json", "-n", "3", "--temperature", "0"}, {.input = "one\ntwo\n\nthree"});
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const auto turns = json_lines(o.out);
  ASSERT_EQ(turns.size(), 3u);
  // ChatML on bytes: <|im_start|> user \n TEXT <|im_end|> \n <|im_start|> assistant \n
  const size_t format = 1 + 5 + 1 + 1 + 1 + 10;
  EXPECT_EQ(turns[0].at("prompt_tokens"), format + 3);
  // Before it: <|im_end|> of the answer that was cut off, and its line break.
  EXPECT_EQ(turns[1].at("prompt_tokens"), format + 3 + 2);
  EXPECT_EQ(turns[2].at("prompt_tokens"), format + 5 + 2);
  EXPECT_EQ(turns[2].at("context_tokens"), 3 * format + 11 + 3 * 3 + 2 * 2);
}

TEST(Run, ResetForgets) {
  const Outcome o = run("svqrun", {tiny_model(), "--json", "-n", "8", "--temperature", "0"},
                        {.input = "one\n/reset\none\none\n/quit\none\n"});
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const auto turns = json_lines(o.out);
  ASSERT_EQ(turns.size(), 4u);
  EXPECT_EQ(turns[1].at("command"), "/reset");
  EXPECT_EQ(turns[0].at("context_tokens"), turns[2].at("context_tokens"));
  EXPECT_EQ(turns[0].at("text"), turns[2].at("text"));
  EXPECT_GT(turns[3].at("context_tokens"), turns[2].at("context_tokens"));
}

TEST(Run, SystemMessageIsPartOfTheFirstTurn) {
  const auto tokens = [](const std::vector<std::string>& more) {
    std::vector<std::string> a = {tiny_model(), "-p", "hello", "-n", "1", "--json"};
    a.insert(a.end(), more.begin(), more.end());
    return run_json("svqrun", a).at("prompt_tokens").get<int>();
  };
  EXPECT_EQ(tokens({"--system", "Be brief."}), tokens({}) + 1 + 7 + 9 + 2);  // <|im_start|> system\n … <|im_end|> \n
}

// Greedy, the model never ends its answer, and to fill this context would take minutes.
const std::vector<std::string> kEndless = {"--temperature", "0", "--context", "262144"};

TEST(Run, InterruptedAnswerIsKept) {
  std::vector<std::string> a = {tiny_model(), "-p", "hello"};
  a.insert(a.end(), kEndless.begin(), kEndless.end());
  Outcome o = run("svqrun", a, {.interrupt = true});
  EXPECT_EQ(o.exit_code, 130) << o.err;
  EXPECT_NE(o.out, "");
  EXPECT_NE(o.err.find("stopped"), std::string::npos) << o.err;
}

TEST(Run, DialogueOnATerminal) {
  RunOptions options;
  options.terminal = true;
  options.dialogue = {{"> ", "/help\n"}, {"/reset", ""},          {"> ", "/nonsense\n"}, {"not a command", ""},
                      {"> ", "hello\n"}, {"answer 3 tokens", ""}, {"> ", "/stats\n"},    {"context ", ""},
                      {"> ", "\x03"},    {"leaves", ""},          {"> ", "again\n"},     {"answer 3 tokens", ""},
                      {"> ", "/quit\n"}};
  const Outcome o = run("svqrun", {tiny_model(), "-n", "3", "--temperature", "0"}, options);
  EXPECT_EQ(o.exit_code, 0) << o.out;
}

TEST(Run, InterruptOnATerminalStopsTheAnswerOnly) {
  RunOptions options;
  options.terminal = true;
  options.dialogue = {{"> ", "hello\n"}, {"hello\r\n", ""}, {kAnything, "\x03"}, {"stopped", ""},
                      {"> ", "more\n"},  {"more\r\n", ""},  {kAnything, "\x03"}, {"stopped", ""},
                      {"> ", "\x03"},    {"leaves", ""},    {"> ", "\x03"}};
  std::vector<std::string> a = {tiny_model()};
  a.insert(a.end(), kEndless.begin(), kEndless.end());
  const Outcome o = run("svqrun", a, options);
  EXPECT_EQ(o.exit_code, 130) << o.out.substr(0, 2000);
}

}  // namespace
}  // namespace svq::test
