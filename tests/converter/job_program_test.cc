// svqconvert as a program: refusals, exit statuses, reports, and going on after any interruption.
#include <sys/file.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <sstream>

#include "tests/converter/job_helpers.h"

namespace svq {
namespace {

namespace fs = std::filesystem;
using test::ProgramOptions;
using test::ProgramResult;
using test::read_text;

class Program : public test::ConverterTest {
 protected:
  // One sentence on stderr that holds every one of `words`, and no file left.
  void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& words,
                      int status = 1) {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_TRUE(result.err.starts_with("svqconvert: ")) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const auto& word : words) EXPECT_NE(result.err.find(word), std::string::npos) << word << " in: " << result.err;
    EXPECT_FALSE(fs::exists(path("t.svq.tmp")));
    EXPECT_FALSE(fs::exists(path("t.svq.work")));
  }
};

TEST_F(Program, HelpShowsExamples) {
  const ProgramResult result = run({"--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("Examples:"), std::string::npos);
  EXPECT_NE(result.out.find("--calibration"), std::string::npos);
  EXPECT_EQ(run({"--version"}).out.find("svqconvert "), 0u);
}

TEST_F(Program, WrongOptionsAreNamed) {
  write_model();
  expect_refused({"tiny.gguf", "-o", "t.svq", "--bits", "9"}, {"--bits", "9"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--damping", "2"}, {"--damping", "2"}, 2);
  for (const char* option : {"--damping", "--output-damping", "--scale-rate", "--map-rate"})
    expect_refused({"tiny.gguf", "-o", "t.svq", option, "nan"}, {option, "nan"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--seed", "-1"}, {"--seed", "-1"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--seed", "18446744073709551617"}, {"--seed", "18446744073709551617"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--nonsense"}, {"--nonsense"}, 2);
  expect_refused({"tiny.gguf", "one", "two", "-o", "t.svq"}, {"one two"}, 2);
  expect_refused({"tiny.gguf"}, {"--output"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--effort", "some"}, {"--effort", "some"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--time-limit", "soon"}, {"--time-limit soon", "1h30m"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--time-limit", "3"}, {"--time-limit 3", "1h30m"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--time-limit", "1h", "--effort", "none"}, {"--time-limit"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--time-limit", "1h", "--train-tokens", "9"}, {"--train-tokens"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--sampled-share", "0.5"}, {"--sampled-share", "--calibration"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--calibration", "t.txt", "--sampled-share", "1"}, {"--sampled-share 1"},
                 2);
  for (const char* share : {"1.5", "-1", "nan"})
    expect_refused({"tiny.gguf", "-o", "t.svq", "--calibration", "t.txt", "--sampled-share", share},
                   {"--sampled-share", share}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--override", "blocks.0.q"}, {"PATTERN=BITS"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--override", "blocks.0.q=9"}, {"blocks.0.q=9"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--map-columns", "6"}, {"--map-columns 6", "multiple"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--lattice", "d4", "--group", "8"}, {"--lattice d4", "--group 4"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--method", "quip", "--lattice", "d4"}, {"--method quip", "--lattice"},
                 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--quiet", "--json"}, {"--quiet", "--json"}, 2);
  expect_refused({"tiny.gguf", "-o", "t.svq", "--override", "block.*=3"}, {"--override block.*", "matches no linear"});
  expect_refused({"tiny.gguf", "-o", "t.svq", "--head-bits", "8"}, {"--head-bits", "--embedding-bits"});
}

TEST_F(Program, UnusableFilesAreNamed) {
  write_model();
  std::ofstream(path("garbage.gguf")) << "this is not a model";
  std::ofstream(path("short.txt")) << "three short words";
  std::ofstream(path("bad.jsonl")) << "{\"text\": \"fine\"}\n{not json\n";
  fs::create_directory(path("folder"));
  expect_refused({"absent.gguf", "-o", "t.svq"}, {"absent.gguf"});
  expect_refused({"garbage.gguf", "-o", "t.svq"}, {"garbage.gguf"});
  expect_refused({"folder", "-o", "t.svq"}, {"folder"});
  expect_refused({"tiny.gguf", "-o", "tiny.gguf"}, {"tiny.gguf", "source itself"});
  expect_refused({"tiny.gguf", "-o", "tiny.gguf", "--force"}, {"tiny.gguf", "source itself"});
  expect_refused({"tiny.gguf", "-o", "folder"}, {"folder", "directory"});
  expect_refused({"tiny.gguf", "-o", "nowhere/t.svq"}, {"nowhere"});
  std::ofstream(path("empty.txt")).flush();
  expect_refused({"tiny.gguf", "-o", "t.svq", "--calibration", "absent.txt", "--plan"}, {"absent.txt"});
  expect_refused({"tiny.gguf", "-o", "t.svq", "--calibration", "folder", "--plan"}, {"--calibration folder", "file"});
  expect_refused({"tiny.gguf", "-o", "t.svq", "--calibration", "empty.txt", "--plan"}, {"empty.txt", "is empty"});
  std::ofstream(path("t.svq.report.html")) << "precious";
  expect_refused({"tiny.gguf", "-o", "t.svq"}, {"t.svq.report.html", "exists", "--force", "--no-report"});
  EXPECT_EQ(read_text(path("t.svq.report.html")), "precious");
  fs::remove(path("t.svq.report.html"));
  std::ofstream(path("t.svq")) << "precious";
  expect_refused({"tiny.gguf", "-o", "t.svq"}, {"t.svq", "exists", "--force"});
  EXPECT_EQ(read_text(path("t.svq")), "precious");
  if (geteuid() != 0) {  // root may write everywhere
    fs::create_directory(path("locked"));
    fs::permissions(path("locked"), fs::perms::owner_read | fs::perms::owner_exec);
    expect_refused({"tiny.gguf", "-o", "locked/t.svq"}, {"locked", "Permission denied"});
    fs::permissions(path("locked"), fs::perms::owner_all);
  }
}

TEST_F(Program, AFileSystemThatCannotBeWrittenIsNamed) {
  write_model();
  const ProgramResult result = run({"tiny.gguf", "-o", "/proc/t.svq", "--bits", "16"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("/proc"), std::string::npos) << result.err;
}

TEST_F(Program, AFailureBeforeAnyWorkDoesNotRefuseTheNextRun) {
  write_model();
  std::ofstream(path("short.txt")) << "three short words";
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--calibration", "short.txt"}));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("short.txt"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(path("t.svq.work")));
  EXPECT_EQ(run(quick({"tiny.gguf", "-o", "t.svq", "--quiet"})).status, 0);
}

TEST_F(Program, PlanDoesNothing) {
  write_model();
  const ProgramResult result = run({"tiny.gguf", "-o", "t.svq", "--plan"});
  EXPECT_EQ(result.status, 0);
  for (const char* word : {"llama", "2 blocks", "memory", "disk", "sampled from the model"}) {
    EXPECT_NE(result.out.find(word), std::string::npos) << word;
  }
  EXPECT_FALSE(fs::exists(path("t.svq")));
  EXPECT_FALSE(fs::exists(path("t.svq.work")));
}

// /dev/full and closed descriptors, by a shell.
TEST_F(Program, OutputThatCannotBeWrittenDoesNotStopTheWork) {
  write_model();
  const auto shell = [&](std::vector<std::string> arguments, const std::string& redirection) {
    std::string command = "cd '" + path("").string() + "' && exec " SVQ_CONVERT;
    for (const std::string& a : arguments) command += " " + a;
    const int status = std::system((command + " " + redirection).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  };
  for (const char* redirection : {"2>/dev/full", "2>&-"}) {  // dropped
    EXPECT_EQ(shell(quick({"tiny.gguf", "-o", "t.svq", "--force"}), std::string(redirection) + " >/dev/null"), 0);
    EXPECT_TRUE(fs::exists(path("t.svq")));
    EXPECT_EQ(shell({"--nonsense"}, redirection), 2);
  }
  fs::remove(path("t.svq"));
  for (const char* redirection : {">/dev/full 2>err", ">&- 2>err"}) {  // told at the end
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                      {"--version"},
                                                      {"tiny.gguf", "-o", "new.svq", "--plan"},
                                                      {"tiny.gguf", "-o", "new.svq", "--plan", "--json"},
                                                      quick({"tiny.gguf", "-o", "t.svq", "--force", "--json"})}) {
      EXPECT_EQ(shell(arguments, redirection), 1) << arguments[0];
      EXPECT_NE(read_text(path("err")).find("svqconvert: standard output: cannot be written"), std::string::npos)
          << arguments.back() << read_text(path("err"));
    }
  }
  EXPECT_TRUE(fs::exists(path("t.svq")));
}

TEST_F(Program, ASizeBeyondTheModelIsNotPlannedFor) {
  write_model();
  const auto planned = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"tiny.gguf", "-o", "t.svq", "--plan", "--json"});
    const ProgramResult result = run(more);
    EXPECT_EQ(result.status, 0) << result.err;
    return nlohmann::json::parse(result.out);
  };
  const auto capped = planned({"--size", "999GB"}), small = planned({"--size", "90kB"});
  EXPECT_EQ(small.at("file_bytes"), 90000);
  EXPECT_LT(capped.at("file_bytes"), 200000);
  EXPECT_GE(capped.at("file_bytes"), planned({"--override", "*=8"}).at("file_bytes"));
}

TEST_F(Program, ACalibrationTextMayHaveAnyName) {
  write_model();
  std::ofstream text(path("caf\xe9.txt"));
  for (int i = 0; i < 300; ++i) text << "line " << i << " of a short text\n";
  text.close();
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--quiet", "--calibration", "caf\xe9.txt"}));
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST_F(Program, QuietSaysNothing) {
  write_model();
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--quiet"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out + result.err, "");
  EXPECT_TRUE(fs::exists(path("t.svq")));
}

TEST_F(Program, JsonLinesTellEverything) {
  write_model();
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  std::map<std::string, int> events;
  nlohmann::json last, linear;
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) {
    last = nlohmann::json::parse(line);
    ++events[last.at("event")];
    if (last["event"] == "linear" && last["name"] == "blocks.1.down") linear = last;
  }
  EXPECT_EQ(events["plan"], 1);
  EXPECT_EQ(events["linear"], 2 * 7 + 1);
  EXPECT_GE(events["progress"], 2);
  EXPECT_EQ(events["summary"], 1);
  EXPECT_EQ(last["event"], "summary");
  EXPECT_EQ(last["file_bytes"], fs::file_size(path("t.svq")));
  EXPECT_GT(last["relative_error"], 0.001);
  EXPECT_LT(last["relative_error"], 0.5);
  EXPECT_EQ(linear["bits"], 2);
  EXPECT_GT(linear["relative_error"], 0);
  const ProgramResult failed = run({"absent.gguf", "-o", "u.svq", "--json"});
  EXPECT_EQ(nlohmann::json::parse(failed.out)["event"], "error");
  const ProgramResult wrong = run({"--nonsense", "--json"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_EQ(nlohmann::json::parse(wrong.out)["event"], "error");
}

TEST_F(Program, TheSameCommandGivesTheSameBytes) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "a.svq", "--quiet"})).status, 0);
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "b.svq", "--quiet"})).status, 0);
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "c.svq", "--quiet", "--seed", "1"})).status, 0);
  EXPECT_TRUE(read_text(path("a.svq")) == read_text(path("b.svq")));
  EXPECT_FALSE(read_text(path("a.svq")) == read_text(path("c.svq")));
}

