#include "converter/train/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "converter/models/float/startup.h"

namespace svq::convert {

void side_by_side(int64_t count, const std::function<void(int64_t)>& visit) {
  const int threads = at::get_num_threads();
  const int workers = static_cast<int>(std::min<int64_t>(count, threads));
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) visit(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    at::set_num_threads(std::max(1, threads / workers));  // of this thread
    for (int64_t i; (i = next++) < count;) {
      try {
        visit(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  {
    const SerialBlas serial;
    std::vector<std::thread> all;
    for (int i = 0; i < workers; ++i) all.emplace_back(work);
    for (std::thread& t : all) t.join();
    at::set_num_threads(threads);  // also what threads to come start with
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace svq::convert
