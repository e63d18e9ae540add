// Damaged files: thousands of random mutations of small valid ones, with a fixed seed. Each must give a model or an
// Error; never another exception, a crash, a hang or an allocation out of proportion. Meant to be run with
// -DSVQ_SANITIZE=address,undefined too. SVQ_TEST_MUTATIONS=N runs N times as many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "converter/base/error.h"
#include "converter/models/open_model.h"
#include "converter/sources/text.h"
#include "tests/sources/allocation_watch.h"
#include "tests/sources/scratch.h"
#include "tests/sources/tiny_hf.h"

namespace svq::convert {
namespace {

using nlohmann::json;
using test::Random;
using test::TinyShape;

// The files have at most 100 KB; the largest honest allocation is the tokenizer's scratch space.
constexpr size_t kAllocationLimit = 32 << 20;
constexpr double kSecondsLimit = 10;  // of CPU time for one file, sanitizers included

int rounds(int base) {
  const char* times = std::getenv("SVQ_TEST_MUTATIONS");
  return base * (times ? std::max(1, std::atoi(times)) : 1);
}

struct Outcome {
  int opened = 0, refused_at_open = 0, refused_at_read = 0;
  double slowest = 0;
};

// Opens and reads everything; counts what happened.
template <typename Open>
void attempt(Open open, Outcome& outcome) {
  const std::clock_t begin = std::clock();
  test::largest_allocation = 0;
  std::unique_ptr<Model> model;
  try {
    model = open();
  } catch (const Error& error) {
    ++outcome.refused_at_open;
    EXPECT_NE(std::string(error.what()), "");
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    EXPECT_TRUE(is_utf8(error.what())) << error.what();
  }
  if (model) {
    try {
      for (int layer = -1; layer < static_cast<int>(model->architecture().n_layers); ++layer) {
        for (int slot = 0; slot <= static_cast<int>(Slot::kDown); ++slot) {
          if (!model->has(static_cast<Slot>(slot), layer)) continue;
          const Shape shape = model->shape(static_cast<Slot>(slot), layer);
          std::vector<float> values(shape.rows * shape.columns);
          model->read(static_cast<Slot>(slot), layer, values);
        }
      }
      ++outcome.opened;
    } catch (const Error&) {
      ++outcome.refused_at_read;
    }
  }
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  outcome.slowest = std::max(outcome.slowest, seconds);
  ASSERT_LT(test::largest_allocation.load(), kAllocationLimit);
  ASSERT_LT(seconds, kSecondsLimit);
}

void report(const char* what, const Outcome& outcome) {
  std::printf("%s: %d files: %d opened, %d refused at opening, %d at reading; slowest %.0f ms\n", what,
              outcome.opened + outcome.refused_at_open + outcome.refused_at_read, outcome.opened,
              outcome.refused_at_open, outcome.refused_at_read, outcome.slowest * 1e3);
}

constexpr uint64_t kNumbers[] = {
    0,          1,          2,          3,          0x7F,       0x80,       0xFF,
    0x7FFF,     0x8000,     0xFFFF,     0x10000,    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
    1ull << 32, 1ull << 40, 1ull << 60, 1ull << 62, 1ull << 63, UINT64_MAX, UINT64_MAX - 31};

// One change, or up to four, within the first `reach` bytes (one in eight anywhere).
std::string mutate(std::string file, size_t reach, Random& random) {
  const auto changes = 1 + random.below(random.below(2) ? 4 : 1);
  for (uint64_t i = 0; i < changes && !file.empty(); ++i) {
    const size_t range = random.below(8) == 0 ? file.size() : std::min(reach, file.size());
    const size_t at = random.below(range);
    switch (random.below(7)) {
      case 0:
        file[at] = static_cast<char>(file[at] ^ (1 << random.below(8)));
        break;
      case 1:
        file[at] = static_cast<char>(random.next());
        break;
      case 2:
      case 3: {  // a number where one may stand
        const uint64_t number = random.below(4) ? kNumbers[random.below(std::size(kNumbers))] : random.next();
        const size_t width = random.below(2) ? 4 : 8;
        if (at + width <= file.size()) std::memcpy(file.data() + at, &number, width);
        break;
      }
      case 4:
        file.erase(at, 1 + random.below(16));
        break;
      case 5:
        file.insert(at, file.substr(random.below(file.size()), 1 + random.below(64)));
        break;
      case 6:
        if (random.below(4) == 0) file.resize(at);
        break;
    }
  }
  return file;
}

class HostileGguf : public testing::TestWithParam<const char*> {};

TEST_P(HostileGguf, Mutations) {
  const TinyShape shape{.family = GetParam(), .hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .kv_heads = 1};
  const auto writer = test::tiny_gguf(shape);
  const std::string base = writer.build();
  Random random(42);
  Outcome outcome;
  const int count = rounds(1500);
  for (int i = 0; i < count; ++i) {
    const std::string file = mutate(base, writer.head_size(), random);
    SCOPED_TRACE(i);
    attempt([&] { return open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf"); },
            outcome);
    if (HasFatalFailure()) return;
  }
  report(GetParam(), outcome);
  EXPECT_GT(outcome.opened, 0);
  EXPECT_GT(outcome.refused_at_open, count / 4);
}

INSTANTIATE_TEST_SUITE_P(Families, HostileGguf, testing::Values("llama", "qwen2", "qwen3"));

// Without the tokenizer, whose loading takes most of the time: more cases, aimed at the structure and the tensors.
TEST(HostileGgufStructure, Mutations) {
  auto writer = test::tiny_gguf({.hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .kv_heads = 1});
  std::erase_if(writer.keys, [](const auto& key) { return key.name.starts_with("tokenizer."); });
  const std::string base = writer.build();
  Random random(43);
  Outcome outcome;
  const int count = rounds(20000);
  for (int i = 0; i < count; ++i) {
    const std::string file = mutate(base, writer.head_size(), random);
    SCOPED_TRACE(i);
    attempt([&] { return open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf"); },
            outcome);
    if (HasFatalFailure()) return;
  }
  report("structure", outcome);
  EXPECT_GT(outcome.opened, 0);
}

// Every block type with random bytes: any value is finite or refused at reading.
TEST(HostileGgufBlocks, RandomBytes) {
  struct {
    uint32_t id, elements, bytes;
  } const types[] = {{0, 1, 4},      {1, 1, 2},      {2, 32, 18},   {3, 32, 20},    {6, 32, 22},
                     {7, 32, 24},    {8, 32, 34},    {10, 256, 84}, {11, 256, 110}, {12, 256, 144},
                     {13, 256, 176}, {14, 256, 210}, {20, 32, 18},  {28, 1, 8},     {30, 1, 2}};
  const TinyShape shape{.hidden = 256, .intermediate = 256, .layers = 1, .heads = 4, .kv_heads = 2, .head_dim = 64};
  auto writer = test::tiny_gguf(shape);
  std::erase_if(writer.keys, [](const auto& key) { return key.name.starts_with("tokenizer."); });
  Random random(44);
  Outcome outcome;
  for (const auto& type : types) {
    for (int i = 0; i < rounds(4); ++i) {
      for (auto& tensor : writer.tensors) {
        if (tensor.dims.size() != 2) continue;
        tensor.type = type.id;
        tensor.data.resize(tensor.dims[0] / type.elements * tensor.dims[1] * type.bytes);
        // Every other file without the top exponent of any float type: all of its values are finite.
        const uint64_t mask = i % 2 ? 0x7B : 0xFF;
        for (char& byte : tensor.data) byte = static_cast<char>(random.next() & mask);
      }
      const std::string file = writer.build();
      attempt([&] { return open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf"); },
              outcome);
      if (HasFatalFailure()) return;
    }
  }
  report("blocks", outcome);
  EXPECT_EQ(outcome.refused_at_open, 0);
  EXPECT_GT(outcome.opened, 0);
}

// ------------------------------------------------------------------------------------------------ Hugging Face
// directories

json random_value(Random& random) {
  switch (random.below(12)) {
    case 0:
      return nullptr;
    case 1:
      return true;
    case 2:
      return "";
    case 3:
      return "\xC3\xA9 llama";
    case 4:
      return json::array();
    case 5:
      return json::object();
    case 6:
      return -1;
    case 7:
      return 1e308;
    case 8:
      return kNumbers[random.below(std::size(kNumbers))];
    case 9:
      return std::string(5000, 'x');
    case 10:
      return json::array({1, "a", nullptr});
    default:
      return random.below(300);
  }
}

// Replaces, removes or adds one value somewhere in the tree.
void mutate_tree(json& tree, Random& random) {
  json* node = &tree;
  while (node->is_structured() && !node->empty() && random.below(6) != 0) {
    auto child = node->begin();
    std::advance(child, static_cast<std::ptrdiff_t>(random.below(node->size())));
    const auto action = random.below(24);
    if (action == 0) {
      node->erase(child);
      return;
    }
    if (action == 1 && node->is_object()) {
      (*node)[std::string(1, static_cast<char>('a' + random.below(26)))] = random_value(random);
      return;
    }
    node = &*child;
  }
  *node = random_value(random);
}

class HostileDirectory : public testing::TestWithParam<const char*> {};

TEST_P(HostileDirectory, Mutations) {
  const test::ScratchDirectory scratch;
  const TinyShape shape{.family = "qwen3", .hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .kv_heads = 1};
  const bool sharded = std::string(GetParam()) == "model.safetensors.index.json";
  test::write_tiny_hf(scratch.path(), shape, test::TinyType::kBF16, sharded ? 2 : 1);
  const auto path = scratch / GetParam();
  std::string base(std::filesystem::file_size(path), '\0');
  std::ifstream(path, std::ios::binary).read(base.data(), static_cast<std::streamsize>(base.size()));
  const bool weights = path.extension() == ".safetensors";
  // The part that is JSON.
  const size_t begin = weights ? 8 : 0;
  uint64_t json_size = base.size();
  if (weights) std::memcpy(&json_size, base.data(), 8);
  const json tree = json::parse(base.substr(begin, json_size));

  Random random(45);
  Outcome outcome;
  const int count = rounds(700);
  for (int i = 0; i < count; ++i) {
    std::string file;
    if (i % 3 == 0) {
      file = mutate(base, begin + json_size, random);
    } else {
      json changed = tree;
      for (uint64_t n = 1 + random.below(3); n > 0; --n) mutate_tree(changed, random);
      const std::string text = changed.dump(-1, ' ', false, json::error_handler_t::replace);
      file = weights ? test::safetensors_file(text, base.substr(begin + json_size)) : text;
    }
    test::write_file(path, file);
    SCOPED_TRACE(i);
    attempt([&] { return open_model(scratch.path()); }, outcome);
    if (HasFatalFailure()) return;
  }
  report(GetParam(), outcome);
  EXPECT_GT(outcome.opened + outcome.refused_at_open, 0);
}

INSTANTIATE_TEST_SUITE_P(Files, HostileDirectory,
                         testing::Values("config.json", "model.safetensors", "model.safetensors.index.json",
                                         "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(HostileDirectory, NestedJsonAndWrongKinds) {
  const test::ScratchDirectory scratch;
  const TinyShape shape{.hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .kv_heads = 1};
  Outcome outcome;
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    for (const std::string& content :
         {std::string(2000000, '['), std::string(2000000, '{'), std::string("\0\0", 2), std::string("\xEF\xBB\xBF{}"),
          std::string("3"), std::string("\"x\""), std::string(),
          std::string("{\"a\":") + std::string(300000, '[') + std::string(300000, ']') + "}",
          std::string("{\"\\ud800\": 1}"), std::string(100000, '9')}) {
      test::write_tiny_hf(scratch.path(), shape);
      test::write_file(scratch / name, content);
      SCOPED_TRACE(name);
      attempt([&] { return open_model(scratch.path()); }, outcome);
    }
  }
  // A directory, and a link to nothing, where a file should be.
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    test::write_tiny_hf(scratch.path(), shape);
    std::filesystem::remove(scratch / name);
    std::filesystem::create_directory(scratch / name);
    attempt([&] { return open_model(scratch.path()); }, outcome);
    std::filesystem::remove(scratch / name);
    std::filesystem::create_symlink("nowhere", scratch / name);
    attempt([&] { return open_model(scratch.path()); }, outcome);
    std::filesystem::remove(scratch / name);
  }
  report("wrong kinds", outcome);
}

}  // namespace
}  // namespace svq::convert