TEST_F(Program, KilledAtAnyMomentItGoesOnToTheSameFile) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "whole.svq", "--quiet"})).status, 0);
  std::mt19937 random(std::random_device{}());
  int killed = 0;
  bool finished = false;
  for (int parts_there = 0; parts_there <= 10 && !finished; parts_there += 2) {
    // A moment up to 20 ms after so many parts are there: before the first, inside any step, or inside the final file.
    const auto delay = std::chrono::microseconds(random() % 20000);
    std::optional<std::chrono::steady_clock::time_point> reached;
    ProgramOptions options;
    options.kill_when = [&] {
      const auto now = std::chrono::steady_clock::now();
      if (!reached && fs::exists(path("pieces.svq.work/lock")) && parts("pieces.svq.work") >= parts_there)
        reached = now;
      return reached && now - *reached >= delay;
    };
    const ProgramResult result = run(quick({"tiny.gguf", "-o", "pieces.svq", "--quiet"}), options);
    ASSERT_TRUE(result.status == 0 || result.status == 128 + SIGKILL) << result.err;
    killed += result.status != 0;
    finished =
        fs::exists(path("pieces.svq"));  // complete as soon as it has its name, whether or not the kill came later
  }
  if (!finished) {
    const ProgramResult last = run(quick({"tiny.gguf", "-o", "pieces.svq", "--quiet"}));
    ASSERT_EQ(last.status, 0) << last.err;
  }
  EXPECT_GE(killed, 3);
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("pieces.svq"))) << "after " << killed << " kills";
}

