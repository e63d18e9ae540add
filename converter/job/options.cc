#include "converter/job/options.h"

#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "converter/job/reporter.h"

namespace svq::convert {

namespace {

constexpr const char* kExamples = R"(
Examples:
  svqconvert SmolLM2-135M-Instruct.gguf -o smollm2.svq
      2 bits; calibrated on text sampled from the model itself, so no data set is needed
  svqconvert ./Qwen3-1.7B -o qwen3.svq --bits 4 --calibration articles.txt
      a Hugging Face directory, 4 bits, calibrated on the given text
  svqconvert model.gguf -o model.svq --override 'blocks.*.down=3' --override 'blocks.0.*=4'
      2 bits, but 3 for the down projections and 4 for the first block
  svqconvert model.gguf -o model.svq --bits 2.3
      2.3 bits on average, where they gain most; --size 500MB bounds the file instead
  svqconvert model.gguf -o model.svq --time-limit 2h
      fine-tuned for what is left of two hours
  svqconvert model.gguf -o model.svq --effort none
      quantized only: minutes for a small model
  svqconvert model.gguf -o model.svq --plan
      what would be done: sizes, memory and disk space
  svqconvert model.gguf -o model.svq --bits 16
      half precision, nothing quantized: the reference to compare with

Ctrl-C writes a file with what is done, the rest in 16 bits; the same command goes on where it stopped.)";

int available_cpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

// CLI11 takes "010" for eight: it is ten.
std::string decimal(std::string text) {
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  if (text.find_first_not_of("0123456789", sign) != std::string::npos) return text;
  while (text.size() > sign + 1 && text[sign] == '0') text.erase(sign, 1);
  return text;
}

// CLI11's ranges let NaN pass.
std::string refuse_nan(const std::string& text) {
  double value = 0;
  return CLI::detail::lexical_cast(text, value) && std::isnan(value) ? text + ": expected a number" : "";
}

// The sentence of CLI11, which lists arguments that are left over backwards.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError)) return error.what();
  std::string words;
  for (const std::string& word : app.remaining()) words += " " + word;
  return "not expected on the command line:" + words;
}

// "90m", "1h30m", "45s" → seconds; 0 if it is not a duration.
double parse_duration(const std::string& text) {
  double seconds = 0;
  size_t at = 0;
  while (at < text.size()) {
    size_t used = 0;
    double value = 0;
    try {
      value = std::stod(text.substr(at), &used);
    } catch (const std::exception&) {
      return 0;
    }
    at += used;
    if (at >= text.size() || !(value >= 0)) return 0;
    const double unit = text[at] == 'h' ? 3600 : text[at] == 'm' ? 60 : text[at] == 's' ? 1 : 0;
    if (unit == 0) return 0;
    seconds += value * unit;
    ++at;
  }
  return seconds < 1e7 ? seconds : 0;
}

// "500MB", "1.2GB", "490000000" → bytes; 0 if it is no size.
uint64_t parse_size(const std::string& text) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    return 0;
  }
  const std::string unit = text.substr(used);
  const double factor = unit == "GB"                ? 1e9
                        : unit == "MB"              ? 1e6
                        : unit == "kB"              ? 1e3
                        : unit == "" || unit == "B" ? 1
                                                    : 0;
  const double bytes = value * factor;
  return bytes >= 1 && bytes < 1e15 ? static_cast<uint64_t>(bytes) : 0;
}

std::string shell_quoted(const std::string& word) {
  constexpr const char* kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

bool is_width(int bits) { return (bits >= 2 && bits <= 8) || bits == 16; }

}  // namespace

const char* converter_version() { return "svqconvert " SVQ_CONVERTER_VERSION; }

