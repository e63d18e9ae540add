#include "converter/job/reporter.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "converter/job/clock.h"
#include "schema/packing.h"

namespace svq::convert {

using nlohmann::ordered_json;

namespace {

// Standard output and error may be full, closed, or a pipe nobody reads: hours of work go on. What is missing on
// standard output is told at the end (output_failure), what is missing on standard error is dropped.
int failed_write = 0;  // errno of the first on standard output

void write_to(std::FILE* file, std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), file) != text.size() && file == stdout && failed_write == 0)
    failed_write = errno;
}

void flush_output() {
  if (std::fflush(stdout) != 0 && failed_write == 0) failed_write = errno;
}

void tell(const std::string& text) { write_to(stderr, text); }

template <typename... T>
void show(fmt::format_string<T...> format, T&&... values) {
  write_to(stdout, fmt::format(format, std::forward<T>(values)...));
}

void emit(const ordered_json& event) {
  // Names come from files: what is not UTF-8 is replaced rather than refused.
  show("{}\n", event.dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace));
  flush_output();
}

int terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

struct PartTotal {
  uint64_t linears = 0, weights = 0, bytes = 0;
  int least_bits = 99, most_bits = 0;
  std::vector<double> errors;
  void add(int bits) {
    ++linears;
    least_bits = std::min(least_bits, bits);
    most_bits = std::max(most_bits, bits);
  }
  std::string bits() const {
    return least_bits == most_bits ? fmt::format("{}", least_bits) : fmt::format("{}-{}", least_bits, most_bits);
  }
};

// In the order of a block, then embedding and head.
const std::vector<std::string>& part_order() {
  static const std::vector<std::string> order{"q", "k", "v", "o", "gate", "up", "down", "embedding", "head"};
  return order;
}

std::map<std::string, PartTotal> totals(const Plan& plan) {
  std::map<std::string, PartTotal> parts;
  for (const auto& group : plan.groups) {
    for (const auto& l : group.linears) {
      PartTotal& part = parts[slot_name(l.slot)];
      part.add(l.bits);
      part.weights += l.rows * l.columns;
      part.bytes += weight_bytes(l.rows, l.columns, l.bits);
    }
  }
  return parts;
}

// Seconds left when `finished` of the whole has taken `seconds` and `left` remains; infinite where this would be noise.
double extrapolate(double seconds, double finished, double left) {
  return finished < 0.01 || seconds < 1 ? INFINITY : seconds * left / finished;
}

}  // namespace

uint64_t weight_bytes(uint64_t rows, uint64_t columns, int bits) {
  return bits == 16 ? rows * columns * 2 : format::packed_size(rows, columns, static_cast<uint32_t>(bits));
}

std::string format_bytes(uint64_t bytes) {
  static const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  return unit == 0       ? fmt::format("{} B", bytes)
         : value < 99.95 ? fmt::format("{:.1f} {}", value, units[unit])
                         : fmt::format("{:.0f} {}", value, units[unit]);
}

std::string format_seconds(double seconds) {
  if (!(seconds < 1e7)) return "–";
  const auto s = static_cast<uint64_t>(std::llround(std::max(0.0, seconds)));
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  size_t count = 0;
  for (double value : values) {
    if (value > 0) {
      sum += std::log(value);
      ++count;
    }
  }
  return count ? std::exp(sum / static_cast<double>(count)) : 0;
}

Reporter::Reporter(const Options& options)
    : options_(options),
      mode_(options.json    ? Mode::kJson
            : options.quiet ? Mode::kQuiet
                            : Mode::kText),
      terminal_(isatty(STDERR_FILENO) == 1),
      started_(Clock::now()),
      last_(started_ - std::chrono::hours(1)) {}

Reporter::~Reporter() { end_progress(); }