TEST_F(Program, KilledBetweenAnyTwoPartsItGoesOnToTheSameFile) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "a.svq", "--quiet", "--work", "full"})).status, 0);
  const std::string whole = read_text(path("a.svq"));
  std::vector<fs::path> states;
  for (const auto& entry : fs::directory_iterator(path("full"))) {
    if (entry.path().extension() == ".part" || entry.path().extension() == ".state")
      states.push_back(entry.path().filename());
  }
  ASSERT_EQ(states.size(), 10u + 4u);  // parts; tokens and their number, the last hidden states, seconds spent
  // Any subset of the state must lead to the same file, whole or damaged.
  std::mt19937 random(3);
  for (int round = 0; round < 5; ++round) {
    fs::remove_all(path("work"));
    fs::copy(path("full"), path("work"));
    for (const auto& name : states) {
      const fs::path file = path("work") / name;
      switch (random() % 3) {
        case 0:
          fs::remove(file);
          break;
        case 1: {
          std::string bytes = read_text(file);
          bytes[bytes.size() - 1 - random() % 64] ^= 1;
          std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
          break;
        }
        default:
          break;
      }
    }
    const ProgramResult result = run(quick({"tiny.gguf", "-o", "a.svq", "--quiet", "--work", "work", "--force"}));
    ASSERT_EQ(result.status, 0) << result.err;
    ASSERT_TRUE(read_text(path("a.svq")) == whole) << "round " << round;
  }
}

