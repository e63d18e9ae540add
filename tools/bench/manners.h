// What an application beside a control loop asks of the runtime, measured: stopping, saved sessions, grammars, memory.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace svq::tools {

struct MannersOptions {
  std::string model;       // a file
  uint32_t threads = 0;    // 0: the library's default
  uint32_t tokens = 2000;  // of the session that is saved and restored
};

// Cancels of a prefill at random moments, under one bound.
struct CancelFigures {
  int64_t bound_us = 0;  // SVQ_LIMIT_CANCEL_US; 0: none
  size_t count = 0;
  double median_seconds = 0, worst_seconds = 0;  // from the cancel to the call's return
  double longest_step_seconds = 0;
  long preempted = 0;  // times that the system gave a core of this process to another: what no bound covers
};

struct Manners {
  std::string model;
  uint64_t file_bytes = 0;
  uint32_t threads = 0, tokens = 0;
  double prefill_seconds = 0, save_seconds = 0, restore_seconds = 0, fork_seconds = 0;
  uint64_t saved_bytes = 0;
  uint64_t peak_memory = 0, peak_above = 0;  // bytes; above the file and two KV caches of as many tokens
  std::vector<CancelFigures> cancels;
  double grammar_seconds = 0;  // to make one of a schema of 5 properties
  uint64_t grammar_bytes = 0;
  uint32_t drawn = 0;                                                   // tokens, for each of the next three
  double eval_seconds = 0, draw_seconds = 0, draw_grammar_seconds = 0;  // a token
};

Manners measure_manners(const MannersOptions& options);

std::string manners_report(const Manners& manners);  // a line per figure
nlohmann::ordered_json manners_json(const Manners& manners);

}  // namespace svq::tools
