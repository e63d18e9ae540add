// Runs svqconvert as a user would, on tiny random models.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "converter/models/float/startup.h"
#include "tests/read_text.h"
#include "tests/sources/tiny_gguf.h"

namespace svq::test {

struct ProgramResult {
  int status = -1;  // exit status, or 128 + signal
  std::string out, err;
};

struct ProgramOptions {
  std::function<bool()> kill_when;  // sends `signal` as soon as it is true
  int signal = SIGKILL;
  uint64_t file_size_limit = 0;  // RLIMIT_FSIZE; 0: none
};

// A folder of its own per test, and svqconvert run in it.
class ConverterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name =
        std::string("svq_job_") + info->test_suite_name() + "_" + info->name() + "_" + std::to_string(getpid());
    for (char& c : name) c = c == '/' ? '_' : c;
    dir_ = std::filesystem::path(::testing::TempDir()) / name;
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::filesystem::path path(const std::string& name) const { return dir_ / name; }

  std::filesystem::path write_model(const TinyShape& shape = {}, const std::string& name = "tiny.gguf") const {
    write_file(path(name).string(), tiny_gguf(shape).build());
    return path(name);
  }

  ProgramResult run(const std::vector<std::string>& arguments, const ProgramOptions& options = {}) const {
    const std::string out = path(".stdout"), err = path(".stderr");
    const auto started = std::chrono::steady_clock::now();
    const pid_t child = fork();
    if (child == 0) {
      const int o = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644),
                e = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(o, STDOUT_FILENO);
      dup2(e, STDERR_FILENO);
      if (options.file_size_limit) {
        const rlimit limit{options.file_size_limit, options.file_size_limit};
        setrlimit(RLIMIT_FSIZE, &limit);
      }
      if (chdir(dir_.c_str()) != 0) _exit(126);
      convert::set_blas_environment();  // else svqconvert does it and starts again: half a second of loading libtorch
      std::vector<char*> argv{const_cast<char*>(SVQ_CONVERT)};
      for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
      argv.push_back(nullptr);
      execv(SVQ_CONVERT, argv.data());
      _exit(127);
    }
    int status = 0;
    bool signalled = false;
    const auto limit = std::chrono::seconds(900);  // for a program that hangs, not for a busy machine
    while (waitpid(child, &status, WNOHANG) == 0) {
      const auto elapsed = std::chrono::steady_clock::now() - started;
      if (!signalled && options.kill_when && options.kill_when()) {
        signalled = true;
        kill(child, options.signal);
      }
      if (elapsed > limit) kill(child, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ProgramResult result;
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = read_text(out);
    result.err = read_text(err);
    return result;
  }

  // Finished parts in a work directory.
  int parts(const std::string& work) const {
    int count = 0;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path(work), ignored))
      count += entry.path().extension() == ".part";
    return count;
  }

  // Few and short sequences: the models are random anyway.
  static std::vector<std::string> quick(std::vector<std::string> arguments) {
    for (const char* a :
         {"--calibration-sequences", "4", "--calibration-length", "32", "--threads", "1", "--effort", "none"})
      arguments.emplace_back(a);
    return arguments;
  }
  // The same with fine-tuning, of a few steps.
  static std::vector<std::string> tuned(std::vector<std::string> arguments, int steps = 12) {
    for (const std::string& a : {std::string("--calibration-sequences"), std::string("4"),
                                 std::string("--calibration-length"), std::string("32"), std::string("--threads"),
                                 std::string("1"), std::string("--train-tokens"), std::to_string(steps * 64)})
      arguments.push_back(a);
    return arguments;
  }

  std::filesystem::path dir_;
};

}  // namespace svq::test
