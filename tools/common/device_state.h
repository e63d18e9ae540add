// What the machine says of its board, clocks, temperatures and power, from sysfs and procfs. All of it is optional:
// what a machine does not have, or does not let this user read, is absent.
#pragma once
#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace svq::tools {

struct DeviceState {
  struct Clock {
    std::string name;  // "cpu0" (first of its cluster), "gpu", "memory"
    double hertz = 0, most = 0;
  };
  struct Temperature {
    std::string name;  // the thermal zone's
    double celsius = 0;
  };
  std::string board;       // the device tree's model: "NVIDIA Jetson Orin Nano Developer Kit"
  std::string power_mode;  // nvpmodel's: "1 (15W)"
  std::vector<Clock> clocks;
  std::vector<Temperature> temperatures;
};

// root: put before every path, for tests.
DeviceState read_device_state(const std::filesystem::path& root = "/");

// Energy while something runs. Jetson: INA3221 monitors, whose rail of the whole module is taken (VDD_IN, or the sum of
// VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0 on an AGX Orin), read ten times a second. Intel and AMD: RAPL's counters of
// the packages, which usually only root may read.
class PowerMeter {
 public:
  explicit PowerMeter(const std::filesystem::path& root = "/");
  ~PowerMeter();
  PowerMeter(const PowerMeter&) = delete;
  PowerMeter& operator=(const PowerMeter&) = delete;

  // What is read, as "VDD_IN (INA3221)"; empty: there is nothing to read.
  const std::string& source() const { return source_; }
  bool available() const { return !source_.empty(); }
  void start();
  double stop();  // joules since start(); 0 if not available

 private:
  struct Rail {
    std::string label;
    std::filesystem::path millivolts, milliamperes;
  };
  struct Counter {
    std::filesystem::path microjoules;
    double range = 0, at_start = 0;
  };
  double watts() const;
  void sample();

  std::string source_;
  std::vector<Rail> rails_;
  std::vector<Counter> counters_;
  std::thread sampler_;
  std::atomic<bool> stop_ = false;
  double joules_ = 0;  // of the sampler
};

}  // namespace svq::tools
