#include "tools/run/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/common/runtime.h"

namespace svq::tools {
namespace {

sigset_t only_sigint() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupts::Interrupts() {
  if (pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Failure(std::string("a pipe cannot be made: ") + std::strerror(errno));
  const sigset_t set = only_sigint();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread(&Interrupts::wait_for_signals, this);
}

Interrupts::~Interrupts() {
  leaving_ = true;
  pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
  close(wake_[0]);
  close(wake_[1]);
}

void Interrupts::wait_for_signals() {
  const sigset_t set = only_sigint();
  for (;;) {
    int signal_number = 0;
    if (sigwait(&set, &signal_number) != 0) continue;
    if (leaving_) return;
    const std::lock_guard lock(mutex_);
    if (session_ && !requested_) {
      requested_ = true;
      svq_session_cancel(session_);
    } else if (reading_) {
      (void)!write(wake_[1], "", 1);
    } else {
      signal(SIGINT, SIG_DFL);
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      raise(SIGINT);
    }
  }
}

void Interrupts::begin(svq_session* session) {
  const std::lock_guard lock(mutex_);
  session_ = session;
  requested_ = false;
}

void Interrupts::end() {
  const std::lock_guard lock(mutex_);
  session_ = nullptr;
}

void Interrupts::expect_line() {
  const std::lock_guard lock(mutex_);
  reading_ = true;
}

Interrupts::Input Interrupts::read_line(std::string& line) {
  expect_line();
  Input result = Input::kEnd;
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      result = Input::kLine;
      break;
    }
    if (at_end_) {  // a last line without line break
      if (!buffer_.empty()) result = Input::kLine;
      line = std::move(buffer_);
      buffer_.clear();
      break;
    }
    pollfd files[2] = {{STDIN_FILENO, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    if (poll(files, 2, -1) < 0) continue;
    char block[4096];
    if (files[1].revents) {
      while (read(wake_[0], block, sizeof block) > 0) {
      }
      buffer_.clear();
      result = Input::kInterrupted;
      break;
    }
    const ssize_t n = read(STDIN_FILENO, block, sizeof block);
    if (n > 0)
      buffer_.append(block, static_cast<size_t>(n));
    else if (n == 0 || errno != EINTR)
      at_end_ = true;
  }
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return result;
}

}  // namespace svq::tools
