// What a conversion gives beside the file: agreement with the runtime, report, widths by a budget, imported codes.
#include "converter/base/error.h"
#include "converter/job/allocate.h"
#include "converter/job/quality.h"
#include "converter/job/svg.h"
#include "converter/job/work_directory.h"
#include "converter/models/float/evaluate.h"
#include "svqrt/svqrt.h"
#include "tests/converter/job_helpers.h"
#include "tests/sources/tiny_hf.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randint.h>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <map>

namespace svq {
namespace {

namespace fs = std::filesystem;
using convert::Error;
using nlohmann::json;

class Results : public test::ConverterTest {
 protected:
  static std::vector<json> events(const test::ProgramResult& result, const std::string& kind) {
    std::vector<json> found;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) {
      json event = json::parse(line);
      if (event.at("event") == kind) found.push_back(std::move(event));
    }
    return found;
  }
  json summary(const test::ProgramResult& result) const {
    EXPECT_EQ(result.status, 0) << result.err;
    const auto all = events(result, "summary");
    EXPECT_EQ(all.size(), 1u) << result.out;
    return all.empty() ? json::object() : all[0];
  }
};

// ---------------------------------------------------------------- the runtime

TEST_F(Results, TheRuntimeAgreesWithTheConverter) {
  for (const char* family : {"llama", "qwen3"}) {
    test::TinyShape shape;
    shape.family = family;
    shape.hidden = 96;
    shape.head_dim = 24;
    shape.tied = std::string(family) == "llama";
    write_model(shape);
    for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
             {}, {"--bits", "16"}, {"--method", "rtn", "--bits", "4"}, {"--override", "blocks.1.*=16"}}) {
      auto arguments = quick({"tiny.gguf", "-o", "t.svq", "--json", "--force", "--no-report"});
      arguments.insert(arguments.end(), options.begin(), options.end());
      const json all = summary(run(arguments));
      const json runtime = all.at("runtime");
      const bool calibrated = options.empty() || options[0] == "--override";
      EXPECT_EQ(runtime["held_out"], calibrated);
      EXPECT_EQ(runtime["tokens"], calibrated ? 32 : 4 * 128);
      EXPECT_LT(std::abs(runtime["difference"].get<double>()), 1e-3) << runtime;
      EXPECT_GT(runtime["converter_perplexity"], 1.0);
      EXPECT_EQ(all.contains("quality"), calibrated);
    }
  }
}

TEST_F(Results, AHeldOutPartIsMeasuredOn) {
  write_model();
  std::ofstream text(path("text.txt"));
  for (int i = 0; i < 300; ++i) text << "line " << i << " of a short text\n";
  text.close();
  const json quality =
      summary(run(quick({"tiny.gguf", "-o", "t.svq", "--json", "--no-report", "--calibration", "text.txt"})))
          .at("quality");
  EXPECT_GT(quality["kl"], 0);
  EXPECT_GT(quality["source_perplexity"], 1);
  EXPECT_LT(quality["same_top"], 1);
  const json skipped = summary(run(quick({"tiny.gguf", "-o", "u.svq", "--json", "--no-report", "--no-check"})));
  EXPECT_FALSE(skipped.contains("runtime"));
}

TEST_F(Results, DisagreementIsAnErrorAndTheFileIsKeptUnderAnotherName) {
  convert::RuntimeCheck check{.converter = 20, .runtime_float = 20.09, .runtime = 20.3, .tokens = 512};
  EXPECT_NO_THROW(convert::require_agreement(check, "a.svq"));
  for (const double wrong : {20.11, 19.89, std::nan(""), double(INFINITY)}) {
    check.runtime_float = wrong;
    try {
      convert::require_agreement(check, "a.svq");
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      for (const char* word : {"a.svq", "perplexity", "512 tokens", "20.0000", "0.5 %"})
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

// A file whose weights are not those of the parts that it is compared with.
TEST_F(Results, PerplexityTellsADifferentFile) {
  write_model();
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "a.svq", "--quiet", "--no-report", "--bits", "4"})).status, 0);
  ASSERT_EQ(run(quick({"tiny.gguf", "-o", "b.svq", "--quiet", "--no-report", "--bits", "2"})).status, 0);
  at::manual_seed(1);  // unseeded, two runs in forty met tokens that both files find equally likely
  const at::Tensor tokens = at::randint(0, 272, {2, 24}, at::kLong);
  const auto of = [&](const char* file) {
    return convert::runtime_perplexity(path(file), tokens, 32, 1, [](double) {});
  };
  const convert::RuntimeCheck check{.converter = of("a.svq"), .runtime_float = of("b.svq")};
  EXPECT_THROW(convert::require_agreement(check, "b.svq"), Error);
  std::ofstream(path("c.svq")) << "no file at all";
  try {
    of("c.svq");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the runtime refuses"), std::string::npos) << error.what();
  }
}