void Reporter::plan(const Model& model, const Plan& plan, const Options& options, const std::vector<DiskUse>& disk) {
  const auto& a = model.architecture();
  const std::string calibration = describe_calibration(plan, options, "");
  const auto parts = totals(plan);
  if (mode_ == Mode::kJson) {
    ordered_json j{{"event", "plan"},
                   {"source", options.source.string()},
                   {"output", options.output.string()},
                   {"name", model.name()},
                   {"source_format", model.source_format()},
                   {"source_bytes", model.source_bytes()},
                   {"family", a.family},
                   {"layers", a.n_layers},
                   {"hidden", a.hidden},
                   {"intermediate", a.intermediate},
                   {"heads", a.n_heads},
                   {"kv_heads", a.n_kv_heads},
                   {"head_dim", a.head_dim},
                   {"vocab", a.vocab},
                   {"tied", plan.tied},
                   {"parameters", plan.parameters},
                   {"recipe", recipe(options)},
                   {"calibration", plan.needs_calibration},
                   {"file_bytes", plan.file_bytes},
                   {"at_most", plan.at_most},
                   {"data_bytes", plan.data_bytes},
                   {"memory_bytes", plan.memory_bytes},
                   {"work_bytes", plan.work_bytes}};
    for (const auto& name : part_order()) {
      if (!parts.contains(name)) continue;
      const PartTotal& p = parts.at(name);
      j["parts"][name] = {{"linears", p.linears},
                          {"weights", p.weights},
                          {"bytes", p.bytes},
                          {"least_bits", p.least_bits},
                          {"most_bits", p.most_bits}};
    }
    for (const auto& d : disk)
      j["disk"].push_back({{"path", d.where.string()}, {"needed_bytes", d.needed}, {"available_bytes", d.available}});
    emit(j);
    return;
  }
  if (mode_ == Mode::kQuiet) return;
  const auto line = [](const char* label, const std::string& text) { show("{:<13} {}\n", label, text); };
  line("source",
       fmt::format("{} ({}, {})", model.source_name(), model.source_format(), format_bytes(model.source_bytes())));
  line(
      "architecture",
      fmt::format("{}: {} blocks, hidden {}, {} heads of {} ({} for keys and values), intermediate {}, vocabulary {}{}",
                  a.family, a.n_layers, a.hidden, a.n_heads, a.head_dim, a.n_kv_heads, a.intermediate, a.vocab,
                  plan.tied ? ", embedding is also the head" : ""));
  line("parameters", fmt::format("{:.1f} million", static_cast<double>(plan.parameters) / 1e6));
  const bool any_packed = std::any_of(plan.groups.begin(), plan.groups.end(), [](const auto& g) { return g.packed(); });
  line("method", any_packed
                     ? options.method + (options.trains() ? ", fine-tuned end to end (--effort " + options.effort + ")"
                                         : options.method == "lcqat"  ? ", as the source has them"
                                         : options.method == "unisvq" ? " without fine-tuning"
                                                                      : " (a baseline)")
                     : "none: half precision");
  line("calibration", calibration);
  show("\n{:<13} {:>8} {:>14} {:>6} {:>10}\n", "part", "linears", "weights", "bits", "size");
  for (const auto& name : part_order()) {
    if (!parts.contains(name)) continue;
    const PartTotal& p = parts.at(name);
    show("{:<13} {:>8} {:>14} {:>6} {:>10}\n", name, p.linears, p.weights, p.bits(), format_bytes(p.bytes));
  }
  show("\n");
  if (plan.at_most) line("widths", "these at least; more where the model loses most, chosen before quantization");
  // A budget of bits bounds the blocks alone: differing widths add maps and metadata to the file.
  const bool bounds_blocks = plan.at_most && options.size_budget == 0;
  const char* bound = !plan.at_most ? "" : bounds_blocks ? "about " : "at most ";
  line("output", fmt::format("{}: {}{} ({} bytes), {}{:.3f} bits per weight in the blocks", options.output.string(),
                             bound, format_bytes(plan.file_bytes), plan.file_bytes, bounds_blocks ? "at most " : "",
                             8.0 * static_cast<double>(plan.block_bytes) /
                                 static_cast<double>(std::max<uint64_t>(1, plan.block_weights))));
  line("memory", fmt::format("about {}{}", format_bytes(plan.memory_bytes),
                             options.trains() || options.curvature_count() > 0
                                 ? "; backward passes are faster with more, and take up to half of what is free"
                                 : ""));
  for (const auto& d : disk)
    line("disk",
         fmt::format("{}: {} needed, {} free", d.where.string(), format_bytes(d.needed), format_bytes(d.available)));
  line("time", "told once the first steps are done");
  show("\n");
  flush_output();
}

