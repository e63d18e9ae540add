#include "tools/common/device_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <sstream>

namespace svq::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// The first line, without the NUL that device trees end strings with; empty if it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line.substr(0, line.find('\0'));
}

std::optional<double> number(const fs::path& path) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? std::optional<double>(value) : std::nullopt;
}

// Entries of a directory whose names begin with `prefix`, by name; none if it is not there. Numbers count as numbers:
// zone2 comes before zone10.
std::vector<fs::path> entries(const fs::path& directory, const std::string& prefix = "") {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().rfind(prefix, 0) == 0) all.push_back(it->path());
  }
  std::sort(all.begin(), all.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return all;
}

// nvpmodel keeps "pmode:0001" here, and the modes' names in its configuration: < POWER_MODEL ID=1 NAME=15W >
std::string power_mode(const fs::path& root) {
  const std::string status = first_line(root / "var/lib/nvpmodel/status");
  const size_t at = status.find("pmode:");
  if (at == std::string::npos) return "";
  int id = 0;
  if (!(std::istringstream(status.substr(at + 6)) >> id)) return "";
  std::ifstream configuration(root / "etc/nvpmodel.conf");
  for (std::string line; std::getline(configuration, line);) {
    if (line.find("POWER_MODEL") == std::string::npos) continue;
    const size_t named = line.find("NAME=");
    const size_t numbered = line.find(fmt::format("ID={} ", id));
    if (named == std::string::npos || numbered == std::string::npos) continue;
    std::string name;
    std::istringstream(line.substr(named + 5)) >> name;
    return fmt::format("{} ({})", id, name);
  }
  return std::to_string(id);
}

void add_clock(std::vector<DeviceState::Clock>& clocks, const std::string& name, const fs::path& now,
               const fs::path& most, double unit) {
  const std::optional<double> hertz = number(now);
  if (hertz) clocks.push_back({name, *hertz * unit, number(most).value_or(0) * unit});
}

bool is_gpu(const std::string& device) {
  return device.find("gpu") != std::string::npos || device.find("ga10b") != std::string::npos ||
         device.find("gv11b") != std::string::npos;
}

std::vector<DeviceState::Clock> clocks_of(const fs::path& root) {
  std::vector<DeviceState::Clock> clocks;
  for (const fs::path& policy : entries(root / "sys/devices/system/cpu/cpufreq", "policy"))
    add_clock(clocks, "cpu" + policy.filename().string().substr(6), policy / "scaling_cur_freq",
              policy / "cpuinfo_max_freq", 1e3);
  for (const fs::path& device : entries(root / "sys/class/devfreq")) {
    if (is_gpu(device.filename().string())) add_clock(clocks, "gpu", device / "cur_freq", device / "max_freq", 1);
  }
  const fs::path emc = root / "sys/kernel/debug/bpmp/debug/clk/emc";
  add_clock(clocks, "memory", emc / "rate", emc / "max_rate", 1);
  return clocks;
}

}  // namespace

DeviceState read_device_state(const fs::path& root) {
  DeviceState state;
  state.board = first_line(root / "proc/device-tree/model");
  state.power_mode = power_mode(root);
  state.clocks = clocks_of(root);
  for (const fs::path& zone : entries(root / "sys/class/thermal", "thermal_zone")) {
    const std::optional<double> millidegrees = number(zone / "temp");  // zones that are off refuse to be read
    if (millidegrees) state.temperatures.push_back({first_line(zone / "type"), *millidegrees * 1e-3});
  }
  return state;
}

PowerMeter::PowerMeter(const fs::path& root) {
  std::vector<Rail> all;
  for (const fs::path& monitor : entries(root / "sys/class/hwmon", "hwmon")) {
    if (first_line(monitor / "name") != "ina3221") continue;
    for (int channel = 1; channel <= 3; ++channel) {
      const Rail rail = {first_line(monitor / fmt::format("in{}_label", channel)),
                         monitor / fmt::format("in{}_input", channel), monitor / fmt::format("curr{}_input", channel)};
      if (number(rail.millivolts) && number(rail.milliamperes)) all.push_back(rail);
    }
  }
  const auto take = [&](const std::vector<std::string>& labels) {
    for (const std::string& label : labels) {
      for (const Rail& rail : all) {
        if (rail.label == label) rails_.push_back(rail);
      }
    }
  };
  take({"VDD_IN"});
  if (rails_.empty()) take({"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"});
  for (const Rail& rail : rails_) source_ += (source_.empty() ? "" : " + ") + rail.label;
  if (!rails_.empty()) {
    source_ += " (INA3221)";
    return;
  }
  for (const fs::path& zone : entries(root / "sys/class/powercap", "intel-rapl:")) {
    if (first_line(zone / "name").rfind("package", 0) != 0) continue;
    const Counter counter = {zone / "energy_uj", number(zone / "max_energy_range_uj").value_or(0), 0};
    if (number(counter.microjoules)) counters_.push_back(counter);
  }
  if (!counters_.empty()) source_ = "processor packages (RAPL)";
}

PowerMeter::~PowerMeter() { stop(); }

double PowerMeter::watts() const {
  double sum = 0;
  for (const Rail& rail : rails_)
    sum += number(rail.millivolts).value_or(0) * number(rail.milliamperes).value_or(0) * 1e-6;
  return sum;
}

// Trapezoids between readings.
void PowerMeter::sample() {
  auto before = Clock::now();
  double power = watts();
  while (true) {
    for (int i = 0; i < 10 && !stop_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const double now_power = watts();
    const auto now = Clock::now();
    joules_ += (power + now_power) / 2 * std::chrono::duration<double>(now - before).count();
    if (stop_) return;
    before = now;
    power = now_power;
  }
}

void PowerMeter::start() {
  stop();
  for (Counter& c : counters_) c.at_start = number(c.microjoules).value_or(0);
  if (rails_.empty()) return;
  joules_ = 0;
  stop_ = false;
  sampler_ = std::thread([this] { sample(); });
}

double PowerMeter::stop() {
  if (sampler_.joinable()) {
    stop_ = true;
    sampler_.join();
    return joules_;
  }
  double microjoules = 0;
  for (const Counter& c : counters_) {
    const double grown = number(c.microjoules).value_or(c.at_start) - c.at_start;
    microjoules += grown < 0 ? grown + c.range : grown;  // the counter starts again at its range
  }
  return microjoules * 1e-6;
}

}  // namespace svq::tools