TEST_F(Program, CtrlCGivesAFileOfWhatIsDoneAndTheSameCommandGoesOn) {
  test::TinyShape shape;
  shape.layers = 8;
  write_model(shape);
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "whole.svq", "--quiet"})).status, 0);
  ProgramOptions options;
  options.signal = SIGINT;
  options.kill_when = [&] { return parts("t.svq.work") >= 3; };
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq"}), options);
  ASSERT_EQ(result.status, 130) << result.err;
  for (const char* words :
       {"stopped after ", " of 57 linears", "in 16 bits", "the same command goes on from t.svq.work"})
    EXPECT_NE(result.err.find(words), std::string::npos) << words << " in: " << result.err;
  ASSERT_TRUE(fs::exists(path("t.svq")));
  EXPECT_GT(fs::file_size(path("t.svq")), fs::file_size(path("whole.svq")));  // what is missing takes 16 bits
  EXPECT_NE(read_text(path("t.svq.report.html")).find("<b>Stopped</b> after "), std::string::npos);
  const int done = parts("t.svq.work");
  EXPECT_GE(done, 3);
  EXPECT_LT(done, 8 * 4 + 2);
  const ProgramResult rest = run(quick({"tiny.gguf", "-o", "t.svq"}));
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_NE(rest.err.find(std::to_string(done) + " of 34 parts are there"), std::string::npos) << rest.err;
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("t.svq")));
}

// The last JSON line of a run.
nlohmann::json summary_of(const ProgramResult& result) {
  const size_t end = result.out.find_last_not_of('\n');
  const size_t begin = result.out.rfind('\n', end);
  return nlohmann::json::parse(result.out.substr(begin == std::string::npos ? 0 : begin + 1));
}

TEST_F(Program, TheTimeOfEarlierRunsIsTold) {
  write_model();
  const auto arguments = quick({"tiny.gguf", "-o", "t.svq", "--json", "--keep-work", "--force"});
  const nlohmann::json first = summary_of(run(arguments)), second = summary_of(run(arguments));
  EXPECT_EQ(first["total_seconds"], first["seconds"]);
  EXPECT_GT(second["total_seconds"], second["seconds"]);
  EXPECT_LE(second["total_seconds"], first["seconds"].get<double>() + second["seconds"].get<double>());
}