void Reporter::allocation(const Allocation& a, const Plan& plan) {
  end_progress();
  const double bits =
      8.0 * static_cast<double>(plan.block_bytes) / static_cast<double>(std::max<uint64_t>(1, plan.block_weights));
  if (mode_ == Mode::kJson) {
    ordered_json j{{"event", "allocation"}, {"file_bytes", plan.file_bytes}, {"bits_per_weight", bits}};
    for (size_t i = 0; i < a.choices.size(); ++i) {
      ordered_json losses;
      for (const Level& l : a.choices[i].levels) losses[std::to_string(l.bits)] = l.loss;
      j["linears"][a.choices[i].name] = {{"bits", a.choices[i].levels[a.chosen[i]].bits}, {"losses", losses}};
    }
    emit(j);
    return;
  }
  if (mode_ == Mode::kQuiet) return;
  // A row per linear of a block, a figure per block.
  std::map<std::string, std::string> rows;
  for (size_t i = 0; i < a.choices.size(); ++i) {
    const std::string& name = a.choices[i].name;
    rows[name.substr(name.rfind('.') + 1)] += std::to_string(a.choices[i].levels[a.chosen[i]].bits);
  }
  show("{:<13} by block\n", "bits");
  for (const auto& name : part_order()) {
    if (rows.contains(name)) show("{:<13} {}\n", name, rows[name]);
  }
  show("{:<13} {} ({} bytes), {:.3f} bits per weight in the blocks\n\n", "output", format_bytes(plan.file_bytes),
       plan.file_bytes, bits);
  flush_output();
}

void Reporter::note(const std::string& text) {
  if (mode_ != Mode::kText) return;
  end_progress();
  tell(text + "\n");
}

void Reporter::warning(const std::string& text) {
  if (mode_ == Mode::kQuiet) return;
  end_progress();
  if (mode_ == Mode::kJson) emit({{"event", "warning"}, {"message", text}});
  tell("svqconvert: warning: " + text + "\n");
}

void Reporter::limit(double seconds, double spent) {
  limit_ = seconds;
  spent_ = spent;
  limited_ = Clock::now();
}

void Reporter::start_work(double total, double done_before) {
  total_ = std::max(total, 1e-9);
  start_ = done_ = done_before;
  started_ = Clock::now();
}

double Reporter::seconds_left(double done) const {
  if (limit_ > 0) return std::max(0.0, limit_ - spent_ - seconds_since(limited_));
  return extrapolate(seconds_since(started_), (done - start_) / total_, (total_ - done) / total_);
}

double Reporter::share_of(double done) const {
  return std::clamp(limit_ > 0 ? 1 - seconds_left(done) / limit_ : done / total_, 0.0, 1.0);
}

void Reporter::progress(const std::string& what, double done) {
  show_progress(what, share_of(done), seconds_left(done));
}

void Reporter::closing(const std::string& what, double fraction) {
  if (what != closing_) {
    closing_ = what;
    closing_started_ = Clock::now();
  }
  show_progress(what, share_of(done_), extrapolate(seconds_since(closing_started_), fraction, 1 - fraction));
}

void Reporter::show_progress(const std::string& what, double share, double left) {
  if (mode_ == Mode::kQuiet) return;
  const bool log = mode_ == Mode::kText && !terminal_;  // a word now and then in steps that take minutes
  const auto now = Clock::now();
  if (now - last_ < std::chrono::milliseconds(log ? 30000 : mode_ == Mode::kJson ? 500 : 100)) return;
  last_ = now;
  if (log) {
    tell(fmt::format("{:>3.0f} %  {}{}\n", 100 * share, what,
                     std::isfinite(left) ? fmt::format(", about {} left", format_seconds(left)) : " …"));
    return;
  }
  draw(what, share, left);
}

