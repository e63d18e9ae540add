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

double read_a_second(const Result& r) { return r.weight_bandwidth + r.kv_bandwidth; }

double joules_per_token(const Result& r) {
  return r.joules / static_cast<double>(r.tokens * r.batch) / static_cast<double>(r.speed.size());
}

std::string frequency(double hertz) {
  return hertz >= 1e9 ? fmt::format("{:.2f} GHz", hertz * 1e-9) : fmt::format("{:.0f} MHz", hertz * 1e-6);
}

// A line each for what there is.
std::string state_report(const Bench& b) {
  std::string out;
  if (!b.state.board.empty()) out += fmt::format("board: {}\n", b.state.board);
  if (!b.state.power_mode.empty()) out += fmt::format("power mode: {}\n", b.state.power_mode);
  std::string clocks, heat;
  for (const auto& c : b.state.clocks) {
    clocks += fmt::format("{}{} {}", clocks.empty() ? "" : ", ", c.name, frequency(c.hertz));
    if (c.most > 0) clocks += " of " + frequency(c.most);
  }
  for (const auto& t : b.state.temperatures)
    heat += fmt::format("{}{} {:.0f}", heat.empty() ? "" : ", ", t.name, t.celsius);
  if (!clocks.empty()) out += fmt::format("clocks: {}\n", clocks);
  if (!heat.empty()) out += fmt::format("temperatures, °C: {}\n", heat);
  out += b.power_source.empty() ? "energy: no power monitor that can be read here (INA3221, or RAPL as root)\n"
                                : fmt::format("energy: of {}\n", b.power_source);
  return out;
}

nlohmann::ordered_json machine_json(const Bench& b) {
  const auto text = [](const std::string& s) {
    return s.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(s);
  };
  nlohmann::ordered_json machine = {{"board", text(b.state.board)},
                                    {"power_mode", text(b.state.power_mode)},
                                    {"power_source", text(b.power_source)},
                                    {"clocks", nlohmann::ordered_json::array()},
                                    {"temperatures", nlohmann::ordered_json::array()}};
  for (const auto& c : b.state.clocks)
    machine["clocks"].push_back({{"name", c.name}, {"hertz", c.hertz}, {"most", c.most}});
  for (const auto& t : b.state.temperatures)
    machine["temperatures"].push_back({{"name", t.name}, {"celsius", t.celsius}});
  return machine;
}

}  // namespace

void compare_with(const std::string& path, const BenchOptions& o, Bench& b) {
  const auto bad = [&](const std::string& what) { return Failure(fmt::format("{}: {}", path, what)); };
  const auto json = nlohmann::json::parse(read_file(path), nullptr, false);
  if (!json.is_object() || !json.contains("results") || !json["results"].is_array())
    throw bad("expected a report of svqbench --json");
  const auto same = [&](const char* key, const nlohmann::json& value) {
    if (json.value(key, nlohmann::json()) != value)
      throw bad(fmt::format("{} is {}, expected {} as in this run", key, json.value(key, nlohmann::json()).dump(),
                            value.dump()));
  };
  same("decode_bytes", b.info.decode_bytes);
  same("kv_bits", kv_bits(o));
  for (size_t i = 0; i < json["results"].size(); ++i) {
    const auto& row = json["results"][i];
    const auto field = [&](const char* key, bool (nlohmann::json::*is)() const noexcept, const char* expected) {
      const auto value = row.is_object() ? row.value(key, nlohmann::json()) : nlohmann::json();
      if (!(value.*is)()) throw bad(fmt::format("results[{}].{} is {}, expected {}", i, key, value.dump(), expected));
      return value;
    };
    const auto test = field("test", &nlohmann::json::is_string, "the name of a test, such as \"tg128\"");
    const auto threads = field("threads", &nlohmann::json::is_number_unsigned, "a number of threads");
    const auto speed = field("tokens_per_second", &nlohmann::json::is_number, "a number");
    for (Result& r : b.results) {
      if (test == r.name() && threads == r.threads) r.earlier = speed.get<double>();
    }
  }
}