TEST_F(Program, FineTuningComesNearerToTheSource) {
  write_model();
  const ProgramResult result = run(tuned({"tiny.gguf", "-o", "t.svq", "--json"}, 40));
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json tuning = summary_of(result).at("tuning");
  EXPECT_EQ(tuning["steps"], 40);
  EXPECT_EQ(tuning["tokens"], 40 * 64);
  EXPECT_EQ(tuning["losses"].size(), 40u);
  EXPECT_GT(tuning["quantized"]["kl"], 1e-4);
  EXPECT_LT(tuning["tuned"]["kl"].get<double>(), 0.9 * tuning["quantized"]["kl"].get<double>());
  EXPECT_TRUE(fs::exists(path("t.svq")));
  EXPECT_FALSE(fs::exists(path("t.svq.work")));
  // A text gives the sequences that it holds.
  std::ofstream text(path("text.txt"));
  for (int i = 0; i < 300; ++i) text << "line " << i << " of a short text\n";
  text.close();
  EXPECT_EQ(run(tuned({"tiny.gguf", "-o", "u.svq", "--quiet", "--calibration", "text.txt"})).status, 0);
}

TEST_F(Program, TuningGoesOnAfterAnyInterruption) {
  write_model();
  for (const char* block_tokens : {"0", "512"}) {
    const auto arguments = [&](const char* work) {
      return tuned(
          {"tiny.gguf", "-o", "whole.svq", "--quiet", "--work", work, "--force", "--block-tokens", block_tokens});
    };
    fs::remove_all(path("full"));
    ASSERT_EQ(run(arguments("full")).status, 0);
    const std::string whole = read_text(path("whole.svq"));
    std::vector<fs::path> states;
    for (const auto& entry : fs::directory_iterator(path("full"))) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("raw.")) << entry.path();
      if (entry.path().extension() == ".part" || entry.path().extension() == ".state")
        states.push_back(entry.path().filename());
    }
    EXPECT_GE(states.size(), 2 * 10u + 5u);
    std::mt19937 random(7);
    for (int round = 0; round < 4; ++round) {
      fs::remove_all(path("work"));
      fs::copy(path("full"), path("work"));
      for (const auto& name : states) {
        if (random() % 3 == 0) fs::remove(path("work") / name);
      }
      const ProgramResult result = run(arguments("work"));
      ASSERT_EQ(result.status, 0) << result.err;
      ASSERT_TRUE(read_text(path("whole.svq")) == whole) << "round " << round << ", --block-tokens " << block_tokens;
    }
  }
}

TEST_F(Program, BlocksAreTunedOneByOne) {
  test::TinyShape shape;
  shape.layers = 8;
  write_model(shape);
  const auto arguments = [](const char* output, const char* block_tokens = "16384") {
    return std::vector<std::string>{"tiny.gguf",
                                    "-o",
                                    output,
                                    "--json",
                                    "--effort",
                                    "none",
                                    "--threads",
                                    "1",
                                    "--calibration-sequences",
                                    "64",
                                    "--calibration-length",
                                    "32",
                                    "--search",  // of random weights, searched codes leave nothing to gain
                                    "0",
                                    "--block-tokens",
                                    block_tokens};
  };
  const ProgramResult whole = run(arguments("whole.svq"));
  ASSERT_EQ(whole.status, 0) << whole.err;
  // "blocks.3 tuning: 0.5 -> 0.4"
  std::istringstream lines(whole.out);
  std::set<std::string> blocks;
  int improved = 0;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json event = nlohmann::json::parse(line);
    const std::string step = event.value("step", "");
    const size_t colon = step.find(" tuning: "), arrow = step.find(" -> ");
    if (colon == std::string::npos || arrow == std::string::npos) continue;
    const double before = std::stod(step.substr(colon + 9)), after = std::stod(step.substr(arrow + 4));
    EXPECT_LE(after, before) << step;
    improved += after < before;
    blocks.insert(step.substr(0, colon));
  }
  EXPECT_EQ(blocks.size(), 8u);
  EXPECT_GT(improved, 0);
  ASSERT_EQ(run(arguments("t.svq", "0")).status, 0);
  EXPECT_FALSE(read_text(path("whole.svq")) == read_text(path("t.svq")));

  // Stopped while a block waits for its tuning.
  ProgramOptions options;
  options.signal = SIGKILL;
  options.kill_when = [&] { return fs::exists(path("u.svq.work/raw.blocks.2.ffn_in.part")); };
  EXPECT_NE(run(arguments("u.svq"), options).status, 0);
  EXPECT_TRUE(fs::exists(path("u.svq.work/blocks.1.down_in.part")));
  const ProgramResult rest = run(arguments("u.svq"));
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("u.svq")));

  expect_refused({"tiny.gguf", "-o", "t.svq", "--block-tokens", "64", "--prefix", "float"}, {"--block-tokens"}, 2);
}

