// Measures speed and memory of a model.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tools/common/device_state.h"
#include "tools/common/runtime.h"
#include "tools/common/text.h"

namespace svq::tools {

struct BenchOptions {
  std::string model;  // a file, or the name of a shape
  std::string device = "cpu";
  std::vector<uint32_t> threads;  // empty: the library's default
  std::vector<uint32_t> prompt = {512};
  std::vector<uint32_t> generate = {128};
  std::vector<uint32_t> depth = {0};  // tokens in the context before what is measured
  std::vector<uint32_t> batch = {1};  // sessions that are decoded together
  uint32_t repeat = 5;
  uint32_t bits = 0;  // of a shape's random weights; 0: 2
  uint32_t kv_bits = 0;
  uint32_t read_megabytes = 0;  // streamed to measure the read bandwidth; 0: 512, less where memory is short
};

struct Result {
  bool decode;                      // one token a step; otherwise the whole prompt at once
  uint32_t tokens, depth, threads;  // tokens: of each session
  uint32_t batch;                   // sessions decoded together
  std::vector<double> speed;        // tokens per second, of all sessions together, one for each repetition
  std::vector<double> first_token;  // prefill: seconds until the first token of the answer is drawn
  double weight_bandwidth = 0;      // decode: weight bytes read per second
  double kv_bandwidth = 0;          // decode: bytes of the KV cache read per second, of the mean context
  double joules = 0;                // of all measured runs; 0: not known
  double earlier = 0;               // tokens per second in the report compared with; 0: not there
  double read_bandwidth = 0;        // plain read of memory at this thread count, bytes per second
  std::string name() const;         // "pp512", "tg128", "tg128 x4 @ 1024"
};

struct Bench {
  svq_model_info info;
  ModelPtr model;
  bool random = false;  // a shape with random weights
  uint32_t window = 0;  // of attention; 0: all of the context
  std::string device() const { return std::string(info.isa) == "cuda" ? "cuda" : "cpu"; }  // that it runs on
  double load_seconds = 0;
  uint64_t peak_memory = 0;     // bytes resident at most (VmHWM), the mapped file included; 0: not known
  uint64_t session_memory = 0;  // heap of the largest session
  uint32_t context = 0;         // the longest that was measured
  DeviceState state;            // after the last run
  std::string power_source;     // what joules were read from; empty: nothing to read
  std::vector<Result> results;
};

// Random tokens are evaluated: the speed does not depend on them. Every test runs once unmeasured first.
Bench run_bench(const BenchOptions& options, Progress& progress);

}  // namespace svq::tools
