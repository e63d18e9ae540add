// The command line of svqconvert.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace svq::convert {

struct Options {
  std::filesystem::path source, output;
  int bits = 2;                                        // 2 … 8, 16: the linears of the decoder blocks
  std::string method = "unisvq";                       // "unisvq", "quip", "gptq", "rtn"; "lcqat": imported
  double bit_budget = 0;                               // mean bits of the blocks' weights, with scales; 0: none
  uint64_t size_budget = 0;                            // bytes of the file; 0: none
  std::optional<int> embedding_bits;                   // default: 4, or 16 with bits = 16
  std::optional<int> head_bits;                        // the same
  std::vector<std::pair<std::string, int>> overrides;  // glob on a linear's name, bits; the last match wins
  std::string rotation = "mixed";                      // "mixed", "blocks", "none"
  std::string lattice = "identity";                    // "identity", "orthogonal", "d4"
  int group = 4;                                       // d: 4 or 8
  int map_columns = 0;                                 // columns per affine map; 0: one map
  int descent = 1;                                     // coordinate-descent passes
  std::optional<int64_t> search;                       // moves of local search, a row; default: by effort
  double damping = 0.01;                               // of the mean diagonal of H

  std::filesystem::path calibration;                    // empty: sampled from the model
  std::vector<std::string> calibration_fields{"text"};  // JSONL: string fields that are read
  std::optional<double> sampled_share;                  // written by the model beside the text
  std::string prefix = "quantized";                     // whose outputs a block is calibrated on: "quantized", "float"
  int calibration_sequences = 64;
  bool calibration_by_time = false;        // or fewer, if a time limit is short: their number was not given
  int calibration_length = 512;            // tokens
  std::optional<int> curvature_sequences;  // on which the curvature over outputs is measured; default: by effort
  double output_damping = 0.1;             // of the mean diagonal of that curvature
  uint64_t seed = 0;

  std::string effort = "fast";                // fine-tuning: "none", "fast", "full"
  std::optional<int64_t> progressive_tokens;  // trained on while quantizing; default: by effort and size of the model
  bool progressive_by_time = false;           // instead, what half of the time for training allows
  int64_t block_tokens = 0;                   // on which each block's float parameters are trained once it is quantized
  int64_t train_tokens = 0;                   // tokens trained on, counting repetitions; 0: by effort
  double time_limit = 0;                      // seconds for the whole conversion; 0: none
  double scale_rate = 4e-3, map_rate = 2e-3;  // learning rates, relative to the parameters' magnitudes
  std::filesystem::path work;                 // empty: OUTPUT.work, removed on success
  bool keep_work = false;
  int threads = 0;              // resolved: at least 1
  std::string device = "auto";  // "auto", "cpu", "cuda"
  bool plan_only = false, json = false, quiet = false, force = false;
  std::filesystem::path export_directory;  // empty: no export
  std::string command;                     // as it was given, for the report
  bool report = true;                      // writes OUTPUT.report.html
  bool check = true;                       // runs the written file through the runtime

  // Widths are chosen by what the linears lose with fewer bits; `bits` is the least.
  bool has_budget() const { return bit_budget > 0 || size_budget > 0; }
  int embedding_width() const { return embedding_bits.value_or(default_end_width()); }
  // There are lattices with scales to train.
  bool trains() const { return effort != "none" && method == "unisvq" && (bits != 16 || !overrides.empty()); }
  // With a time limit this is what there may be at the most: sampling takes its share of the time, and a text as much.
  int64_t training_tokens() const {
    const bool many = effort == "full" || (time_limit > 0 && sampled() >= 0.5);
    return train_tokens > 0 ? train_tokens : many ? 524288 : 131072;
  }
  // Codes are chosen for the inputs that the quantized blocks before produce.
  bool follows_prefix() const { return prefix == "quantized" && method == "unisvq" && bits != 16; }
  // 0: outputs count alike.
  int curvature_count() const {
    if (method != "unisvq" || bits == 16) return 0;
    return curvature_sequences.value_or(!trains() ? 0 : effort == "full" ? 64 : 32);
  }
  // With the curvature of the outputs half of them are for columns.
  int64_t search_moves() const {
    return method != "unisvq" ? 0 : search.value_or(!trains() ? 2000 : effort == "full" ? 8000 : 4000);
  }
  // There are rotations, and with them an input scale.
  bool rotates() const { return method == "unisvq" || method == "quip" || method == "lcqat"; }
  int head_width() const { return head_bits.value_or(default_end_width()); }
  // The share of the sequences that the model writes itself. What is trained on one kind of text alone is worse on
  // others.
  double sampled() const { return calibration.empty() ? 1 : sampled_share.value_or(trains() ? 0.5 : 0); }
  int default_end_width() const { return bits == 16 ? 16 : size_budget > 0 ? 2 : 4; }
};

// Fills `options`. Returns an exit status when the program is to end here (help was printed, or a sentence on stderr).
std::optional<int> parse_command_line(int argc, const char* const* argv, Options& options);

// Every option that the result depends on (not paths, not the number of threads): Provenance.recipe.
nlohmann::ordered_json recipe(const Options& options);

const char* converter_version();  // "svqconvert 0.1.0"

}  // namespace svq::convert