TEST_F(Program, TrainingWhileQuantizingGivesBetterCodes) {
  write_model();
  const auto divergence = [&](const char* tokens) {
    const ProgramResult result = run(
        tuned({"tiny.gguf", "-o", "t.svq", "--json", "--force", "--seed", "2", "--progressive-tokens", tokens}, 128));
    EXPECT_EQ(result.status, 0) << result.err;
    return summary_of(result).at("tuning").at("quantized").at("kl").get<double>();
  };
  EXPECT_LT(divergence("65536"), 0.9 * divergence("0"));  // 0.84 (seed 2), 0.87 (1), 0.90 (3), 0.99 (0)
  const ProgramResult without = run(quick({"tiny.gguf", "-o", "t.svq", "--progressive-tokens", "64"}));
  EXPECT_NE(without.status, 0);
  EXPECT_NE(without.err.find("--effort"), std::string::npos) << without.err;
}

TEST_F(Program, CtrlCDuringFineTuningGivesAFileAndTheSameCommandGoesOn) {
  write_model();
  constexpr int kSteps = 400;
  const auto tuned_at_the_end = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--progressive-tokens", "0"});
    return tuned(arguments, kSteps);
  };
  ASSERT_EQ(run(tuned_at_the_end({"tiny.gguf", "-o", "whole.svq", "--quiet"})).status, 0);
  ProgramOptions options;
  options.signal = SIGINT;
  // Once the float model has run, fine-tuning is under way.
  options.kill_when = [&] { return fs::exists(path("t.svq.work/teacher.state")); };
  const ProgramResult result = run(tuned_at_the_end({"tiny.gguf", "-o", "t.svq"}), options);
  ASSERT_EQ(result.status, 130) << result.err;
  EXPECT_NE(result.err.find("goes on"), std::string::npos) << result.err;
  ASSERT_TRUE(fs::exists(path("t.svq"))) << result.err;
  EXPECT_FALSE(read_text(path("whole.svq")) == read_text(path("t.svq")));
  const ProgramResult rest = run(tuned_at_the_end({"tiny.gguf", "-o", "t.svq"}));
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_NE(rest.err.find("going on with fine-tuning after step"), std::string::npos) << rest.err;
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("t.svq")));
}

TEST_F(Program, CtrlCWhileCurvatureIsMeasuredLosesNothing) {
  write_model();
  const auto many = [](const std::string& output) {
    return std::vector<std::string>{"tiny.gguf",
                                    "-o",
                                    output,
                                    "--quiet",
                                    "--effort",
                                    "none",
                                    "--threads",
                                    "1",
                                    "--calibration-length",
                                    "32",
                                    "--calibration-sequences",
                                    "300",
                                    "--curvature-sequences",
                                    "300"};
  };
  ASSERT_EQ(run(many("whole.svq")).status, 0);
  ProgramOptions options;
  options.signal = SIGINT;
  options.kill_when = [&] { return fs::exists(path("t.svq.work/tokens.state")); };
  ASSERT_EQ(run(many("t.svq"), options).status, 130);
  EXPECT_TRUE(fs::exists(path("t.svq.work/outputs.state")));
  EXPECT_FALSE(fs::exists(path("t.svq")));  // nothing is quantized yet
  ASSERT_EQ(run(many("t.svq")).status, 0);
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("t.svq")));
}