std::string table_report(const Bench& b, const BenchOptions& o) {
  std::string out = fmt::format(
      "{}: {} weights, {}, {:.2f} bits a weight in the blocks, {} read a token, {} kernels on {}, KV cache {} bits\n\n",
      b.random ? o.model + " (random weights)" : o.model, format_count(b.info.n_parameters),
      format_bytes(b.info.file_bytes), b.info.bits_per_weight, format_bytes(b.info.decode_bytes), b.info.isa,
      b.device() == "cuda" ? "the GPU" : "the CPU", kv_bits(o));
  const bool compared = std::any_of(b.results.begin(), b.results.end(), [](const Result& r) { return r.earlier > 0; });
  std::vector<std::string> columns = {"threads", "test", "tok/s", "weights GB/s", "of plain read", "first token"};
  const bool context = std::any_of(b.results.begin(), b.results.end(), [](const Result& r) { return r.depth > 0; });
  const bool energy = !b.power_source.empty();
  if (context) columns.insert(columns.begin() + 4, "KV GB/s");
  if (energy) columns.push_back("J/token");
  if (compared) columns.insert(columns.end(), {"before", "change"});
  Table table("rl" + std::string(columns.size() - 2, 'r'), columns);
  for (const Result& r : b.results) {
    const Spread s = spread_of(r.speed);
    std::vector<std::string> row = {
        std::to_string(r.threads),
        r.name(),
        fmt::format("{:.2f} ± {:.2f}", s.mean, s.stddev),
        r.decode ? fmt::format("{:.2f}", r.weight_bandwidth * 1e-9) : "",
        r.decode && r.read_bandwidth > 0
            ? fmt::format("{:.0f} % of {:.1f}", 100 * read_a_second(r) / r.read_bandwidth, r.read_bandwidth * 1e-9)
            : "",
        r.decode ? "" : format_duration(spread_of(r.first_token).mean)};
    if (context) row.insert(row.begin() + 4, r.decode ? fmt::format("{:.2f}", r.kv_bandwidth * 1e-9) : "");
    if (energy) row.push_back(fmt::format("{:.3g}", joules_per_token(r)));
    if (compared && r.earlier > 0) {
      row.insert(row.end(),
                 {fmt::format("{:.2f}", r.earlier), fmt::format("{:+.1f} %", 100 * (s.mean / r.earlier - 1))});
    } else if (compared) {
      row.insert(row.end(), {"", ""});
    }
    table.add(row);
  }
  out += table.str();
  if (std::any_of(b.results.begin(), b.results.end(),
                  [](const Result& r) { return r.decode && r.weight_bandwidth > 1.05 * r.read_bandwidth; }))
    out += "(faster than memory: part of the weights stays in the processor's cache)\n";
  if (b.context > b.info.context_length)
    out += fmt::format("(contexts of up to {} tokens; the model was trained on {})\n", format_thousands(b.context),
                       format_thousands(b.info.context_length));
  out += fmt::format("\n{} in {}", b.random ? "made" : "loaded", format_duration(b.load_seconds));
  if (b.peak_memory)
    out += fmt::format("; peak memory {}, {} above the file's size", format_bytes(b.peak_memory),
                       format_bytes(above_file(b)));
  out += fmt::format("; a session takes {}\n", format_bytes(b.session_memory));
  return out + state_report(b);
}

std::string csv_report(const Bench& b, const BenchOptions& o) {
  std::string name = "\"";
  for (char c : o.model) name += c == '"' ? std::string("\"\"") : std::string(1, c);
  name += '"';
  std::string out =
      "model,isa,kv_bits,threads,test,kind,tokens,depth,tokens_per_second,stddev,weight_bytes_per_second,"
      "read_bytes_per_second,first_token_seconds,device,kv_bytes_per_second,joules_per_token,batch\n";
  for (const Result& r : b.results) {
    const Spread s = spread_of(r.speed);
    out += fmt::format("{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.0f},{:.0f},{},{},{:.0f},{},{}\n", name, b.info.isa,
                       kv_bits(o), r.threads, r.name(), r.decode ? "decode" : "prefill", r.tokens, r.depth, s.mean,
                       s.stddev, r.weight_bandwidth, r.read_bandwidth,
                       r.decode ? "" : fmt::format("{:.6f}", spread_of(r.first_token).mean), b.device(), r.kv_bandwidth,
                       b.power_source.empty() ? "" : fmt::format("{:.6g}", joules_per_token(r)), r.batch);
  }
  return out;
}

void print_json_report(const Bench& b, const BenchOptions& o) {
  nlohmann::ordered_json json = {{"model", o.model},
                                 {"random_weights", b.random},
                                 {"version", svq_version_string()},
                                 {"device", b.device()},
                                 {"isa", b.info.isa},
                                 {"parameters", b.info.n_parameters},
                                 {"bits_per_weight", b.info.bits_per_weight},
                                 {"file_bytes", b.info.file_bytes},
                                 {"decode_bytes", b.info.decode_bytes},
                                 {"kv_bits", kv_bits(o)},
                                 {"load_seconds", b.load_seconds},
                                 {"session_bytes", b.session_memory},
                                 {"context_length", b.info.context_length},
                                 {"machine", machine_json(b)},
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
                                  {"batch", r.batch},
                                  {"threads", r.threads},
                                  {"tokens_per_second", s.mean},
                                  {"stddev", s.stddev},
                                  {"samples", r.speed},
                                  {"read_bytes_per_second", r.read_bandwidth}};
    if (r.earlier > 0) row["earlier_tokens_per_second"] = r.earlier;
    if (r.decode) {
      row["weight_bytes_per_second"] = r.weight_bandwidth;
      row["kv_bytes_per_second"] = r.kv_bandwidth;
      if (r.read_bandwidth > 0) row["fraction_of_read_bandwidth"] = read_a_second(r) / r.read_bandwidth;
    } else {
      row["first_token_seconds"] = spread_of(r.first_token).mean;
    }
    if (!b.power_source.empty()) row["joules_per_token"] = joules_per_token(r);
    json["results"].push_back(std::move(row));
  }
  print_json(json);
}

}  // namespace svq::tools
