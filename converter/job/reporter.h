// What the user sees: plan, progress with the time left, a line per linear, summary; as text, as JSON lines, or not at
// all.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converter/job/allocate.h"
#include "converter/job/clock.h"
#include "converter/job/options.h"
#include "converter/job/plan.h"
#include "converter/job/tuning.h"

namespace svq::convert {

struct DiskUse {
  std::filesystem::path where;
  uint64_t needed, available;  // bytes
};

struct LinearResult {
  std::string name;
  std::string slot;  // "q"
  uint64_t rows, columns;
  int bits;
  double relative_error;  // negative: not measured (16 bits)
};

struct Summary {
  std::vector<LinearResult> linears;
  uint64_t file_bytes = 0;
  double bits_per_weight = 0;  // of the decoder blocks' linears, with scales and affine maps
  double seconds = 0;          // of this run
  double total_seconds = 0;    // of all runs, for a resumed conversion
  std::optional<Tuning> tuning;
  std::optional<Agreement> quality;  // of the file's content with the source, on held-out sequences
  std::optional<RuntimeCheck> runtime;
  std::string stopped;  // by the user: where, and what the file holds; empty: finished
};

class Reporter {
 public:
  explicit Reporter(const Options& options);
  ~Reporter();

  void plan(const Model& model, const Plan& plan, const Options& options, const std::vector<DiskUse>& disk);
  void allocation(const Allocation& allocation, const Plan& plan);
  void note(const std::string& text);
  void warning(const std::string& text);
  // A time limit decides when the conversion ends, whatever its work was estimated to be: seconds of all runs, and of
  // those before this one.
  void limit(double seconds, double spent);
  // Work is counted in estimated units of the whole conversion; `done_before` of `total` was found finished.
  void start_work(double total, double done_before);
  // `what` is being done; `done` units of the whole are finished. Drawn at most ten times a second.
  double done() const { return done_; }
  // Work found finished while going on: it does not count for the time that is left.
  void advance(double done) { start_ += done - done_, done_ = done; }
  void progress(const std::string& what, double done);
  // A step after the work that was counted, `fraction` of it finished: the time left is that of this step alone.
  void closing(const std::string& what, double fraction);
  void linear(const LinearResult& result);
  void group_done(const std::string& group, double mean_error, double seconds, double done);
  void summary(const Plan& plan, const Summary& summary);
  void error(const std::string& sentence);
  void end_progress();

 private:
  double seconds_left(double done) const;  // infinite: not known yet
  double share_of(double done) const;
  void show_progress(const std::string& what, double share, double seconds_left);  // now and then
  void draw(const std::string& what, double share, double seconds_left);
  enum class Mode { kText, kJson, kQuiet };
  const Options& options_;
  Mode mode_;
  bool terminal_;
  bool bar_drawn_ = false;
  double total_ = 1, start_ = 0, done_ = 0;
  double limit_ = 0, spent_ = 0;  // seconds
  Clock::time_point started_, last_, limited_, closing_started_;
  std::string closing_;  // the step that has been running since closing_started_
  bool time_told_ = false;
};

// "svqconvert: SENTENCE" on standard error, and as an event on standard output.
void print_failure(const std::string& sentence, bool json);
// Flushes standard output. A sentence if anything written there since the start was lost, else "".
std::string output_failure();

uint64_t weight_bytes(uint64_t rows, uint64_t columns, int bits);  // codes or f16
std::string format_bytes(uint64_t bytes);                          // "98.9 MB"
std::string format_seconds(double seconds);                        // "1:23", "2:03:04"

// Geometric mean of the measured relative errors; 0 if there are none.
double geometric_mean(const std::vector<double>& values);

}  // namespace svq::convert
