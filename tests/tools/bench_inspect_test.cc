#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <sstream>

#include "tests/tools/fixture.h"

namespace svq::test {
namespace {

const std::vector<std::string> kQuick = {"--prompt", "8", "--generate", "4", "--repeat", "2", "--read-size", "16"};

std::vector<std::string> quick(std::vector<std::string> more) {
  more.insert(more.end(), kQuick.begin(), kQuick.end());
  return more;
}

TEST(Bench, JsonFields) {
  const auto j = run_json("svqbench", quick({"--threads", "1,2", "--depth", "0,16", tiny_model(), "--json"}));
  EXPECT_EQ(j.at("device"), "cpu");
  for (const char* key : {"model", "isa", "file_bytes", "decode_bytes", "load_seconds", "session_bytes",
                          "peak_memory_bytes", "peak_memory_above_file_bytes", "context_length", "machine"})
    EXPECT_TRUE(j.contains(key)) << key;
  ASSERT_EQ(j.at("results").size(), 8u);  // two thread counts, two depths, prefill and decode
  std::vector<std::string> names;
  for (const auto& r : j.at("results")) {
    names.push_back(r.at("test"));
    EXPECT_GT(r.at("tokens_per_second"), 0);
    EXPECT_GE(r.at("stddev"), 0);
    EXPECT_EQ(r.at("samples").size(), 2u);
    EXPECT_GT(r.at("read_bytes_per_second"), 0);
    if (r.at("kind") == "decode") {
      EXPECT_NEAR(r.at("weight_bytes_per_second").get<double>(),
                  r.at("tokens_per_second").get<double>() * j.at("decode_bytes").get<double>(), 1);
      // The tiny model's cache: keys and values of every layer at 16 bits, of depth + (4 + 1) / 2 positions.
      const auto shape = run_json("svqinspect", {tiny_model(), "--json"}).at("architecture");
      const double vector = 2 * 2 * shape.at("n_kv_heads").get<double>() * shape.at("head_dim").get<double>();
      EXPECT_NEAR(r.at("kv_bytes_per_second").get<double>(),
                  r.at("tokens_per_second").get<double>() * shape.at("n_layers").get<double>() * vector *
                      (r.at("depth").get<double>() + 2.5),
                  1);
    } else {
      EXPECT_GT(r.at("first_token_seconds"), 0);
    }
  }
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + 4),
            (std::vector<std::string>{"pp8", "tg4", "pp8 @ 16", "tg4 @ 16"}));
}

TEST(Bench, SessionsAreDecodedTogether) {
  const auto j = run_json("svqbench", {tiny_model(), "--prompt", "0", "--generate", "4", "--batch", "1,3", "--depth",
                                       "2", "--repeat", "1", "--read-size", "16", "--json"});
  ASSERT_EQ(j.at("results").size(), 2u);
  EXPECT_EQ(j.at("results")[0].at("batch"), 1);
  EXPECT_EQ(j.at("results")[1].at("test"), "tg4 x3 @ 2");
  // Weights are read once for three tokens.
  EXPECT_NEAR(j.at("results")[1].at("weight_bytes_per_second").get<double>(),
              j.at("results")[1].at("tokens_per_second").get<double>() / 3 * j.at("decode_bytes").get<double>(), 1);
}

TEST(Bench, DecodeOnly) {
  const auto j = run_json(
      "svqbench", {tiny_model(), "--prompt", "0", "--generate", "4", "--repeat", "1", "--read-size", "16", "--json"});
  ASSERT_EQ(j.at("results").size(), 1u);
  EXPECT_EQ(j.at("results")[0].at("test"), "tg4");
  EXPECT_EQ(run("svqbench", {tiny_model(), "--prompt", "0", "--generate", "0"}).exit_code, 1);
}

TEST(Bench, ComparesWithAnEarlierReport) {
  auto earlier = run_json("svqbench", quick({tiny_model(), "--threads", "1", "--json"}));
  for (auto& r : earlier.at("results")) r["tokens_per_second"] = 12.5;
  const std::string path = ::testing::TempDir() + "earlier.json";
  std::ofstream(path) << earlier;
  const auto now = run_json("svqbench", quick({tiny_model(), "--threads", "1,2", "--json", "--compare", path}));
  for (const auto& r : now.at("results")) {
    EXPECT_EQ(r.value("earlier_tokens_per_second", 0.0), r.at("threads") == 1 ? 12.5 : 0.0) << r;
  }
  const Outcome table = run("svqbench", quick({tiny_model(), "--threads", "1", "--compare", path}));
  EXPECT_NE(table.out.find("12.50"), std::string::npos) << table.out;

  const Outcome other = run("svqbench", quick({tiny_model(), "--kv-bits", "8", "--compare", path}));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("kv_bits is 16, expected 8"), std::string::npos) << other.err;
  earlier.at("results")[1]["test"] = 5;
  std::ofstream(path) << earlier;
  const Outcome damaged = run("svqbench", quick({tiny_model(), "--threads", "1", "--compare", path}));
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_NE(damaged.err.find(path + ": results[1].test is 5, expected"), std::string::npos) << damaged.err;
  std::ofstream(path) << "[]";
  EXPECT_EQ(run("svqbench", quick({tiny_model(), "--compare", path})).exit_code, 1);
}

