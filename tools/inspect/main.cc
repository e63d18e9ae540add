// svqinspect: what a .svq file holds.
#include <fmt/core.h>

#include <memory>

#include "tools/common/cli.h"
#include "tools/common/text.h"
#include "tools/inspect/report.h"

using namespace svq::tools;

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model;
  std::string histogram;
  bool verify = false, tensors = false, json = false;
};

std::vector<uint64_t> code_histogram(const svq_model* model, const std::string& name) {
  std::vector<uint64_t> counts(256);  // codes have at most 8 bits
  size_t n = counts.size();
  check(svq_model_code_histogram(model, name.c_str(), counts.data(), &n));
  counts.resize(n);
  return counts;
}

int run(const Options& o) {
  const ModelPtr model = load_model(o.model);
  const svq_model_info info = model_info(model.get());
  auto metadata = Json::parse(model_description(model.get(), true));
  const auto tensors = metadata.value("tensors", Json::array());
  std::vector<uint64_t> counts;
  if (!o.histogram.empty()) counts = code_histogram(model.get(), o.histogram);

  if (o.verify) {
    Progress progress(!o.json);
    progress.show("reading " + format_bytes(info.file_bytes));
    check(svq_model_verify(model.get()));
  }
  if (o.json) {
    if (!o.tensors)
      for (const char* key : {"linears", "tensors"}) metadata.erase(key);
    metadata["sizes"]["bytes"] = size_by_part(tensors);
    if (!counts.empty())
      metadata["histogram"] = {{"name", o.histogram}, {"counts", counts}, {"entropy_bits", entropy(counts)}};
    if (o.verify) metadata["verified"] = true;
    print_json(metadata);
    return kExitOk;
  }
  fmt::print("{}\n{}", summary(info, metadata), size_table(tensors));
  if (o.tensors) fmt::print("\n{}\n{}", list_table(metadata.value("linears", Json::array())), list_table(tensors));
  if (!counts.empty()) fmt::print("\n{}", histogram_chart(o.histogram, counts));
  if (o.verify) fmt::print("\nverified: every checksum agrees with its content\n");
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Shows what a .svq file holds: architecture, tokenizer, sizes, provenance."};
  describe(app, "svqinspect",
           "  svqinspect model.svq\n"
           "  svqinspect model.svq --verify --tensors\n"
           "  svqinspect model.svq --histogram blocks.0.q\n"
           "  svqinspect model.svq --json | jq .provenance");
  Options o;
  app.add_option("FILE", o.model, "The model (.svq)")->required()->type_name("");
  app.add_flag("--verify", o.verify, "Compare every checksum with its content");
  app.add_flag("--tensors", o.tensors, "List the linears and the tensors");
  app.add_option("--histogram", o.histogram, "How often each code occurs in this linear, e.g. blocks.0.q")
      ->type_name("NAME");
  app.add_flag("--json", o.json, "Report as JSON");
  return run_program(app, "svqinspect", argc, argv, [&] { return run(o); });
}
