#include "runtime/model/pace.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace svq::rt {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t now_us() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count());
}

void sleep_until_us(uint64_t us) { std::this_thread::sleep_until(Clock::time_point(std::chrono::microseconds(us))); }

}  // namespace

const PaceClock& system_clock() {
  static constexpr PaceClock kClock{now_us, sleep_until_us};
  return kClock;
}

void Pace::begin_call() {
  const uint64_t now = clock_.now();
  deadline_ = limits.deadline_us == 0 ? 0 : now + limits.deadline_us;
  longest_us_ = 0;
  step_start_ = last_look_ = now;
}

void Pace::begin_step() {
  given_up_.store(false, std::memory_order_relaxed);
  caller_ = pthread_self();
  step_start_ = last_look_ = clock_.now();
}

void Pace::looked(uint64_t now) {
  const uint64_t took = now - last_look_;
  last_look_ = now;
  longest_us_ = std::max(longest_us_, took);
  chunk_longest_us_ = std::max(chunk_longest_us_, took);
}

bool Pace::poll() {
  if (given_up()) return true;
  const bool caller = pthread_equal(caller_, pthread_self()) != 0;
  if (caller || deadline_ != 0) {
    const uint64_t now = clock_.now();
    if (caller) looked(now);
    if (deadline_ != 0 && now >= deadline_) given_up_.store(true, std::memory_order_relaxed);
  }
  if (cancelled()) given_up_.store(true, std::memory_order_relaxed);
  return given_up();
}

bool Pace::step() {
  uint64_t now = clock_.now();
  looked(now);
  if (limits.duty_percent < 100) {
    keep_duty(now, now - step_start_);
    now = clock_.now();
  }
  step_start_ = last_look_ = now;
  return !given_up() && !cancelled() && (deadline_ == 0 || now < deadline_);
}

// A window begins with the first step after a pause, or after the last window. Once its share of work is done the rest
// of it is slept; a step longer than the share is paid for with a longer window.
void Pace::keep_duty(uint64_t now, uint64_t busy) {
  const uint64_t window = limits.duty_window_us;
  if (window_start_ == 0 || now - busy >= window_start_ + window) {
    window_start_ = now - busy;
    window_busy_ = 0;
  }
  window_busy_ += busy;
  if (window_busy_ * 100 < window * limits.duty_percent) return;
  const uint64_t spent = window_busy_ + spin_us_;
  const uint64_t end = window_start_ + std::max(window, spent * 100 / limits.duty_percent);
  for (uint64_t t = now; t < end && !cancelled() && (deadline_ == 0 || t < deadline_); t = clock_.now()) {
    clock_.sleep_until(std::min(end, t + kSliceUs));
  }
  window_start_ = std::max(end, clock_.now());
  window_busy_ = 0;
}

uint32_t Pace::next_chunk(uint32_t limit) const {
  return limits.bound_us == 0 ? limit : std::clamp(allowed_, 1u, limit);
}

// The time between two looks grows no faster than the tokens (what is read once, is read for all of them). Chunks grow
// fourfold at most, and by that rule only as far as three quarters of the bound, the rest being slack for attention
// over more positions and for a busy machine; from there on by one token, as long as nine tenths hold.
void Pace::chunk_done(uint32_t tokens) {
  const uint64_t longest = std::max<uint64_t>(1, chunk_longest_us_);
  chunk_longest_us_ = 0;
  if (limits.bound_us == 0) return;
  const uint64_t fits = limits.bound_us * 3 / 4 * tokens / longest;
  const uint64_t probe = std::min<uint64_t>(limits.bound_us * 9 / 10 * tokens / longest, uint64_t{tokens} + 1);
  allowed_ = static_cast<uint32_t>(std::clamp<uint64_t>(std::max(fits, probe), 1, uint64_t{4} * tokens));
}

}  // namespace svq::rt