TEST(Bench, CsvHasOneLineATest) {
  for (const std::vector<std::string>& format : {std::vector<std::string>{"--csv"}, {"--format", "csv"}}) {
    std::vector<std::string> a = quick({tiny_model(), "--threads", "1"});
    a.insert(a.end(), format.begin(), format.end());
    const Outcome o = run("svqbench", a);
    EXPECT_EQ(o.exit_code, 0) << o.err;
    std::istringstream in(o.out);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    ASSERT_EQ(lines.size(), 3u) << o.out;
    for (const std::string& line : lines)
      EXPECT_EQ(std::count(line.begin(), line.end(), ','), std::count(lines[0].begin(), lines[0].end(), ','));
  }
}

TEST(Bench, Table) {
  const Outcome o = run("svqbench", quick({tiny_model()}));
  EXPECT_EQ(o.exit_code, 0) << o.err;
  for (const char* text : {"pp8", "tg4", "tok/s", "peak memory"})
    EXPECT_NE(o.out.find(text), std::string::npos) << o.out;
}

TEST(Bench, OptionsWithoutEffectAreRefused) {
  const auto refused = [](const std::vector<std::string>& arguments, int code, const std::string& mentions) {
    const Outcome o = run("svqbench", arguments);
    EXPECT_EQ(o.exit_code, code);
    EXPECT_NE(o.err.find(mentions), std::string::npos) << o.err;
    EXPECT_EQ(o.out, "");
  };
  refused({"smollm2-135m", "--device", "cuda"}, 1, "--device cuda: smollm2-135m is a shape");
  refused({tiny_model(), "--bits", "4"}, 2, "--bits: ");
  for (const char* option : {"--csv", "--compare", "--bits", "--prompt", "--device"}) {
    std::vector<std::string> a = {tiny_model(), "--manners", option};
    if (option != std::string("--csv")) a.push_back(option == std::string("--device") ? "auto" : "2");
    refused(a, 2, std::string(option).substr(2));
  }
}

TEST(Bench, MannersAsJson) {
  const auto j = run_json("svqbench", {tiny_model(), "--manners", "--threads", "1", "--json"});
  for (const char* key : {"prefill_seconds", "saved_bytes", "save_seconds", "restore_seconds", "fork_seconds",
                          "grammar_seconds", "eval_seconds_per_token", "draw_seconds_per_token"})
    EXPECT_GT(j.at(key), 0) << key;
  EXPECT_TRUE(j.at("cancels").is_array());
}

TEST(Bench, UnknownShapeListsTheShapes) {
  const Outcome o = run("svqbench", {"no-such-shape"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("smollm2-135m"), std::string::npos) << o.err;
}

TEST(Bench, Shape) {
  const auto j = run_json(
      "svqbench", {"smollm2-135m", "--prompt", "4", "--generate", "1", "--repeat", "1", "--read-size", "16", "--json"});
  EXPECT_TRUE(j.at("random_weights").get<bool>());
  EXPECT_NEAR(j.at("parameters").get<double>(), 134.5e6, 1e6);
}

TEST(Inspect, JsonFields) {
  const auto j = run_json("svqinspect", {tiny_model(), "--tensors", "--verify", "--histogram", "blocks.0.q", "--json"});
  EXPECT_EQ(j.at("name"), "tiny");
  EXPECT_EQ(j.at("architecture").at("hidden"), 64);
  EXPECT_EQ(j.at("chat").at("format"), "chatml");
  EXPECT_EQ(j.at("provenance").at("source_name"), "random numbers");
  EXPECT_EQ(j.at("verified"), true);
  uint64_t of_tensors = 0, of_parts = 0;
  for (const auto& t : j.at("tensors")) of_tensors += t.at("size").get<uint64_t>();
  for (const auto& [part, bytes] : j.at("sizes").at("bytes").items()) of_parts += bytes.get<uint64_t>();
  EXPECT_EQ(of_parts, of_tensors);
  const std::vector<uint64_t> counts = j.at("histogram").at("counts");
  ASSERT_EQ(counts.size(), 4u);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), uint64_t{0}), 64u * 64u);
  EXPECT_NEAR(j.at("histogram").at("entropy_bits"), 2, 0.01);  // the codes are uniform
}

TEST(Inspect, ListsOnlyOnRequest) {
  const auto j = run_json("svqinspect", {tiny_model(), "--json"});
  EXPECT_FALSE(j.contains("tensors"));
  EXPECT_FALSE(j.contains("verified"));
  const Outcome o = run("svqinspect", {tiny_model(), "--tensors"});
  EXPECT_EQ(o.exit_code, 0);
  for (const char* text : {"tiny: ", "chatml", "random numbers", "feed-forward", "blocks.1.down"})
    EXPECT_NE(o.out.find(text), std::string::npos) << text << "\n" << o.out;
}

TEST(Inspect, VerifyFindsDamage) {
  std::ifstream in(tiny_model(), std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  std::string bytes = content.str();
  bytes[bytes.size() - 8] ^= 1;  // the last tensor: the final norm
  const std::string path = write_file("damaged.svq", bytes);
  EXPECT_EQ(run("svqinspect", {path}).exit_code, 0);
  const Outcome o = run("svqinspect", {path, "--verify"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("damaged.svq"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("final_norm"), std::string::npos) << o.err;
}

TEST(Inspect, HistogramOfNothing) {
  const Outcome o = run("svqinspect", {tiny_model(), "--histogram", "blocks.9.q"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("blocks.9.q"), std::string::npos) << o.err;
}

}  // namespace
}  // namespace svq::test
