#include "tests/tools/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <sstream>

namespace svq::test {
namespace {

constexpr auto kTimeout = std::chrono::minutes(15);  // for a program that hangs, not for a busy machine

[[noreturn]] void execute(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  std::istringstream emulator(SVQ_TOOLS_EMULATOR);  // cross builds: "qemu-aarch64 -L …"
  for (std::string word; emulator >> word;) words.push_back(word);
  words.push_back(std::string(SVQ_TOOLS_DIR) + "/" + program);
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  setenv("TERM", "dumb", 1);
  execvp(argv[0], argv.data());
  _exit(127);
}

void write_all(int file, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}

// Appends what can be read; false at the end.
bool read_some(int file, std::string& text) {
  char block[4096];
  const ssize_t n = read(file, block, sizeof block);
  if (n > 0) text.append(block, static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);  // a terminal whose program has ended gives EIO
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

class Deadline {
 public:
  explicit Deadline(pid_t child) : child_(child) {}
  int milliseconds_left() {
    const auto left = end_ - std::chrono::steady_clock::now();
    if (left.count() <= 0) {
      kill(child_, SIGKILL);
      return 1000;
    }
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count()) + 1;
  }

 private:
  pid_t child_;
  std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::now() + kTimeout;
};

Outcome run_on_terminal(const std::string& program, const std::vector<std::string>& arguments,
                        const RunOptions& options) {
  Outcome outcome;
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) execute(program, arguments);
  Deadline deadline(child);
  size_t step = 0, seen = 0;
  for (;;) {
    while (step < options.dialogue.size()) {
      const auto& [expected, typed] = options.dialogue[step];
      const size_t at = outcome.out.find(expected, seen);
      if (at == std::string::npos || (expected.empty() && at == outcome.out.size())) break;
      seen =
          expected.empty() ? outcome.out.size() : at + expected.size();  // the next text is looked for in what follows
      write_all(terminal, typed);
      ++step;
    }
    pollfd file = {terminal, POLLIN, 0};
    if (poll(&file, 1, deadline.milliseconds_left()) > 0 && !read_some(terminal, outcome.out)) break;
  }
  close(terminal);
  outcome.exit_code = wait_for(child);
  EXPECT_EQ(step, options.dialogue.size()) << "the dialogue stopped; output:\n" << outcome.out.substr(0, 1000);
  return outcome;
}

}  // namespace

Outcome run(const std::string& program, const std::vector<std::string>& arguments, const RunOptions& options) {
  signal(SIGPIPE, SIG_IGN);
  if (options.terminal) return run_on_terminal(program, arguments, options);
  Outcome outcome;
  int in[2], out[2], err[2];
  for (int* p : {in, out, err})
    if (pipe2(p, O_CLOEXEC) != 0) ADD_FAILURE() << "pipe2";
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    execute(program, arguments);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  write_all(in[1], options.input);  // shorter than a pipe's buffer
  close(in[1]);
  Deadline deadline(child);
  bool interrupted = !options.interrupt;
  bool out_open = true, err_open = true;
  while (out_open || err_open) {
    pollfd files[2] = {{out_open ? out[0] : -1, POLLIN, 0}, {err_open ? err[0] : -1, POLLIN, 0}};
    if (poll(files, 2, deadline.milliseconds_left()) <= 0) continue;
    if (files[0].revents) out_open = read_some(out[0], outcome.out);
    if (files[1].revents) err_open = read_some(err[0], outcome.err);
    if (!interrupted && !outcome.out.empty()) {
      kill(child, SIGINT);
      interrupted = true;
    }
  }
  close(out[0]);
  close(err[0]);
  outcome.exit_code = wait_for(child);
  return outcome;
}

}  // namespace svq::test