// ---------------------------------------------------------------- the report

TEST_F(Results, TheReportIsOnePageWithEveryPart) {
  write_model();
  const auto result = run(tuned({"tiny.gguf", "-o", "t.svq", "--quiet", "--seed", "7"}, 30));
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string page = test::read_text(path("t.svq.report.html"));
  for (const char* id : {"quality", "size", "errors", "bits", "training", "completions", "repeat"})
    EXPECT_NE(page.find("<h2 id=\"" + std::string(id) + "\">"), std::string::npos) << id;
  // Nothing is fetched.
  for (const char* word : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_EQ(page.find(word), std::string::npos) << word;
  EXPECT_NE(page.find("svqconvert tiny.gguf -o t.svq --quiet --seed 7"), std::string::npos);
  // Rows of the ladder, a path per kind of linear, a cell per linear, three pairs of completions.
  const auto count = [&](const char* pattern) {
    const std::regex regex(pattern);
    return std::distance(std::sregex_iterator(page.begin(), page.end(), regex), std::sregex_iterator());
  };
  EXPECT_EQ(count("<tr><td>(source|quantized|fine-tuned)</td>"), 3);
  EXPECT_EQ(count("<svg "), 2);
  EXPECT_EQ(count("<path class=\"s[0-9]"), 7 + 4);
  EXPECT_EQ(count("<td class=\"b2\""), 7 * 2);
  EXPECT_EQ(count("<h4>this file</h4><pre>"), 3);
  // Every element that is opened is closed.
  for (const char* tag : {"table", "tr", "td", "th", "div", "p", "pre", "svg", "h2", "h4", "text", "body", "html"}) {
    EXPECT_EQ(count(("<" + std::string(tag) + "[ >]").c_str()), count(("</" + std::string(tag) + ">").c_str())) << tag;
  }
  const size_t at = page.find("id=\"data\">") + 10;
  const json data = json::parse(page.substr(at, page.find("</script>", at) - at));
  EXPECT_EQ(data["losses"].size(), 30u);
  EXPECT_EQ(data["linears"].size(), 15u);
}

TEST_F(Results, ReportsEscapeWhatFilesCallThemselves) {
  EXPECT_EQ(convert::escape_html("<b> & \"x\"\xff"), "&lt;b&gt; &amp; &quot;x&quot;\xEF\xBF\xBD");
  const std::string chart = convert::line_chart({{.name = "<a>", .x = {0, 1, 2}, .y = {1, NAN, 100}}},
                                                {.x_title = "x", .y_title = "y", .log_y = true});
  EXPECT_EQ(chart.find("<a>"), std::string::npos);
  EXPECT_EQ(chart.find("nan"), std::string::npos);
  EXPECT_EQ(convert::line_chart({{.name = "none"}}, {}), "");
}

// ---------------------------------------------------------------- widths by a budget

TEST(Budget, IsSpentWhereItGainsMost) {
  using convert::Choice;
  // Every subset of ten choices of equal size: none is better than what was chosen.
  test::Random random(4);
  std::vector<Choice> choices;
  for (int i = 0; i < 10; ++i) {
    const double loss = random.uniform();
    choices.push_back({"c" + std::to_string(i), {{2, 100, loss}, {3, 150, loss * 0.3}}});
  }
  const auto chosen = convert::spend(choices, 4 * 50 + 20);
  const auto loss_of = [&](const auto& level) {
    double sum = 0;
    for (size_t i = 0; i < choices.size(); ++i) sum += choices[i].levels[level(i)].loss;
    return sum;
  };
  double best = 1e9;
  for (unsigned set = 0; set < 1024; ++set) {
    if (__builtin_popcount(set) <= 4) best = std::min(best, loss_of([&](size_t i) { return set >> i & 1; }));
  }
  EXPECT_NEAR(loss_of([&](size_t i) { return chosen[i]; }), best, 1e-12);
}

TEST(Budget, StepsFollowTheHull) {
  using convert::spend;
  // 2 → 3 saves nothing, 2 → 4 a lot: taken in one step, if it fits.
  const std::vector<convert::Choice> choices{{"a", {{2, 100, 5}, {3, 150, 5}, {4, 200, 1}}},
                                             {"b", {{2, 100, 2}, {3, 150, 1}, {4, 200, 0.9}}}};
  EXPECT_EQ(spend(choices, 100), (std::vector<size_t>{2, 0}));
  EXPECT_EQ(spend(choices, 150), (std::vector<size_t>{2, 1}));
  EXPECT_EQ(spend(choices, 99), (std::vector<size_t>{0, 1}));
  EXPECT_EQ(spend(choices, 0), (std::vector<size_t>{0, 0}));
  EXPECT_EQ(spend(choices, 1000), (std::vector<size_t>{2, 2}));
}

TEST_F(Results, ABudgetIsKeptAndUsed) {
  test::TinyShape shape;
  shape.hidden = 256;
  shape.intermediate = 512;
  shape.head_dim = 64;
  write_model(shape);
  auto result = run(quick({"tiny.gguf", "-o", "bits.svq", "--json", "--bits", "2.9"}));
  const double bits = summary(result)["bits_per_weight"];
  EXPECT_LE(bits, 2.9);
  EXPECT_GT(bits, 2.8);
  const auto allocation = events(result, "allocation");
  ASSERT_EQ(allocation.size(), 1u);
  EXPECT_EQ(allocation[0]["linears"].size(), 14u);
  std::set<int> widths;
  for (const auto& [name, linear] : allocation[0]["linears"].items()) {
    widths.insert(linear["bits"].get<int>());
    EXPECT_GT(linear["losses"]["2"], 0) << name;
    EXPECT_LT(linear["losses"]["4"], linear["losses"]["3"]) << name;
  }
  EXPECT_GE(widths.size(), 2u);
  EXPECT_EQ(fs::file_size(path("bits.svq")), allocation[0]["file_bytes"]);

  result = run(quick({"tiny.gguf", "-o", "size.svq", "--json", "--size", "470kB", "--override", "blocks.0.q=8"}));
  const json of_size = summary(result);
  EXPECT_LE(of_size["file_bytes"], 470000);
  EXPECT_GT(of_size["file_bytes"], 440000);
  const json linears = events(result, "allocation").at(0)["linears"];
  EXPECT_TRUE(linears.contains("embedding"));
  EXPECT_FALSE(linears.contains("blocks.0.q"));

  result = run(quick({"tiny.gguf", "-o", "none.svq", "--quiet", "--size", "20kB"}));
  EXPECT_EQ(result.status, 1);
  for (const char* word : {"--size", "20.0 kB", "smallest"})
    EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
}

TEST_F(Results, AConversionWithABudgetGoesOnToTheSameFile) {
  test::TinyShape shape;
  shape.hidden = 128;
  write_model(shape);
  const std::vector<std::string> options{"--quiet", "--no-report", "--size", "130kB"};
  const auto convert = [&](const char* name, const test::ProgramOptions& how = {}) {
    auto arguments = quick({"tiny.gguf", "-o", name});
    arguments.insert(arguments.end(), options.begin(), options.end());
    return run(arguments, how);
  };
  ASSERT_EQ(convert("whole.svq").status, 0);
  test::ProgramOptions killed;
  killed.kill_when = [&] { return parts("t.svq.work") >= 3; };
  convert("t.svq", killed);
  if (!fs::exists(path("t.svq"))) {
    ASSERT_EQ(convert("t.svq").status, 0);
  }
  EXPECT_TRUE(test::read_text(path("whole.svq")) == test::read_text(path("t.svq")));
}

// A linear that adds nothing gets no bits; one that carries everything does.
TEST_F(Results, WhatTheModelDoesNotUseGetsNoBits) {
  test::TinyShape shape;
  shape.hidden = 128;
  shape.intermediate = 256;
  shape.head_dim = 32;
  auto writer = test::tiny_gguf(shape, test::TinyType::kF32);
  auto* down = writer.tensor("blk.0.ffn_down.weight");
  std::vector<float> values(down->data.size() / 4);
  std::memcpy(values.data(), down->data.data(), down->data.size());
  for (float& v : values) v *= 1e-6f;
  std::memcpy(down->data.data(), values.data(), down->data.size());
  test::write_file(path("tiny.gguf").string(), writer.build());
  const auto result = run(quick({"tiny.gguf", "-o", "t.svq", "--json", "--no-report", "--bits", "3.6"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const json linears = events(result, "allocation").at(0)["linears"];
  for (const char* name : {"blocks.0.gate", "blocks.0.up", "blocks.0.down"})
    EXPECT_EQ(linears[name]["bits"], 2) << name;
  EXPECT_GT(linears["blocks.1.down"]["bits"], 2);
}

// ---------------------------------------------------------------- imported codes

class Import : public Results {
 protected:
  // A model in LC-QAT's layout; returns the weights that its codes stand for, by tensor name.
  std::map<std::string, std::vector<float>> write_lcqat(const test::TinyShape& shape) {
    test::write_tiny_hf(path("lcqat"), shape);
    test::Random random(9);
    std::map<std::string, std::vector<float>> dense;
    std::vector<test::SafetensorsEntry> entries;
    const auto f32 = [](const std::vector<float>& values) {
      return std::string(reinterpret_cast<const char*>(values.data()), 4 * values.size());
    };
    for (const test::SafetensorsEntry& entry : test::tiny_entries(shape, test::TinyType::kF32)) {
      if (entry.name.find("_proj.weight") == std::string::npos) {
        entries.push_back(entry);
        continue;
      }
      const uint64_t rows = entry.shape[0], columns = entry.shape[1];
      const std::string name = entry.name.substr(0, entry.name.size() - 7);
      std::string codes(rows * columns / 4, '\0');
      std::vector<float> su(columns), sv(rows), q(rows * columns);
      for (float& v : su) v = (random.below(2) ? 1.0f : -1.0f) * (0.75f + 0.25f * static_cast<float>(random.below(3)));
      for (float& v : sv) v = (random.below(2) ? 1.0f : -1.0f) * (0.5f + 0.125f * static_cast<float>(random.below(5)));
      const float scale = 0.03125f * static_cast<float>(1 + random.below(3)), zero = 1.5f;
      for (uint64_t i = 0; i < rows * columns; ++i) {
        const auto code = static_cast<int>(random.below(4));
        codes[i / 4] = static_cast<char>(codes[i / 4] | code << (6 - 2 * (i % 4)));
        q[i] = scale * (static_cast<float>(code) - zero);
      }
      // Ŵ = diag(SV) H Q H diag(SU) with dense matrices.
      const auto h = [](uint64_t i, uint64_t j) {
        return i / 128 != j / 128 ? 0.0 : (__builtin_popcountll(i % 128 & j % 128) % 2 ? -1.0 : 1.0) / std::sqrt(128.0);
      };
      std::vector<double> left(rows * columns, 0);
      std::vector<float> w(rows * columns);
      for (uint64_t i = 0; i < rows; ++i)
        for (uint64_t k = i / 128 * 128; k < i / 128 * 128 + 128; ++k)
          for (uint64_t j = 0; j < columns; ++j) left[i * columns + j] += h(i, k) * q[k * columns + j];
      for (uint64_t i = 0; i < rows; ++i)
        for (uint64_t j = 0; j < columns; ++j) {
          double sum = 0;
          for (uint64_t k = j / 128 * 128; k < j / 128 * 128 + 128; ++k) sum += left[i * columns + k] * h(k, j);
          w[i * columns + j] = static_cast<float>(sum * sv[i] * su[j]);
        }
      dense[entry.name] = w;
      entries.push_back({entry.name, "U8", {rows, columns / 4}, codes});
      entries.push_back({name + ".SU", "F32", {columns}, f32(su)});
      entries.push_back({name + ".SV", "F32", {rows}, f32(sv)});
      entries.push_back({name + ".code_generator.codebook_scale", "F32", {}, f32({scale})});
      entries.push_back({name + ".code_generator.codebook_zero_point", "F32", {1}, f32({zero})});
    }
    test::write_file(path("lcqat") / "model.safetensors", test::safetensors_file(entries));
    return dense;
  }
  static test::TinyShape shape(const std::string& family) {
    test::TinyShape shape;
    shape.family = family;
    shape.hidden = shape.intermediate = 128;
    shape.head_dim = 32;
    shape.kv_heads = 4;
    return shape;
  }
};

TEST_F(Import, CodesStandForTheWeightsOfTheLayout) {
  const auto dense = write_lcqat(shape("qwen3"));
  const auto model = convert::open_model(path("lcqat"));
  ASSERT_NE(model->imported(convert::Slot::kDown, 1), nullptr);
  EXPECT_EQ(model->imported(convert::Slot::kEmbedding, -1), nullptr);
  const std::vector<float>& wanted = dense.at("model.layers.1.mlp.gate_proj.weight");
  std::vector<float> got(wanted.size());
  model->read(convert::Slot::kGate, 1, got);
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-5) << i;
}

TEST_F(Import, TheFileComputesWhatTheCheckpointDoes) {
  for (const char* family : {"llama", "qwen3"}) {
    write_lcqat(shape(family));
    const auto result = run(
        quick({"lcqat", "-o", "t.svq", "--json", "--force", "--embedding-bits", "16", "--export-dequantized", "out"}));
    const json all = summary(result);
    EXPECT_LT(std::abs(all["runtime"]["difference"].get<double>()), 1e-3) << family;
    EXPECT_EQ(all["bits_per_weight"].get<double>() > 2, true);
    svq_model* model = nullptr;
    ASSERT_EQ(svq_model_load(path("t.svq").c_str(), nullptr, &model), SVQ_OK) << svq_last_error();
    svq_model_info info{};
    svq_model_get_info(model, &info);
    EXPECT_STREQ(info.method, "lcqat");
    svq_session_params* settings = svq_session_params_create();
    svq_session_params_set(settings, SVQ_SESSION_ACTIVATIONS, 32);
    svq_session* session = nullptr;
    ASSERT_EQ(svq_session_create(model, settings, &session), SVQ_OK);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 24; ++i) tokens.push_back(i * 7);
    std::vector<float> logits(tokens.size() * info.vocab);
    ASSERT_EQ(svq_session_eval_logits(session, tokens.data(), tokens.size(), logits.data()), SVQ_OK);
    svq_session_params_free(settings);
    svq_session_free(session);
    svq_model_free(model);
    std::vector<int64_t> ids(tokens.begin(), tokens.end());
    const at::Tensor input = at::from_blob(ids.data(), {1, 24}, at::kLong);
    for (const char* source : {"lcqat", "out"}) {
      const at::Tensor wanted = convert::float_logits(*convert::open_model(path(source)), input).contiguous();
      double difference = 0, norm = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        difference += std::pow(double(logits[i]) - wanted.data_ptr<float>()[i], 2);
        norm += std::pow(double(logits[i]), 2);
      }
      EXPECT_LT(std::sqrt(difference / norm), 4e-3) << family << " " << source;
    }
    fs::remove_all(path("out"));
  }
}

TEST_F(Import, WhatDoesNotFitIsNamed) {
  write_lcqat(shape("llama"));
  const auto fails = [&](std::vector<std::string> arguments, const std::vector<std::string>& words) {
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 1);
    for (const auto& word : words) EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
  };
  fails({"lcqat", "-o", "t.svq", "--bits", "3"}, {"lcqat", "--bits", "imported"});
  fails({"lcqat", "-o", "t.svq", "--override", "blocks.0.q=4"}, {"blocks.0.q", "imported"});
  const std::string bytes = test::read_text(path("lcqat/model.safetensors"));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = bytes;
    for (size_t at = changed.find(from); at != std::string::npos; at = changed.find(from, at + to.size()))
      changed.replace(at, from.size(), to);
    std::ofstream(path("lcqat/model.safetensors"), std::ios::binary | std::ios::trunc) << changed;
  };
  with("layers.1.mlp.up_proj.SU", "layers.1.mlp.up_proj.XX");
  fails({"lcqat", "-o", "t.svq"}, {"model.layers.1.mlp.up_proj.SU", "missing"});
  with("code_generator", "xode_generator");
  fails({"lcqat", "-o", "t.svq"}, {"self_attn.k_proj"});
}

// A time limit is for the whole conversion, interrupted runs included.
TEST_F(Results, TheWorkDirectoryKeepsTheTimeOfEarlierRuns) {
  const nlohmann::ordered_json fingerprint{{"seed", 1}}, other{{"seed", 2}};
  const std::byte state{1};
  double earlier = 0;
  {
    const convert::WorkDirectory work(path("work"), fingerprint, false);
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    earlier = work.seconds_spent();
    EXPECT_GE(earlier, 0.04);
    work.save("tokens", {&state, 1});
  }
  {
    const convert::WorkDirectory work(path("work"), fingerprint, false);
    EXPECT_TRUE(work.resumed());
    EXPECT_GE(work.seconds_spent(), earlier);
  }
  const convert::WorkDirectory work(path("work"), other, true);
  EXPECT_FALSE(work.resumed());
  EXPECT_FALSE(work.contains("elapsed"));
}

}  // namespace
}  // namespace svq