void Reporter::draw(const std::string& what, double share, double left) {
  if (mode_ == Mode::kJson) {
    ordered_json j{{"event", "progress"}, {"step", what}, {"fraction", share}};
    if (std::isfinite(left)) j["seconds_left"] = std::round(left * 10) / 10;
    emit(j);
    return;
  }
  // A bar of our own: Debian 12 packages no progress-bar library for C++.
  const std::string tail =
      fmt::format(" {:>3.0f} %  {} left", 100 * share, std::isfinite(left) ? format_seconds(left) : "–:––");
  const int room = std::clamp(terminal_width() - 26 - 20, 5, 40);
  const int filled = static_cast<int>(share * room);
  tell(fmt::format("\r\033[K{:<24.24} [{:=<{}}{:<{}}]{}", what, "", filled, "", room - filled, tail));
  std::fflush(stderr);
  bar_drawn_ = true;
}

void Reporter::end_progress() {
  if (!bar_drawn_) return;
  tell("\r\033[K");
  std::fflush(stderr);
  bar_drawn_ = false;
}

void Reporter::linear(const LinearResult& r) {
  if (mode_ != Mode::kJson) return;
  ordered_json j{{"event", "linear"}, {"name", r.name}, {"rows", r.rows}, {"columns", r.columns}, {"bits", r.bits}};
  if (r.relative_error >= 0) j["relative_error"] = r.relative_error;
  emit(j);
}

void Reporter::group_done(const std::string& group, double mean_error, double seconds, double done) {
  done_ = done;
  if (mode_ == Mode::kQuiet) return;
  last_ = Clock::now();
  const double left = seconds_left(done);
  if (mode_ == Mode::kJson || terminal_) draw(group, share_of(done), left);
  if (mode_ == Mode::kText && !time_told_ && std::isfinite(left)) {
    time_told_ = true;
    note(fmt::format("{:<13} about {} left", "time", format_seconds(left)));
  }
  if (mode_ == Mode::kText && !terminal_) {
    std::string text = fmt::format("{:>3.0f} %  {:<22} {:>6.1f} s", 100 * share_of(done), group, seconds);
    if (mean_error > 0) text += fmt::format("  relative error {:.4f}", mean_error);
    if (std::isfinite(left)) text += fmt::format("  {} left", format_seconds(left));
    tell(text + "\n");
  }
}

