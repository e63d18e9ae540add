#include "runtime/base/log.h"

#include <mutex>

namespace svq::rt {
namespace {
struct Hook {
  std::mutex mutex;
  svq_log_fn fn = nullptr;
  void* user = nullptr;
};
Hook& hook() {
  static Hook instance;
  return instance;
}
}  // namespace

void set_log(svq_log_fn fn, void* user) {
  const std::lock_guard lock(hook().mutex);
  hook().fn = fn;
  hook().user = user;
}

void log(svq_log_level level, const std::string& message) {
  svq_log_fn fn;
  void* user;
  {
    const std::lock_guard lock(hook().mutex);
    fn = hook().fn;
    user = hook().user;
  }
  if (fn != nullptr) fn(level, message.c_str(), user);
}

}  // namespace svq::rt