TEST_F(Program, CtrlCDuringTheCheckGivesTheWholeFile) {
  write_model();
  const std::vector<std::string> arguments{"tiny.gguf", "-o",
                                           "t.svq",     "--effort",
                                           "none",      "--threads",
                                           "1",         "--calibration-sequences",
                                           "4",         "--calibration-length",
                                           "2000"};
  ProgramOptions options;
  options.signal = SIGINT;
  options.kill_when = [&] { return fs::exists(path("t.svq.tmp")); };
  const ProgramResult result = run(arguments, options);
  ASSERT_EQ(result.status, 130) << result.err;
  EXPECT_NE(result.err.find("stopped while the runtime ran the file"), std::string::npos) << result.err;
  const std::string stopped = read_text(path("t.svq"));
  const ProgramResult rest = run(arguments);
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_TRUE(stopped == read_text(path("t.svq")));
  EXPECT_FALSE(fs::exists(path("t.svq.work")));
}

TEST_F(Program, ATimeLimitChoosesTheNumberOfSteps) {
  write_model();
  auto arguments = tuned({"tiny.gguf", "-o", "t.svq", "--json", "--time-limit", "4s"});
  arguments.resize(arguments.size() - 2);  // without --train-tokens
  arguments.push_back("--keep-work");
  const ProgramResult result = run(arguments);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_GE(summary_of(result)["tuning"]["steps"], 5);
  EXPECT_TRUE(fs::exists(path("t.svq.work/progressive.steps.state")));  // training while quantizing chose its own
}

TEST_F(Program, TheStateOfAnotherConversionIsRefused) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "a.svq", "--quiet", "--work", "state"})).status, 0);
  const ProgramResult other = run(quick({"tiny.gguf", "-o", "b.svq", "--quiet", "--work", "state", "--bits", "3"}));
  EXPECT_EQ(other.status, 1);
  for (const char* word : {"state", "bits = 2", "3", "--force"})
    EXPECT_NE(other.err.find(word), std::string::npos) << other.err;
  EXPECT_EQ(run(quick({"tiny.gguf", "-o", "b.svq", "--quiet", "--work", "state", "--bits", "3", "--force"})).status, 0);
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "c.svq", "--quiet", "--bits", "3"})).status, 0);
  EXPECT_TRUE(read_text(path("b.svq")) == read_text(path("c.svq")));
}

TEST_F(Program, AForeignDirectoryIsNoWorkDirectory) {
  write_model();
  fs::create_directory(path("mine"));
  std::ofstream(path("mine/letter.txt")) << "do not touch";
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--work", "mine", "--force"}));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("letter.txt"), std::string::npos) << result.err;
  EXPECT_EQ(read_text(path("mine/letter.txt")), "do not touch");
  EXPECT_FALSE(fs::exists(path("mine/lock")));
}

TEST_F(Program, TwoRunsDoNotShareAWorkDirectory) {
  write_model();
  fs::create_directory(path("state"));
  const int fd = open(path("state/lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--work", "state"}));
  close(fd);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("another svqconvert"), std::string::npos) << result.err;
}

// RLIMIT_FSIZE stands in for a full disk.
TEST_F(Program, AFullDiskIsOneSentenceAndTheRestGoesOn) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "whole.svq", "--quiet"})).status, 0);
  ProgramOptions options;
  options.file_size_limit = 30000;  // parts fit, the file does not
  const ProgramResult result = run(quick({"tiny.gguf", "-o", "t.svq", "--quiet"}), options);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("cannot write"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(path("t.svq")));
  EXPECT_FALSE(fs::exists(path("t.svq.tmp")));
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "t.svq", "--quiet"})).status, 0);
  EXPECT_TRUE(read_text(path("whole.svq")) == read_text(path("t.svq")));
}

TEST_F(Program, ValuesBeyondHalfPrecisionAreNamed) {
  auto writer = test::tiny_gguf({}, test::TinyType::kF32);
  const float huge = 1e6f;
  std::memcpy(writer.tensor("blk.1.ffn_up.weight")->data.data() + 40, &huge, sizeof huge);
  test::write_file(path("tiny.gguf").string(), writer.build());
  const ProgramResult result = run({"tiny.gguf", "-o", "t.svq", "--bits", "16", "--quiet"});
  EXPECT_EQ(result.status, 1);
  for (const char* word : {"blocks.1.up", "65504"}) EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
}

}  // namespace
}  // namespace svq