void Reporter::summary(const Plan& plan, const Summary& s) {
  end_progress();
  if (mode_ == Mode::kQuiet) return;
  auto parts = totals(plan);
  std::vector<double> block_errors;
  for (const auto& l : s.linears) {
    parts[l.slot].errors.push_back(l.relative_error);
    if (l.name.starts_with("blocks.")) block_errors.push_back(l.relative_error);
  }
  const double mean = geometric_mean(block_errors);
  if (mode_ == Mode::kJson) {
    ordered_json j{{"event", "summary"},
                   {"output", options_.output.string()},
                   {"file_bytes", s.file_bytes},
                   {"bits_per_weight", s.bits_per_weight},
                   {"relative_error", mean},
                   {"seconds", s.seconds},
                   {"total_seconds", s.total_seconds}};
    if (!s.stopped.empty()) j["stopped"] = s.stopped;
    for (const auto& name : part_order()) {
      if (!parts.contains(name)) continue;
      j["parts"][name] = {{"bytes", parts[name].bytes}, {"relative_error", geometric_mean(parts[name].errors)}};
    }
    const auto agreement = [](const Agreement& a) {
      return ordered_json{{"kl", a.kl}, {"perplexity", a.perplexity}, {"same_top", a.same_top}};
    };
    if (s.tuning) {
      const Tuning& t = *s.tuning;
      j["tuning"] = {{"steps", t.steps},
                     {"planned_steps", t.planned_steps},
                     {"tokens", t.tokens},
                     {"seconds", t.seconds},
                     {"source_perplexity", t.before.teacher_perplexity},
                     {"quantized", agreement(t.before)},
                     {"tuned", agreement(t.after)},
                     {"losses", t.losses}};
    }
    if (s.quality) {
      j["quality"] = agreement(*s.quality);
      j["quality"]["source_perplexity"] = s.quality->teacher_perplexity;
    }
    if (s.runtime) {
      const RuntimeCheck& r = *s.runtime;
      j["runtime"] = {{"tokens", r.tokens},
                      {"held_out", r.held_out},
                      {"converter_perplexity", r.converter},
                      {"float_perplexity", r.runtime_float},
                      {"int8_perplexity", r.runtime},
                      {"difference", r.difference()},
                      {"int8_effect", r.int8_effect()},
                      {"seconds", r.seconds}};
    }
    emit(j);
    return;
  }
  show("{:<22} {:>15} {:>5} {:>15}\n", "linear", "shape", "bits", "relative error");
  for (const auto& l : s.linears) {
    show("{:<22} {:>15} {:>5} {:>15}\n", l.name, fmt::format("{} x {}", l.rows, l.columns), l.bits,
         l.relative_error >= 0 ? fmt::format("{:.5f}", l.relative_error) : "–");
  }
  show("\n{:<13} {:>8} {:>6} {:>10} {:>15}\n", "part", "linears", "bits", "size", "relative error");
  for (const auto& name : part_order()) {
    if (!parts.contains(name)) continue;
    const PartTotal& p = parts[name];
    const double error = geometric_mean(p.errors);
    show("{:<13} {:>8} {:>6} {:>10} {:>15}\n", name, p.linears, p.bits(), format_bytes(p.bytes),
         error > 0 ? fmt::format("{:.5f}", error) : "–");
  }
  if (mean > 0)
    show("\nrelative error of the blocks' linears (weighted by the Hessian, geometric mean): {:.5f}\n", mean);
  if (s.tuning || s.quality) {
    const Agreement& first = s.tuning ? s.tuning->before : *s.quality;
    show("\n{:<22} {:>12} {:>12} {:>16}\n", "on held-out sequences", "perplexity", "KL to source", "same top token");
    show("{:<22} {:>12.3f}\n", "source", first.teacher_perplexity);
    const auto row = [](const char* what, const Agreement& a) {
      show("{:<22} {:>12.3f} {:>12.4f} {:>14.1f} %\n", what, a.perplexity, a.kl, 100 * a.same_top);
    };
    row("quantized", first);
    if (s.tuning) row("fine-tuned", s.tuning->after);
    if (s.tuning) show("fine-tuned on {} tokens in {}\n", s.tuning->tokens, format_seconds(s.tuning->seconds));
  }
  if (s.runtime) {
    const RuntimeCheck& r = *s.runtime;
    show(
        "\nthe runtime on {} {} tokens: perplexity {:.4f} ({:+.2f} % to the converter's {:.4f}); with int8 activations "
        "{:.4f} ({:+.2f} %); {}\n",
        r.tokens, r.held_out ? "held-out" : "sampled", r.runtime_float, 100 * r.difference(), r.converter, r.runtime,
        100 * r.int8_effect(), format_seconds(r.seconds));
  }
  show("\n{}: {} ({} bytes), {:.3f} bits per weight in the blocks, in {}{}\n", options_.output.string(),
       format_bytes(s.file_bytes), s.file_bytes, s.bits_per_weight, format_seconds(s.seconds),
       s.total_seconds > s.seconds + 1 ? fmt::format(" ({} with earlier runs)", format_seconds(s.total_seconds)) : "");
  flush_output();
}

void Reporter::error(const std::string& sentence) {
  end_progress();
  print_failure(sentence, mode_ == Mode::kJson);
}

void print_failure(const std::string& sentence, bool json) {
  if (json) emit({{"event", "error"}, {"message", sentence}});
  tell("svqconvert: " + sentence + "\n");
}

std::string output_failure() {
  flush_output();
  if (failed_write != 0) return std::string("standard output: cannot be written: ") + std::strerror(failed_write);
  return std::ferror(stdout) ? "standard output: cannot be written" : "";
}

}  // namespace svq::convert
