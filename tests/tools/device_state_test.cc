// Boards, clocks, temperatures and power, read from trees of files as Jetson's kernels lay them out.
#include "tools/common/device_state.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace svq::tools {
namespace {

class Tree : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ("device_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void rail(int monitor, int channel, const std::string& label, int millivolts, int milliamperes) {
    const std::string base = "sys/class/hwmon/hwmon" + std::to_string(monitor) + "/", n = std::to_string(channel);
    put(base + "name", "ina3221\n");
    put(base + "in" + n + "_label", label + "\n");
    put(base + "in" + n + "_input", std::to_string(millivolts) + "\n");
    put(base + "curr" + n + "_input", std::to_string(milliamperes) + "\n");
  }
  std::filesystem::path root_;
};

using DeviceTree = Tree;
using Power = Tree;

TEST_F(DeviceTree, AnOrin) {
  put("proc/device-tree/model", std::string("NVIDIA Jetson Orin Nano Developer Kit\0", 38));
  put("var/lib/nvpmodel/status", "pmode:0001 fmode:quiet\n");
  put("etc/nvpmodel.conf",
      "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n");
  put("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1510400\n");
  put("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1728000\n");
  put("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "729600\n");
  put("sys/class/devfreq/17000000.gpu/cur_freq", "306000000\n");
  put("sys/class/devfreq/17000000.gpu/max_freq", "624750000\n");
  put("sys/class/devfreq/15340000.vic/cur_freq", "115200000\n");
  put("sys/kernel/debug/bpmp/debug/clk/emc/rate", "2133000000\n");
  put("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
  put("sys/class/thermal/thermal_zone0/temp", "48500\n");
  put("sys/class/thermal/thermal_zone2/type", "cv0-thermal\n");  // is off: cannot be read
  put("sys/class/thermal/thermal_zone10/type", "tj-thermal\n");
  put("sys/class/thermal/thermal_zone10/temp", "49000\n");
  const DeviceState s = read_device_state(root_);
  EXPECT_EQ(s.board, "NVIDIA Jetson Orin Nano Developer Kit");
  EXPECT_EQ(s.power_mode, "1 (7W)");
  ASSERT_EQ(s.clocks.size(), 4u);
  EXPECT_EQ(s.clocks[0].name, "cpu0");
  EXPECT_DOUBLE_EQ(s.clocks[0].hertz, 1.5104e9);
  EXPECT_DOUBLE_EQ(s.clocks[0].most, 1.728e9);
  EXPECT_EQ(s.clocks[1].name, "cpu4");
  EXPECT_EQ(s.clocks[1].most, 0);
  EXPECT_EQ(s.clocks[2].name, "gpu");
  EXPECT_DOUBLE_EQ(s.clocks[2].hertz, 306e6);
  EXPECT_EQ(s.clocks[3].name, "memory");
  ASSERT_EQ(s.temperatures.size(), 2u);
  EXPECT_EQ(s.temperatures[1].name, "tj-thermal");
  EXPECT_DOUBLE_EQ(s.temperatures[0].celsius, 48.5);
}

TEST_F(DeviceTree, NothingThere) {
  const DeviceState s = read_device_state(root_);
  EXPECT_TRUE(s.board.empty() && s.power_mode.empty() && s.clocks.empty() && s.temperatures.empty());
  PowerMeter meter(root_);
  EXPECT_FALSE(meter.available());
  meter.start();
  EXPECT_EQ(meter.stop(), 0);
}

TEST_F(DeviceTree, ModesWithoutNamesAndBrokenFiles) {
  put("var/lib/nvpmodel/status", "pmode:0003\n");
  put("etc/nvpmodel.conf", "< POWER_MODEL ID=30 NAME=X >\n< POWER_MODEL >\n");
  put("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "<unsupported>\n");
  const DeviceState s = read_device_state(root_);
  EXPECT_EQ(s.power_mode, "3");
  EXPECT_TRUE(s.clocks.empty());
  put("var/lib/nvpmodel/status", "pmode:none\n");
  EXPECT_EQ(read_device_state(root_).power_mode, "");
}

TEST_F(Power, TheWholeModulesRail) {
  rail(1, 1, "VDD_IN", 5000, 2000);  // 10 W
  rail(1, 2, "VDD_CPU_GPU_CV", 5000, 600);
  PowerMeter meter(root_);
  EXPECT_EQ(meter.source(), "VDD_IN (INA3221)");
  const auto began = std::chrono::steady_clock::now();
  meter.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  const double joules = meter.stop();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  EXPECT_GT(joules, 10 * 0.2);
  EXPECT_LE(joules, 10 * seconds);
}

TEST_F(Power, AnAgxOrinsRailsAreSummed) {
  rail(2, 1, "VDD_GPU_SOC", 20000, 400);
  rail(2, 2, "VDD_CPU_CV", 20000, 100);
  rail(2, 3, "VIN_SYS_5V0", 5000, 800);
  rail(3, 2, "VDDQ_VDD2_1V8AO", 5000, 300);  // fed by VIN_SYS_5V0
  EXPECT_EQ(PowerMeter(root_).source(), "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 (INA3221)");
}

TEST_F(Power, RaplCountersThatStartAgain) {
  const std::string zone = "sys/class/powercap/intel-rapl:0/";
  put(zone + "name", "package-0\n");
  put(zone + "max_energy_range_uj", "262143328850\n");
  put(zone + "energy_uj", "262143000000\n");
  put("sys/class/powercap/intel-rapl:0:0/name", "core\n");
  put("sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n");
  PowerMeter meter(root_);
  EXPECT_EQ(meter.source(), "processor packages (RAPL)");
  meter.start();
  put(zone + "energy_uj", "1671150\n");
  EXPECT_NEAR(meter.stop(), 2.0, 1e-6);
}

}  // namespace
}  // namespace svq::tools
