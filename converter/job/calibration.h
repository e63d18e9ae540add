// The token sequences that Hessians are measured on: read from a text, or sampled from the model itself.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "converter/job/calibration_chat.h"
#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

struct CalibrationSet {
  at::Tensor tokens;        // [n_sequences, length] int64, on the CPU
  std::string description;  // one line for people, kept as provenance
};

struct CalibrationOptions {
  int64_t n_sequences = 32;
  int64_t least_sequences =
      0;                 // a text too short for n_sequences gives what it holds, if that is enough; 0: n_sequences
  int64_t length = 512;  // tokens of each
  uint64_t seed = 0;

  // A text, or JSON lines (a name ending in .jsonl or .ndjson): texts or chats. Empty: sampled from the model.
  std::filesystem::path text{};
  std::vector<std::string> json_fields{"text"};  // strings of each JSON line that are read, in this order
  bool random_windows = false;                   // sequences at random places by `seed` instead of evenly spread
  // Beside the text: this share of the sequences is sampled from the model, in random order with the others, and as
  // many more as the text is short of its own share. Below 1.
  double sampled_share = 0;

  double temperature = 1.0;
  int top_k = 0;               // 0: off
  uint64_t memory_budget = 0;  // bytes for sampling; 0: half of this machine's memory
  // For sampling, as in SampleOptions; the text's share shrinks with it. 0: no limit.
  double sampling_seconds = 0;
};

// progress(fraction) returning false cancels; may be empty. Returns nothing if cancelled. Throws Error with one
// sentence if the text cannot be used (missing, empty, too short, not JSON, field missing), or there is no tokenizer
// for it. Depends on its arguments, the machine and the number of threads only.
std::optional<CalibrationSet> make_calibration(const Model& model, const CalibrationOptions& options,
                                               const ForwardOptions& forward,
                                               const std::function<bool(double)>& progress = {});

// A chat if it has messages.
struct Document {
  std::string text;
  Chat chat;
  std::string where;  // for messages
};

// The documents of a text (one) or of JSON lines: the chosen strings of a line, or its chat where it has "messages" and
// not these strings. Of a file above 64 MB, 64
// evenly spread pieces of 1 MB are read, cut at line ends. Throws Error.
std::vector<Document> read_documents(const std::filesystem::path& path, const std::vector<std::string>& json_fields);

}  // namespace svq::convert
