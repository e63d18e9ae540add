// svqbench: how fast a .svq model runs here, and how much memory it takes.
#include <fmt/core.h>

#include "tools/bench/manners.h"
#include "tools/bench/report.h"
#include "tools/common/cli.h"

using namespace svq::tools;

namespace {

// What --manners measures is fixed: options that shape the other tests are refused, not ignored.
void check_manners_options(const CLI::App& app, const BenchOptions& o, const std::string& format) {
  for (const char* name :
       {"--prompt", "--generate", "--depth", "--batch", "--repeat", "--bits", "--kv-bits", "--read-size", "--compare"})
    if (app.count(name) > 0) throw UsageError(fmt::format("--manners: has no use for {}", name));
  if (format == "csv") throw UsageError("--manners: reports as table or json, not as csv");
  if (o.device != "cpu") throw UsageError(fmt::format("--manners: runs on the CPU, not with --device {}", o.device));
  if (o.threads.size() > 1) throw UsageError("--manners: expected one number of --threads");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures speed and memory of a .svq model, or of a shape filled with random weights."};
  describe(
      app, "svqbench",
      "  svqbench model.svq --threads 1,2\n"
      "  svqbench model.svq --prompt 0 --generate 64 --depth 0,2048 --json\n"
      "  svqbench qwen3-1.7b --bits 2 --prompt 128                 no file needed\n"
      "  svqbench model.svq --compare before.json\n"
      "\nTests are named as in llama-bench: pp512 evaluates 512 tokens at once, tg128 evaluates 128 one after another\n"
      "(drawing excluded), \"x4\" in four sessions together (their tokens per second added up), \"@ 2048\" with that\n"
      "many tokens in the context before. Decoding reads every weight once a step: its GB/s are shown beside those of\n"
      "a plain read of memory with as many threads, in the same run.");
  BenchOptions o;
  std::string format = "table";
  bool json = false, csv = false;
  std::string shapes;
  for (size_t i = 0; const char* shape = svq_shape_name(i); ++i) shapes += (i ? ", " : "") + std::string(shape);
  app.add_option("FILE|SHAPE", o.model, "The model (.svq), or one of " + shapes)->required()->type_name("");
  const auto list = [&app](const char* name, std::vector<uint32_t>& values, const char* help, int64_t low,
                           int64_t high) {
    app.add_option(name, values, help)
        ->option_text("N[,N]")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->transform(integer_between(low, high));
  };
  list("--threads", o.threads, "Threads that compute (default: physical cores, at most 8)", 1, 256);
  list("--prompt", o.prompt, "Tokens evaluated at once; 0: none (default: 512)", 0, 1 << 20);
  list("--generate", o.generate, "Tokens evaluated one after another; 0: none (default: 128)", 0, 1 << 20);
  list("--depth", o.depth, "Tokens in the context before (default: 0)", 0, 1 << 20);
  list("--batch", o.batch, "Sessions decoded together, a token of each at a time (default: 1)", 1, 256);
  app.add_option("--repeat", o.repeat, "Measured runs of each test (default: 5)")
      ->type_name("N")
      ->transform(integer_between(1, 10000));
  app.add_option("--bits", o.bits, "Bits of a SHAPE's weights: 2 (default) to 8, or 16")
      ->type_name("BITS")
      ->check(one_of({"2", "3", "4", "8", "16"}));
  add_kv_bits(app, o.kv_bits);
  add_device(app, o.device);
  app.add_option("--read-size", o.read_megabytes,
                 "Memory that the plain read streams (default: 512 MB, at most a quarter of what is free)")
      ->type_name("MB")
      ->transform(integer_between(1, 1 << 20));
  CLI::Option* format_option = app.add_option("--format", format, "table (default), json or csv")
                                   ->type_name("FORMAT")
                                   ->check(one_of({"table", "json", "csv"}));
  bool manners = false;
  app.add_flag("--manners", manners,
               "Instead: stopping, saving and restoring, drawing under a grammar, memory (a FILE with a tokenizer)");
  std::string earlier;
  app.add_option("--compare", earlier, "A report of --json: its speeds stand beside those of this run")
      ->type_name("FILE");
  app.add_flag("--json", json, "The same as --format json");
  app.add_flag("--csv", csv, "The same as --format csv");

  return run_program(app, "svqbench", argc, argv, [&] {
    if (json + csv + (format_option->count() > 0) > 1)
      throw UsageError("--format, --json, --csv: expected one of them");
    if (json) format = "json";
    if (csv) format = "csv";
    if (manners) {
      check_manners_options(app, o, format);
      const Manners m = measure_manners({.model = o.model, .threads = o.threads.empty() ? 0 : o.threads[0]});
      if (format == "json") {
        print_json(manners_json(m));
      } else {
        fmt::print("{}", manners_report(m));
      }
      return kExitOk;
    }
    Progress progress(true);
    Bench bench = run_bench(o, progress);
    if (!earlier.empty()) compare_with(earlier, o, bench);
    if (format == "json") {
      print_json_report(bench, o);
    } else {
      fmt::print("{}", format == "csv" ? csv_report(bench, o) : table_report(bench, o));
    }
    return kExitOk;
  });
}
