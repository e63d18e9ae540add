// What the plan promises before any work: groups, widths, folded norms, and the size of the file to the byte.
#include "converter/job/plan.h"

#include <algorithm>
#include <map>

#include "converter/base/error.h"
#include "converter/write/svq_file.h"
#include "tests/converter/job_helpers.h"

namespace svq::convert {
namespace {

using test::TinyShape;

class PlanTest : public test::ConverterTest {
 protected:
  std::unique_ptr<Model> model(const TinyShape& shape) { return open_model(write_model(shape)); }
  static std::map<std::string, int> widths(const Plan& plan) {
    std::map<std::string, int> result;
    for (const auto& group : plan.groups) {
      for (const auto& l : group.linears) result[l.name] = l.bits;
    }
    return result;
  }
  static const PlannedGroup& group(const Plan& plan, const std::string& name) {
    return *std::find_if(plan.groups.begin(), plan.groups.end(), [&](const auto& g) { return g.name == name; });
  }
};

TEST_F(PlanTest, DefaultsAreTwoBitsWithFourAtBothEnds) {
  TinyShape shape;
  shape.tied = false;
  const auto m = model(shape);
  const Plan plan = make_plan(*m, Options{});
  for (const auto& [name, bits] : widths(plan)) EXPECT_EQ(bits, name.starts_with("blocks.") ? 2 : 4) << name;
  EXPECT_TRUE(plan.needs_calibration);
  EXPECT_FALSE(group(plan, "embedding").needs_hessian);
  EXPECT_TRUE(group(plan, "head").needs_hessian);
  EXPECT_EQ(group(plan, "blocks.1.attn_in").linears.size(), 3u);
  EXPECT_EQ(group(plan, "blocks.1.attn_in").folded_norm, Slot::kAttnNorm);
  EXPECT_TRUE(group(plan, "blocks.1.attn_in").norms.empty());
  EXPECT_EQ(plan.groups.front().name, "embedding");
  EXPECT_EQ(plan.groups.back().name, "head");
}

TEST_F(PlanTest, ATiedEmbeddingIsStoredOnceAndSeesTheHeadsInput) {
  const auto m = model({});
  const Plan plan = make_plan(*m, Options{});
  EXPECT_TRUE(group(plan, "embedding").needs_hessian);
  EXPECT_EQ(plan.groups.back().name, "final_norm");
  Options options;
  options.head_bits = 8;
  EXPECT_THROW(make_plan(*m, options), Error);
}

TEST_F(PlanTest, MemoryCountsWeightsAndCacheOfTheModelThatWritesText) {
  TinyShape shape;
  shape.layers = 32;  // so that the cache outweighs the hidden states
  const auto m = model(shape);
  Options text, sampled;
  text.effort = sampled.effort = "none";
  text.calibration = "text.txt";
  const uint64_t cache =
      64 * uint64_t(sampled.calibration_length) * 2 * 4 * shape.layers * shape.kv_heads * shape.head_dim;
  const uint64_t libraries = 400 << 20;
  EXPECT_LT(make_plan(*m, text).memory_bytes, libraries + cache / 2);
  EXPECT_GT(make_plan(*m, sampled).memory_bytes, libraries + cache / 2);  // half: in bfloat16 on some machines
}

TEST_F(PlanTest, HalfPrecisionNeedsNoCalibration) {
  const auto m = model({});
  Options options;
  options.bits = 16;
  const Plan plan = make_plan(*m, options);
  EXPECT_FALSE(plan.needs_calibration);
  for (const auto& [name, bits] : widths(plan)) EXPECT_EQ(bits, 16) << name;
  EXPECT_EQ(plan.groups.size(), 2u + 4 * 2);
  EXPECT_EQ(group(plan, "blocks.0.ffn_in").norms, std::vector<Slot>{Slot::kFfnNorm});
}

TEST_F(PlanTest, OverridesAreGlobsAndTheLastOneWins) {
  const auto m = model({});
  Options options;
  options.overrides = {{"blocks.*.down", 3}, {"blocks.0.*", 8}, {"blocks.1.q", 16}, {"embedding", 2}};
  const Plan plan = make_plan(*m, options);
  auto w = widths(plan);
  EXPECT_EQ(w["blocks.1.down"], 3);
  EXPECT_EQ(w["blocks.0.down"], 8);
  EXPECT_EQ(w["blocks.0.k"], 8);
  EXPECT_EQ(w["blocks.1.q"], 16);
  EXPECT_EQ(w["blocks.1.k"], 2);
  EXPECT_EQ(w["embedding"], 2);
  // q in half precision reads the plain norm's output, so the norm cannot be folded for k and v.
  EXPECT_EQ(group(plan, "blocks.1.attn_in").folded_norm, std::nullopt);
  EXPECT_EQ(group(plan, "blocks.1.attn_in").norms, std::vector<Slot>{Slot::kAttnNorm});
  options.overrides = {{"blocks.*.dwon", 3}};
  try {
    make_plan(*m, options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.*.dwon"), std::string::npos) << e.what();
  }
}

TEST_F(PlanTest, NormsStayWhereNothingCanTakeThem) {
  const auto m = model({});
  for (const char* method : {"gptq", "rtn"}) {
    Options options;
    options.method = method;
    const Plan plan = make_plan(*m, options);
    EXPECT_EQ(group(plan, "blocks.0.attn_in").norms, std::vector<Slot>{Slot::kAttnNorm}) << method;
    EXPECT_EQ(plan.needs_calibration, options.method == "gptq");
  }
}

TEST_F(PlanTest, LinearsOfDifferentWidthsInOneGroupHaveAMapEach) {
  const auto m = model({});
  Options options;
  options.overrides = {{"blocks.0.k", 3}, {"blocks.0.v", 3}};
  options.map_columns = 16;
  const Plan plan = make_plan(*m, options);
  const fb::PartT part = layout_part(group(plan, "blocks.0.attn_in"), *m, options, 1);
  ASSERT_EQ(part.affine_maps.size(), 2u);
  EXPECT_EQ(part.linears[0]->affine, 0);
  EXPECT_EQ(part.linears[1]->affine, 1);
  EXPECT_EQ(part.linears[2]->affine, 1);
  EXPECT_EQ(part.affine_maps[0]->a->shape, (std::vector<uint64_t>{4, 4, 4}));
  EXPECT_EQ(part.input_transforms.size(), 1u);
}

// The plan's size against the file of a real run, and the program's own word for it.
struct SizeCase {
  std::string family;
  bool tied;
  std::vector<std::string> arguments;
};
class PlannedSize : public test::ConverterTest, public ::testing::WithParamInterface<SizeCase> {};

TEST_P(PlannedSize, IsTheFilesSize) {
  TinyShape shape;
  shape.family = GetParam().family;
  shape.tied = GetParam().tied;
  shape.hidden = 96;  // 2^5 · 3
  shape.head_dim = 24;
  write_model(shape);
  auto arguments = quick({"tiny.gguf", "-o", "t.svq", "--json"});
  arguments.insert(arguments.end(), GetParam().arguments.begin(), GetParam().arguments.end());
  const auto result = run(arguments);
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string plan = result.out.substr(0, result.out.find('\n'));
  const std::string key = "\"file_bytes\":";
  ASSERT_NE(plan.find(key), std::string::npos) << plan;
  EXPECT_EQ(std::stoull(plan.substr(plan.find(key) + key.size())), std::filesystem::file_size(path("t.svq")));
  EXPECT_FALSE(std::filesystem::exists(path("t.svq.work")));
}

INSTANTIATE_TEST_SUITE_P(
    All, PlannedSize,
    ::testing::Values(SizeCase{"llama", true, {}},
                      SizeCase{"llama", false, {"--bits", "3", "--embedding-bits", "5", "--head-bits", "7"}},
                      SizeCase{"qwen2", true, {"--bits", "4", "--embedding-bits", "16"}},
                      SizeCase{"qwen3", false, {"--bits", "6", "--override", "blocks.0.*=2", "--override", "*.k=16"}},
                      SizeCase{"mistral", true, {"--method", "gptq"}},
                      SizeCase{"qwen2", false, {"--method", "rtn", "--bits", "4"}},
                      SizeCase{"llama", true, {"--bits", "16"}},
                      SizeCase{"llama", true, {"--rotation", "none", "--map-columns", "32"}},
                      SizeCase{"llama", true, {"--rotation", "blocks", "--lattice", "orthogonal", "--group", "8"}}),
    [](const auto& c) { return "Case" + std::to_string(c.index); });

}  // namespace
}  // namespace svq::convert
