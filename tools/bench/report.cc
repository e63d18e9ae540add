#include "tools/bench/report.h"

#include <fmt/core.h>

#include <algorithm>

#include "tools/common/cli.h"
#include "tools/common/text.h"

namespace svq::tools {
namespace {

uint64_t above_file(const Bench& b) {
  return b.peak_memory > b.info.file_bytes ? b.peak_memory - b.info.file_bytes : 0;
}

uint32_t kv_bits(const BenchOptions& o) { return o.kv_bits ? o.kv_bits : 16; }

}  // namespace

std::string table_report(const Bench& b, const BenchOptions& o) {
  std::string out = fmt::format(
      "{}: {} weights, {}, {:.2f} bits a weight in the blocks, {} read a token, {} kernels, KV cache {} bits\n\n",
      b.random ? o.model + " (random weights)" : o.model, format_count(b.info.n_parameters),
      format_bytes(b.info.file_bytes), b.info.bits_per_weight, format_bytes(b.info.decode_bytes), b.info.isa,
      kv_bits(o));
  Table table("rlrrrr", {"threads", "test", "tok/s", "weights GB/s", "of plain read", "first token"});
  for (const Result& r : b.results) {
    const Spread s = spread_of(r.speed);
    table.add(
        {std::to_string(r.threads), r.name(), fmt::format("{:.2f} ± {:.2f}", s.mean, s.stddev),
         r.decode ? fmt::format("{:.2f}", r.weight_bandwidth * 1e-9) : "",
         r.decode && r.read_bandwidth > 0
             ? fmt::format("{:.0f} % of {:.1f}", 100 * r.weight_bandwidth / r.read_bandwidth, r.read_bandwidth * 1e-9)
             : "",
         r.decode ? "" : format_duration(spread_of(r.first_token).mean)});
  }
  out += table.str();
  if (std::any_of(b.results.begin(), b.results.end(),
                  [](const Result& r) { return r.decode && r.weight_bandwidth > 1.05 * r.read_bandwidth; }))
    out += "(faster than memory: part of the weights stays in the processor's cache)\n";
  out += fmt::format("\n{} in {}", b.random ? "made" : "loaded", format_duration(b.load_seconds));
  if (b.peak_memory)
    out += fmt::format("; peak memory {}, {} above the file's size", format_bytes(b.peak_memory),
                       format_bytes(above_file(b)));
  out += fmt::format("; a session takes {}\n", format_bytes(b.session_memory));
  return out;
}

std::string csv_report(const Bench& b, const BenchOptions& o) {
  std::string name = "\"";
  for (char c : o.model) name += c == '"' ? std::string("\"\"") : std::string(1, c);
  name += '"';
  std::string out =
      "model,isa,kv_bits,threads,test,kind,tokens,depth,tokens_per_second,stddev,weight_bytes_per_second,"
      "read_bytes_per_second,first_token_seconds\n";
  for (const Result& r : b.results) {
    const Spread s = spread_of(r.speed);
    out +=
        fmt::format("{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.0f},{:.0f},{}\n", name, b.info.isa, kv_bits(o), r.threads,
                    r.name(), r.decode ? "decode" : "prefill", r.tokens, r.depth, s.mean, s.stddev, r.weight_bandwidth,
                    r.read_bandwidth, r.decode ? "" : fmt::format("{:.6f}", spread_of(r.first_token).mean));
  }
  return out;
}

void print_json_report(const Bench& b, const BenchOptions& o) {
  nlohmann::ordered_json json = {{"model", o.model},
                                 {"random_weights", b.random},
                                 {"version", svq_version_string()},
                                 {"isa", b.info.isa},
                                 {"parameters", b.info.n_parameters},
                                 {"bits_per_weight", b.info.bits_per_weight},
                                 {"file_bytes", b.info.file_bytes},
                                 {"decode_bytes", b.info.decode_bytes},
                                 {"kv_bits", kv_bits(o)},
                                 {"load_seconds", b.load_seconds},
                                 {"session_bytes", b.session_memory},
                                 {"results", nlohmann::ordered_json::array()}};
  if (b.peak_memory) {
    json["peak_memory_bytes"] = b.peak_memory;
    json["peak_memory_above_file_bytes"] = above_file(b);
  }
  for (const Result& r : b.results) {
    const Spread s = spread_of(r.speed);
    nlohmann::ordered_json row = {{"test", r.name()},
                                  {"kind", r.decode ? "decode" : "prefill"},
                                  {"tokens", r.tokens},
                                  {"depth", r.depth},
                                  {"threads", r.threads},
                                  {"tokens_per_second", s.mean},
                                  {"stddev", s.stddev},
                                  {"samples", r.speed},
                                  {"read_bytes_per_second", r.read_bandwidth}};
    if (r.decode) {
      row["weight_bytes_per_second"] = r.weight_bandwidth;
      if (r.read_bandwidth > 0) row["fraction_of_read_bandwidth"] = r.weight_bandwidth / r.read_bandwidth;
    } else {
      row["first_token_seconds"] = spread_of(r.first_token).mean;
    }
    json["results"].push_back(std::move(row));
  }
  print_json(json);
}

}  // namespace svq::tools
