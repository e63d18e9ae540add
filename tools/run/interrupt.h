// Ctrl-C: cancels an answer, interrupts the prompt, otherwise ends the program.
#pragma once
#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "svqrt/svqrt.h"

namespace svq::tools {

// One object, made before any other thread starts: SIGINT is blocked in all threads and taken by one of its own, so
// that no signal handler runs anywhere.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Between begin and end, Ctrl-C cancels the session's work; a second one before that took effect ends the program.
  void begin(svq_session* session);
  void end();
  bool requested() const { return requested_; }  // since begin()

  // From here on, as in read_line, Ctrl-C interrupts the prompt: before the prompt is shown, since somebody may be
  // quick.
  void expect_line();
  enum class Input { kLine, kEnd, kInterrupted };
  // The next line of standard input, without its line break.
  Input read_line(std::string& line);

 private:
  void wait_for_signals();

  std::mutex mutex_;
  svq_session* session_ = nullptr;
  bool reading_ = false;
  std::atomic<bool> requested_ = false;
  std::atomic<bool> leaving_ = false;
  int wake_[2];         // pipe: a byte for each Ctrl-C at the prompt
  std::string buffer_;  // read from standard input, not yet returned
  bool at_end_ = false;
  std::thread thread_;
};

}  // namespace svq::tools
