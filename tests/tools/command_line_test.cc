// What every program has in common: help, errors, exit codes.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "tests/tools/fixture.h"

namespace svq::test {
namespace {

struct Program {
  const char* name;
  std::vector<std::string> before_file;  // arguments of a valid command line, around the model's path
  std::vector<std::string> after_file;
};

std::vector<std::string> arguments(const Program& p, const std::string& model) {
  std::vector<std::string> a = p.before_file;
  a.push_back(model);
  a.insert(a.end(), p.after_file.begin(), p.after_file.end());
  return a;
}

class EveryProgram : public testing::TestWithParam<Program> {};

INSTANTIATE_TEST_SUITE_P(
    Tools, EveryProgram,
    testing::Values(Program{"svqrun", {}, {"-p", "x", "-n", "1"}},
                    Program{"svqeval", {"perplexity"}, {"--text", "/dev/null"}},
                    Program{"svqbench", {}, {"--prompt", "4", "--generate", "2", "--repeat", "1", "--read-size", "16"}},
                    Program{"svqinspect", {}, {}}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(EveryProgram, HelpHasExamples) {
  for (const char* flag : {"--help", "-h"}) {
    const Outcome o = run(GetParam().name, {flag});
    EXPECT_EQ(o.exit_code, 0);
    EXPECT_NE(o.out.find("Examples:"), std::string::npos) << o.out;
    EXPECT_NE(o.out.find(std::string(GetParam().name) + " "), std::string::npos);
    EXPECT_EQ(o.err, "");
  }
}

TEST_P(EveryProgram, Version) {
  const Outcome o = run(GetParam().name, {"--version"});
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_EQ(o.out.rfind(std::string(GetParam().name) + " ", 0), 0u) << o.out;
}

void expect_sentence(const Outcome& o, const std::string& program, const std::string& mentions) {
  EXPECT_NE(o.exit_code, 0);
  EXPECT_LT(o.exit_code, 128) << "ended by a signal";
  EXPECT_EQ(o.err.rfind(program + ": ", 0), 0u) << o.err;
  EXPECT_NE(o.err.find(mentions), std::string::npos) << o.err;
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
}

TEST_P(EveryProgram, UnknownOptionIsAUsageError) {
  std::vector<std::string> a = arguments(GetParam(), tiny_model());
  a.push_back("--no-such-option");
  const Outcome o = run(GetParam().name, a);
  EXPECT_EQ(o.exit_code, 2);
  expect_sentence(o, GetParam().name, "--no-such-option");
  EXPECT_EQ(o.out, "");
}

TEST(Bench, OptionOutOfRangeSaysWhatWasExpected) {
  const Outcome o = run("svqbench", {tiny_model(), "--threads", "0"});
  EXPECT_EQ(o.exit_code, 2);
  expect_sentence(o, "svqbench", "--threads: is 0, expected a whole number from 1 to 256");
}

TEST_P(EveryProgram, NoArgumentsIsAUsageError) { EXPECT_EQ(run(GetParam().name, {}).exit_code, 2); }

TEST_P(EveryProgram, MissingFileIsNamed) {
  const Outcome o = run(GetParam().name, arguments(GetParam(), "/no/such/model.svq"));
  EXPECT_EQ(o.exit_code, 1);
  expect_sentence(o, GetParam().name, "/no/such/model.svq");
}

TEST_P(EveryProgram, GarbageIsRefused) {
  const std::string path = write_file("garbage.svq", std::string(10000, 'x'));
  const Outcome o = run(GetParam().name, arguments(GetParam(), path));
  EXPECT_EQ(o.exit_code, 1);
  expect_sentence(o, GetParam().name, "garbage.svq");
}

// Exit code of a program in a shell; 128 + n when ended by signal n.
int shell(const std::string& command) {
  const int status = std::system(("exec " + std::string(SVQ_TOOLS_DIR) + "/" + command).c_str());
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_P(EveryProgram, FullDiskIsAnError) {
  if (!std::string(SVQ_TOOLS_EMULATOR).empty()) GTEST_SKIP() << "run by an emulator";
  const std::string program = GetParam().name;
  for (const char* output : {">/dev/full", ">&-"}) {
    EXPECT_EQ(shell(program + " --help 2>/dev/null " + output), 1) << output;
    EXPECT_EQ(shell(program + " --version 2>/dev/null " + output), 1) << output;
  }
}

TEST_P(EveryProgram, DiagnosticsThatCannotBeWrittenAreDropped) {
  if (!std::string(SVQ_TOOLS_EMULATOR).empty()) GTEST_SKIP() << "run by an emulator";
  std::string valid = GetParam().name, missing = GetParam().name;
  for (const std::string& a : arguments(GetParam(), tiny_model())) valid += " '" + a + "'";
  for (const std::string& a : arguments(GetParam(), "/no/such/model.svq")) missing += " '" + a + "'";
  const int code = shell(valid + " >/dev/null 2>/dev/null");
  for (const char* error : {" >/dev/null 2>/dev/full", " >/dev/null 2>&-"}) {
    EXPECT_EQ(shell(valid + error), code) << error;
    EXPECT_EQ(shell(missing + error), 1) << error;
    EXPECT_EQ(shell(GetParam().name + std::string(" --no-such-option") + error), 2) << error;
  }
}

TEST(Run, ClosedInputIsItsEnd) {
  if (!std::string(SVQ_TOOLS_EMULATOR).empty()) GTEST_SKIP() << "run by an emulator";
  EXPECT_EQ(shell("svqrun " + tiny_model() + " -n 2 <&-"), 0);
}

TEST(Inspect, FullDiskIsAnError) {
  if (!std::string(SVQ_TOOLS_EMULATOR).empty()) GTEST_SKIP() << "run by an emulator";
  for (const char* output : {">/dev/full", ">&-"})
    EXPECT_EQ(shell("svqinspect " + tiny_model() + " 2>/dev/null " + output), 1) << output;
}

TEST(CommandLine, WhatIsLeftOverIsListedInItsOrder) {
  expect_sentence(run("svqrun", {tiny_model(), "one", "two", "three"}), "svqrun", "one two three");
}

TEST(CommandLine, NumbersAreDecimal) {
  const Outcome o = run("svqrun", {tiny_model(), "--context", "010", "-p", "hello"});
  EXPECT_NE(o.err.find("of the context's 10 are free"), std::string::npos) << o.err;
  expect_sentence(run("svqrun", {tiny_model(), "--context", "0x10"}), "svqrun", "--context: is 0x10, expected a whole");
}

TEST(Eval, UsageErrorsNameTheCommand) {
  expect_sentence(run("svqeval", {"perplexity", tiny_model()}), "svqeval", "see svqeval perplexity --help");
  const Outcome o = run("svqeval", {"foo"});
  EXPECT_EQ(o.exit_code, 2);
  expect_sentence(o, "svqeval", "foo: is no command, expected perplexity or choices");
}

}  // namespace
}  // namespace svq::test
