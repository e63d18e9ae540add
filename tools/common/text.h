// Numbers, tables and progress for people.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace svq::tools {

std::string format_bytes(uint64_t bytes);     // "49.1 MB", decimal units
std::string format_count(uint64_t n);         // "134.5 M"
std::string format_thousands(uint64_t n);     // "1,048,576"
std::string format_duration(double seconds);  // "3.2 ms", "12.4 s", "2:05", "1:02:05"

// Columns as wide as their widest cell, two spaces apart. align: one of 'l', 'r' for each column.
class Table {
 public:
  Table(std::string align, std::vector<std::string> header);
  void add(std::vector<std::string> row);
  std::string str() const;

 private:
  std::string align_;
  std::vector<std::vector<std::string>> rows_;
};

// Terminal columns of UTF-8 text, at one column a code point.
size_t display_width(std::string_view text);

// On standard error. What cannot be written there is dropped: the work goes on, and the exit code tells how it ended.
void print_error(const std::string& text);

// One line on standard error that is overwritten as work goes on; nothing is shown where standard error is no terminal.
class Progress {
 public:
  explicit Progress(bool enabled);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(const std::string& line);
  void clear();

 private:
  bool enabled_;
  bool shown_ = false;
};

// Mean and sample standard deviation (over n - 1; 0 for a single sample).
struct Spread {
  double mean = 0;
  double stddev = 0;
};
Spread spread_of(const std::vector<double>& samples);

}  // namespace svq::tools
