// Keeps a session's work in time. The forward pass is a row of steps (one per layer, and the head); after each of them
// step() looks at the clock, at the cancel flag and at the limits, sleeps if the duty limit asks for it, and says
// whether to go on. Inside a step every thread calls poll() between pieces of its work, and leaves the rest when told.
// From the longest time between two looks it chooses how many tokens the next chunk may hold.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace svq::rt {

struct Limits {
  uint64_t deadline_us = 0;  // of a call; 0: none
  uint64_t bound_us = 0;     // that a step should not exceed; 0: none
  uint32_t duty_percent = 100;
  uint64_t duty_window_us = 10000;
};

// The clock, in microseconds: replaced by the tests.
struct PaceClock {
  uint64_t (*now)();
  void (*sleep_until)(uint64_t);
};
const PaceClock& system_clock();

class Pace {
 public:
  explicit Pace(uint32_t threads, const PaceClock& clock = system_clock())
      : spin_us_(threads > 1 ? 50 : 0), clock_(clock) {}

  Limits limits;

  void begin_call();  // the deadline and the longest step count from here
  void begin_step();  // of a chunk; what passed since the last step was not the model's work
  // Ends a step and begins the next. False: cancelled, or past the deadline.
  bool step();
  // Inside a step, from any thread that works on it. True: the chunk is given up, and what is left of it not done.
  bool poll();
  bool given_up() const { return given_up_.load(std::memory_order_relaxed); }
  bool past_deadline() const { return deadline_ != 0 && clock_.now() >= deadline_; }
  // Whether work of `us` microseconds would end before the deadline.
  bool has_time_for(uint64_t us) const { return deadline_ == 0 || clock_.now() + us <= deadline_; }
  uint64_t now() const { return clock_.now(); }

  // Tokens of the next chunk, at most `limit`; after it, chunk_done() with the number evaluated.
  uint32_t next_chunk(uint32_t limit) const;
  void chunk_done(uint32_t tokens);
  uint64_t longest_step_us() const { return longest_us_; }

  // From any thread. A cancel counts once: taken by whoever reports it.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Read first: an exchange would take the cache line from a polling thread at every chunk.
  bool take_cancel() { return cancelled() && cancelled_.exchange(false, std::memory_order_relaxed); }

 private:
  void keep_duty(uint64_t now, uint64_t busy);

  static constexpr uint64_t kSliceUs = 500;  // between two looks at the cancel flag while sleeping

  const uint64_t spin_us_;  // that the workers go on spinning when a step ends in a pause (thread_pool.cc)
  const PaceClock& clock_;
  uint64_t deadline_ = 0, step_start_ = 0;
  void looked(uint64_t now);

  pthread_t caller_ = pthread_self();
  uint64_t last_look_ = 0;         // of the calling thread
  uint64_t longest_us_ = 0;        // between two looks of the call
  uint64_t chunk_longest_us_ = 0;  // … of the current chunk
  uint32_t allowed_ = 1;           // tokens that keep a step within the bound, as far as is known
  uint64_t window_start_ = 0, window_busy_ = 0;
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> given_up_{false};  // the current chunk
};

}  // namespace svq::rt