std::optional<int> parse_command_line(int argc, const char* const* argv, Options& o) {
  CLI::App app{"svqconvert: quantizes a language model into one .svq file", "svqconvert"};
  app.footer(kExamples);
  app.set_version_flag("--version", converter_version());
  app.get_formatter()->column_width(34);
  const auto widths = CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 16});
  int embedding_bits = 0, head_bits = 0;
  int curvature_sequences = -1;
  int64_t search = -1;
  int64_t progressive_tokens = -1;
  double sampled_share = -1;
  std::vector<std::string> overrides;
  std::string time_limit, size;
  double wanted_bits = o.bits;

  app.add_option("SOURCE", o.source, "a .gguf file, or a Hugging Face directory (config.json, *.safetensors)")
      ->required();
  app.add_option("-o,--output", o.output, "the .svq file to write")->required();

  auto* what = "Quantization";
  app.add_option("--bits", wanted_bits,
                 "bits of the decoder blocks' weights (default 2): 2 to 8, 16, or a mean such as 2.3, scales "
                 "included, for which each linear gets 2 to 8 by what the model loses with it")
      ->group(what);
  app.add_option("--size", size, "the same for a size of the whole file, such as 500MB; embedding and head included")
      ->group(what);
  app.add_option("--method", o.method,
                 "unisvq, or the baselines quip (rotation and scalar LDLQ), gptq, rtn (round to nearest)")
      ->check(CLI::IsMember({"unisvq", "quip", "gptq", "rtn"}))
      ->group(what);
  app.add_option("--embedding-bits", embedding_bits, "default 4; 16 with --bits 16; chosen like the others with --size")
      ->check(widths)
      ->group(what);
  app.add_option("--head-bits", head_bits, "the same; where the embedding is the head, --embedding-bits sets both")
      ->check(widths)
      ->group(what);
  app.add_option("--override", overrides,
                 "repeatable: PATTERN is a glob on names such as 'blocks.*.down'; the last match wins")
      ->allow_extra_args(false)
      ->option_text("PATTERN=BITS")
      ->group(what);
  app.add_option("--rotation", o.rotation,
                 "for sizes 2^k·r: mixed (across the odd factor r too), blocks, none (default mixed)")
      ->check(CLI::IsMember({"mixed", "blocks", "none"}))
      ->group(what);
  app.add_option("--lattice", o.lattice, "initial lattice: identity, orthogonal, d4 (default identity)")
      ->check(CLI::IsMember({"identity", "orthogonal", "d4"}))
      ->group(what);
  app.add_option("--group", o.group, "columns of a lattice group: 4, 8 (default 4)")
      ->check(CLI::IsMember({4, 8}))
      ->group(what);
  app.add_option("--map-columns", o.map_columns, "columns per affine map, 0: one map per matrix (default 0)")
      ->check(CLI::Range(0, 1 << 24))
      ->group(what);
  app.add_option("--descent", o.descent, "coordinate-descent passes before the search (default 1)")
      ->check(CLI::Range(0, 1000))
      ->group(what);
  app.add_option("--search", search,
                 "moves of the local search that follows over the codes of each row, and column where the outputs' "
                 "curvature is known; 0: none (default: none 2000, fast 4000, full 8000)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->group(what);
  app.add_option("--damping", o.damping, "of the Hessian, relative to its mean diagonal (default 0.01)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(what);

  what = "Fine-tuning";
  app.add_option(
         "--effort", o.effort,
         "none; fast (default): scales, affine maps and norms are distilled end to end from the float model; full: "
         "the same for four times as many tokens")
      ->check(CLI::IsMember({"none", "fast", "full"}))
      ->group(what);
  app.add_option("--train-tokens", o.train_tokens, "tokens to train on (default: fast 131072, full 524288)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->group(what);
  app.add_option(
         "--progressive-tokens", progressive_tokens,
         "tokens on which the blocks that are still in floats are trained to make up for those quantized "
         "before them; 0: none (default: as many as --train-tokens, 0 where it would take more than half of the "
         "memory: 8 bytes a weight, 12 below 400 million; with --time-limit what half of the time for training allows)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->group(what);
  app.add_option("--block-tokens", o.block_tokens,
                 "tokens on which scales, affine maps and norms of each quantized block are trained to give what the "
                 "float block gives, with --effort none too; 0: none (default)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 32))
      ->group(what);
  app.add_option("--time-limit", time_limit,
                 "for the whole conversion, as 90m, 2h or 1h30m: training takes what is left of it, instead of "
                 "--train-tokens")
      ->group(what);
  app.add_option("--scale-rate", o.scale_rate, "learning rate of scales and norms, of their magnitude (default 0.004)")
      ->check(CLI::Range(1e-6, 1.0))
      ->group(what);
  app.add_option("--map-rate", o.map_rate, "learning rate of affine maps, of their magnitude (default 0.002)")
      ->check(CLI::Range(1e-6, 1.0))
      ->group(what);

  what = "Calibration";
  app.add_option("--calibration", o.calibration, "text file or .jsonl; default: text sampled from the model itself")
      ->group(what);
  app.add_option(
         "--sampled-share", sampled_share,
         "share of the sequences that the model writes itself, beside --calibration FILE (default 0.5, and 0 with "
         "--effort none)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(what);
  app.add_option("--calibration-field", o.calibration_fields, "JSONL fields that hold text, repeatable (default: text)")
      ->allow_extra_args(false)
      ->option_text("TEXT")
      ->group(what);
  app.add_option(
         "--prefix", o.prefix,
         "what a block's inputs come from: the quantized blocks before it, corrected for (default), or float ones")
      ->check(CLI::IsMember({"quantized", "float"}))
      ->group(what);
  app.add_option("--calibration-sequences", o.calibration_sequences, "default 64, fewer where a time limit is short")
      ->check(CLI::Range(1, 1 << 20))
      ->group(what);
  app.add_option("--calibration-length", o.calibration_length, "tokens of a sequence (default 512)")
      ->check(CLI::Range(2, 1 << 20))
      ->group(what);
  app.add_option("--curvature-sequences", curvature_sequences,
                 "sequences on which to measure how much the loss minds errors of each output (default: none with "
                 "--effort none, fast 32, full 64)")
      ->check(CLI::Range(0, 1 << 20))
      ->group(what);
  app.add_option("--output-damping", o.output_damping, "of that curvature, relative to its mean diagonal (default 0.1)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(what);
  app.add_option("--seed", o.seed, "of signs and sampling (default 0)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 53))
      ->group(what);

  what = "Results";
  app.add_option("--export-dequantized", o.export_directory,
                 "also write the quantized model to this directory in 16-bit floats, as Hugging Face's transformers "
                 "load it")
      ->group(what);

  app.add_flag_callback(
         "--no-report", [&o] { o.report = false; }, "do not write OUTPUT.report.html")
      ->group(what);

  what = "Running";
  app.add_option("--work", o.work,
                 "where to keep what an interrupted conversion goes on from (default: OUTPUT.work, removed on success)")
      ->group(what);
  app.add_flag("--keep-work", o.keep_work, "do not remove the work directory on success")->group(what);
  app.add_option("--threads", o.threads, "default: as many as there are CPUs")->check(CLI::Range(1, 1024))->group(what);
  app.add_option("--device", o.device, "auto, cpu, cuda (default auto)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->group(what);
  app.add_flag_callback(
         "--no-check", [&o] { o.check = false; },
         "do not run the written file through the runtime, which has to agree with the converter's own evaluation")
      ->group(what);
  app.add_flag("--force", o.force, "overwrite the output, and discard the state of a different conversion")
      ->group(what);
  app.add_flag("--plan", o.plan_only, "print the plan and stop")->group(what);
  app.add_flag("--json", o.json,
               "report as JSON lines on stdout: plan, allocation, progress, linear, warning, summary, error")
      ->group(what);
  app.add_flag("--quiet", o.quiet, "print nothing but errors")->group(what);

  for (CLI::Option* option : app.get_options()) {  // ranges clutter the help; a wrong value is told them
    if (option->get_type_name().find(" in [") == std::string::npos) continue;
    option->get_validator()->description("");
    option->check(refuse_nan)->transform(decimal);
  }
  // Also what is wrong with a command line is told as JSON, wherever --json stands in it.
  const bool json = std::find(argv, argv + argc, std::string_view("--json")) != argv + argc;
  const auto fail = [&](const std::string& sentence) {
    print_failure(sentence, json);
    return 2;
  };
  for (int i = 0; i < argc; ++i) o.command += (i ? " " : "") + (i ? shell_quoted(argv[i]) : "svqconvert");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return fail(usage_sentence(app, error) + " (svqconvert --help lists the options)");
    app.exit(error);  // help, version
    const std::string lost = output_failure();
    if (lost.empty()) return 0;
    print_failure(lost, false);
    return 1;
  }
  const bool whole = wanted_bits == std::floor(wanted_bits);
  if (whole && is_width(static_cast<int>(wanted_bits))) {
    o.bits = static_cast<int>(wanted_bits);
  } else if (!whole && wanted_bits > 2 && wanted_bits < 8) {
    o.bits = 2;
    o.bit_budget = wanted_bits;
  } else {
    return fail(fmt::format("--bits {}: expected 2 to 8, 16, or a mean such as 2.3 between 2 and 8", wanted_bits));
  }
  if (!size.empty()) {
    o.size_budget = parse_size(size);
    if (o.size_budget == 0) return fail("--size " + size + ": expected a size such as 500MB or 1.2GB");
    if (app.count("--bits")) return fail("--size and --bits exclude each other");
  }
  if (o.has_budget() && o.method != "unisvq") return fail("--size, or a mean for --bits, needs --method unisvq");
  if (!time_limit.empty()) {
    o.time_limit = parse_duration(time_limit);
    if (!(o.time_limit > 0))
      return fail("--time-limit " + time_limit + ": expected a duration such as 90m, 2h or 1h30m");
    o.calibration_by_time = app.count("--calibration-sequences") == 0;
    if (o.train_tokens > 0) return fail("--time-limit and --train-tokens exclude each other");
    if (o.effort == "none") return fail("--time-limit limits fine-tuning, which --effort none leaves out");
  }
  if (progressive_tokens >= 0) o.progressive_tokens = progressive_tokens;
  if (progressive_tokens > 0 && !o.trains())
    return fail("--progressive-tokens needs fine-tuning (--effort fast or full)");
  if (progressive_tokens > 0 && !o.follows_prefix()) return fail("--progressive-tokens needs --prefix quantized");
  if (o.block_tokens > 0 && !o.follows_prefix())
    return fail("--block-tokens needs --method unisvq, --prefix quantized and fewer than 16 bits");
  if (search >= 0) o.search = search;
  if (curvature_sequences >= 0) o.curvature_sequences = curvature_sequences;
  if (embedding_bits != 0) o.embedding_bits = embedding_bits;
  if (head_bits != 0) o.head_bits = head_bits;
  for (const std::string& text : overrides) {
    const size_t equals = text.rfind('=');
    int bits = 0;
    if (equals == std::string::npos || equals == 0 || !CLI::detail::lexical_cast(text.substr(equals + 1), bits) ||
        !is_width(bits)) {
      return fail("--override " + text + ": expected PATTERN=BITS with BITS 2 to 8, or 16");
    }
    o.overrides.emplace_back(text.substr(0, equals), bits);
  }
  if (o.map_columns % o.group != 0) {
    return fail("--map-columns " + std::to_string(o.map_columns) + ": expected a multiple of --group " +
                std::to_string(o.group));
  }
  if (o.map_columns != 0 && o.method != "unisvq") return fail("--map-columns applies to --method unisvq only");
  if (o.lattice == "d4" && o.group != 4) return fail("--lattice d4 needs --group 4");
  if (o.method == "quip") {
    if (o.lattice != "identity" || o.group != 4)
      return fail("--method quip is scalar: --lattice and --group apply to --method unisvq only");
    o.descent = 0;
  }
  if (sampled_share >= 0) o.sampled_share = sampled_share;
  if (o.calibration.empty() && sampled_share >= 0)
    return fail("--sampled-share needs --calibration: without a text the model writes everything");
  if (sampled_share == 1) return fail("--sampled-share 1 leaves no use for --calibration");
  if (o.quiet && o.json) return fail("--quiet and --json exclude each other");
  if (o.threads == 0) o.threads = available_cpus();
  return std::nullopt;
}

nlohmann::ordered_json recipe(const Options& o) {
  nlohmann::ordered_json j;
  j["bits"] = o.bits;
  if (o.bit_budget > 0) j["bit_budget"] = o.bit_budget;
  if (o.size_budget > 0) j["size_budget"] = o.size_budget;
  j["method"] = o.method;
  j["embedding_bits"] = o.embedding_width();
  j["head_bits"] = o.head_width();
  auto overrides = nlohmann::ordered_json::array();
  for (const auto& [pattern, bits] : o.overrides) overrides.push_back({{"pattern", pattern}, {"bits", bits}});
  j["overrides"] = overrides;
  j["rotation"] = o.rotation;
  j["lattice"] = o.lattice;
  j["group"] = o.group;
  j["map_columns"] = o.map_columns;
  j["descent"] = o.descent;
  if (o.method == "unisvq") j["search"] = o.search_moves();
  j["damping"] = o.damping;
  if (o.method == "unisvq") j["prefix"] = o.prefix;
  j["calibration_sequences"] = o.calibration_sequences;
  j["calibration_length"] = o.calibration_length;
  if (!o.calibration.empty()) j["sampled_share"] = o.sampled();
  if (o.curvature_count() > 0) {
    j["curvature_sequences"] = o.curvature_count();
    j["output_damping"] = o.output_damping;
  }
  if (o.block_tokens > 0) j["block_tokens"] = o.block_tokens;
  j["seed"] = o.seed;
  j["effort"] = o.trains() ? o.effort : "none";
  if (o.trains()) {
    if (o.progressive_tokens) j["progressive_tokens"] = *o.progressive_tokens;
    if (o.time_limit > 0) j["time_limit"] = o.time_limit;
    if (o.time_limit == 0) j["train_tokens"] = o.training_tokens();
    j["scale_rate"] = o.scale_rate;
    j["map_rate"] = o.map_rate;
  }
  return j;
}

}  // namespace svq::convert
