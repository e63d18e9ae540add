#include "converter/job/cancel.h"

#include <atomic>
#include <csignal>

namespace svq::convert {

namespace {
std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);
}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = [](int) { requested.store(true); };
  // The handler serves once: a second signal has its default effect. Interrupted system calls go on.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // A full disk or quota is reported by write(), not by a signal; so is a closed pipe on stdout.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

bool stop_requested() { return requested.load(); }

}  // namespace svq::convert
