// The same random model as GGUF and as a Hugging Face directory, in every family: equal to what was written, slot by
// slot.
#include <gtest/gtest.h>

#include <thread>

#include "converter/base/error.h"
#include "converter/models/model.h"
#include "converter/models/open_model.h"
#include "tests/sources/scratch.h"
#include "tests/sources/tiny_hf.h"

namespace svq::convert {
namespace {

using test::TinyShape;
using test::TinyType;

void expect_equals_written(const Model& model, const TinyShape& shape) {
  size_t present = 0;
  for (const auto& tensor : test::tiny_tensors(shape)) {
    ++present;
    ASSERT_TRUE(model.has(tensor.slot, tensor.layer)) << tensor.hf;
    const Shape size = model.shape(tensor.slot, tensor.layer);
    EXPECT_EQ(size.rows, std::max<uint64_t>(tensor.rows, 1)) << tensor.hf;
    EXPECT_EQ(size.columns, tensor.columns) << tensor.hf;
    std::vector<float> values(tensor.values.size());
    model.read(tensor.slot, tensor.layer, values);
    EXPECT_EQ(values, tensor.values) << tensor.hf;
    if (tensor.rows >= 3) {
      std::vector<float> rows(2 * tensor.columns);
      model.read_rows(tensor.slot, tensor.layer, 1, 3, rows);
      const auto begin = tensor.values.begin() + static_cast<std::ptrdiff_t>(tensor.columns);
      EXPECT_TRUE(std::equal(rows.begin(), rows.end(), begin)) << tensor.hf;
    }
  }
  size_t claimed = 0;
  for (int layer = -1; layer <= static_cast<int>(shape.layers); ++layer) {
    for (int slot = 0; slot <= static_cast<int>(Slot::kDown); ++slot)
      claimed += model.has(static_cast<Slot>(slot), layer);
  }
  EXPECT_EQ(claimed, present);
}

struct Case {
  const char* family;
  TinyType type;
  bool tied;
};
class Families : public testing::TestWithParam<Case> {
 protected:
  TinyShape shape() const {
    TinyShape shape;
    shape.family = GetParam().family;
    shape.tied = GetParam().tied;
    if (shape.family == "qwen3") shape.head_dim = 32;  // heads · head_dim ≠ hidden
    return shape;
  }
  void expect_architecture(const Model& model) const {
    const TinyShape s = shape();
    const auto& a = model.architecture();
    EXPECT_EQ(a.hidden, s.hidden);
    EXPECT_EQ(a.intermediate, s.intermediate);
    EXPECT_EQ(a.n_layers, s.layers);
    EXPECT_EQ(a.n_heads, s.heads);
    EXPECT_EQ(a.n_kv_heads, s.kv_heads);
    EXPECT_EQ(a.head_dim, s.head_dim);
    EXPECT_EQ(a.vocab, test::tiny_vocab().tokens.size());
    EXPECT_EQ(a.context_length, s.context);
    EXPECT_EQ(a.sliding_window, 0u);
    EXPECT_FLOAT_EQ(a.norm_eps, 1e-5f);
    EXPECT_EQ(a.rope_inv_freq.size(), s.head_dim / 2);
    EXPECT_EQ(model.tied(), s.tied);
    ASSERT_TRUE(model.tokenizer());
    EXPECT_EQ(model.tokenizer()->kind, fb::TokenizerKind::Bpe);
    EXPECT_EQ(model.chat().format, fb::ChatFormat::ChatML);
  }
};

TEST_P(Families, Gguf) {
  const test::ScratchDirectory scratch;
  test::write_file(scratch / "tiny.gguf", test::tiny_gguf(shape(), GetParam().type).build());
  const auto model = open_model(scratch / "tiny.gguf");
  expect_architecture(*model);
  expect_equals_written(*model, shape());
  EXPECT_EQ(model->name(), "Tiny " + shape().family);
  EXPECT_EQ(model->source_name(), "tiny.gguf");
  static const char* const kNames[] = {"F32", "F16", "BF16"};
  EXPECT_EQ(model->source_format(), std::string("GGUF v3 ") + kNames[static_cast<int>(GetParam().type)]);
  EXPECT_EQ(model->source_hash(), open_model(scratch / "tiny.gguf")->source_hash());
  EXPECT_EQ(model->source_bytes(), std::filesystem::file_size(scratch / "tiny.gguf"));
}

TEST_P(Families, HuggingFace) {
  for (int shards : {1, 3}) {
    const test::ScratchDirectory scratch;
    test::write_tiny_hf(scratch / "model", shape(), GetParam().type, shards);
    const auto model = open_model(scratch / "model/");
    expect_architecture(*model);
    expect_equals_written(*model, shape());
    EXPECT_EQ(model->architecture().family, shape().family);
    EXPECT_EQ(model->source_name(), "model");
    EXPECT_FLOAT_EQ(model->generation().temperature, 0.7f);
    EXPECT_EQ(model->generation().top_k, 20);
  }
}

TEST_P(Families, BothSourcesGiveOneModel) {
  const test::ScratchDirectory scratch;
  test::write_file(scratch / "tiny.gguf", test::tiny_gguf(shape(), TinyType::kF32).build());
  test::write_tiny_hf(scratch / "model", shape(), TinyType::kF32);
  const auto a = open_model(scratch / "tiny.gguf"), b = open_model(scratch / "model");
  EXPECT_EQ(a->architecture().rope_inv_freq, b->architecture().rope_inv_freq);
  EXPECT_EQ(a->tokenizer()->token_bytes, b->tokenizer()->token_bytes);
  EXPECT_EQ(a->tokenizer()->merge_results, b->tokenizer()->merge_results);
  EXPECT_EQ(a->tokenizer()->eos, b->tokenizer()->eos);
}

INSTANTIATE_TEST_SUITE_P(All, Families,
                         testing::Values(Case{"llama", TinyType::kF16, true}, Case{"llama", TinyType::kF32, false},
                                         Case{"mistral", TinyType::kBF16, false}, Case{"qwen2", TinyType::kF16, true},
                                         Case{"qwen3", TinyType::kBF16, true}, Case{"qwen3", TinyType::kF32, false}),
                         [](const auto& param_info) {
                           return std::string(param_info.param.family) + (param_info.param.tied ? "Tied" : "") +
                                  std::to_string(static_cast<int>(param_info.param.type));
                         });

TEST(Models, HeadIsTakenOrTiedAsTheConfigurationSays) {
  TinyShape shape;
  const auto opened = [&](bool head_present, nlohmann::json tie) {
    const test::ScratchDirectory scratch;
    shape.tied = !head_present;
    test::write_tiny_hf(scratch.path(), shape);
    auto config = test::tiny_config(shape);
    config["tie_word_embeddings"] = tie;
    if (tie.is_null()) config.erase("tie_word_embeddings");
    test::write_file(scratch / "config.json", config.dump());
    return open_model(scratch.path())->tied();
  };
  EXPECT_TRUE(opened(false, true));
  EXPECT_TRUE(opened(false, nullptr));
  EXPECT_TRUE(opened(true, true));  // a copy, as transformers ties it
  EXPECT_FALSE(opened(true, false));
  EXPECT_FALSE(opened(true, nullptr));
  EXPECT_SAYS(test::message_of<Error>([&] { opened(false, false); }),
              "\"lm_head.weight\" is missing, and \"tie_word_embeddings\" is false");
}

TEST(Models, OneMatrixAtTwoPrecisionsIsTakenOnceFromTheBetter) {
  TinyShape shape;
  shape.family = "qwen2";
  shape.tied = false;
  const auto opened = [&](float noise, bool head_is_better) {
    const test::ScratchDirectory scratch;
    auto writer = test::tiny_gguf(shape, test::TinyType::kF16);
    auto* embedding = writer.tensor("token_embd.weight");
    auto* head = writer.tensor("output.weight");
    EXPECT_TRUE(embedding && head);
    std::vector<float> values;
    for (const auto& tensor : test::tiny_tensors(shape)) {
      if (tensor.gguf == embedding->name) values = tensor.values;
    }
    // What the better copy holds, in f32, and the same with noise, in f16.
    std::vector<float> rough = values;
    for (size_t i = 0; i < rough.size(); ++i) rough[i] *= i % 2 ? 1 + noise : 1 - noise;
    const auto set = [](auto* tensor, const std::vector<float>& v, test::TinyType type) {
      tensor->data = test::encode_values(v, type);
      tensor->type = test::gguf_type_number(type);
    };
    set(head_is_better ? head : embedding, values, test::TinyType::kF32);
    set(head_is_better ? embedding : head, rough, test::TinyType::kF16);
    test::write_file(scratch / "t.gguf", writer.build());
    auto model = open_model(scratch / "t.gguf");
    std::vector<float> read(values.size());
    if (model->tied()) {
      model->read(Slot::kEmbedding, -1, read);
      EXPECT_EQ(read, values);
      EXPECT_FALSE(model->has(Slot::kHead, -1));
      EXPECT_EQ(model->warnings().size(), 1u);
      EXPECT_SAYS(model->warnings().at(0), "hold one matrix");
    }
    return model->tied();
  };
  EXPECT_TRUE(opened(0.1f, true));
  EXPECT_TRUE(opened(0.1f, false));
  EXPECT_FALSE(opened(0.9f, true));  // too far apart to be one matrix
  const test::ScratchDirectory scratch;
  test::write_file(scratch / "t.gguf", test::tiny_gguf(shape).build());
  EXPECT_FALSE(open_model(scratch / "t.gguf")->tied());  // independent matrices
}

TEST(Models, OptionalBiasesAreEverywhereOrNowhere) {
  TinyShape shape;
  const auto base = test::tiny_gguf(shape);
  const auto bias = [&](int layer, const char* which, uint32_t size) {
    std::vector<float> values(size);
    for (uint32_t i = 0; i < size; ++i) values[i] = static_cast<float>(i);
    return test::GgufWriter::Tensor{
        "blk." + std::to_string(layer) + "." + which, {size}, 0, test::encode_values(values, TinyType::kF32)};
  };
  const auto opened = [&](const test::GgufWriter& writer) {
    static std::vector<std::string> keep;  // mapped bytes outlive the model
    keep.push_back(writer.build());
    return open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(keep.back()))), "x.gguf");
  };
  auto writer = base;
  for (int layer = 0; layer < 2; ++layer) writer.tensors.push_back(bias(layer, "attn_q.bias", 64));
  const auto model = opened(writer);
  std::vector<float> values(64);
  model->read(Slot::kQBias, 1, values);
  // Head 0: interleaved 0 1 2 3 … becomes 0 2 4 … 1 3 5 ….
  EXPECT_EQ(values[1], 2.0f);
  EXPECT_EQ(values[8], 1.0f);
  EXPECT_EQ(values[17], 18.0f);
  writer = base;
  writer.tensors.push_back(bias(1, "attn_q.bias", 64));
  EXPECT_SAYS(test::message_of<Error>([&] { opened(writer); }), "\"blk.1.attn_q.bias\" has no counterpart in layer 0");
  writer = base;
  writer.tensors.push_back(bias(0, "attn_q.bias", 64));
  EXPECT_SAYS(test::message_of<Error>([&] { opened(writer); }), "\"blk.1.attn_q.bias\" is missing");
}

TEST(Models, ReadRefusesNanAndInfinityByNameAndIndex) {
  TinyShape shape;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto writer = test::tiny_gguf(shape, TinyType::kF32);
    std::memcpy(writer.tensor("blk.1.ffn_up.weight")->data.data() + 4 * 1000, &bad, 4);
    const std::string file = writer.build();
    const auto model = open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf");
    std::vector<float> values(128 * 64);
    model->read(Slot::kUp, 0, values);
    EXPECT_SAYS(
        test::message_of<Error>([&] { model->read(Slot::kUp, 1, values); }),
        "tensor \"blk.1.ffn_up.weight\" holds a value that is not a finite number (NaN or infinity) at index 1000");
    std::vector<float> row(64);
    model->read_rows(Slot::kUp, 1, 14, 15, row);  // the bad value is in row 15
    EXPECT_SAYS(test::message_of<Error>([&] { model->read_rows(Slot::kUp, 1, 15, 16, row); }), "at index 1000");
  }
}

TEST(Models, ReadsFromSeveralThreads) {
  TinyShape shape;
  const std::string file = test::tiny_gguf(shape).build();
  const auto model = open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf");
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        for (const auto& tensor : test::tiny_tensors({.layers = 1})) {
          std::vector<float> values(tensor.values.size());
          model->read(tensor.slot, tensor.layer, values);
          if (tensor.slot == Slot::kQ && values != tensor.values) ++failures;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(Models, WrongBufferIsRefused) {
  const std::string file = test::tiny_gguf({}).build();
  const auto model = open_gguf(std::make_unique<GgufFile>("x.gguf", std::as_bytes(std::span(file))), "x.gguf");
  std::vector<float> values(5);
  EXPECT_THROW(model->read(Slot::kQ, 0, values), Error);
  EXPECT_THROW(model->read_rows(Slot::kQ, 0, 1000, 1001, values), Error);
  EXPECT_THROW(model->read(Slot::kQ, 99, values), Error);
  EXPECT_THROW(model->shape(Slot::kHead, -1), Error);
}

TEST(Models, OpenModelNamesWhatItWasGiven) {
  const test::ScratchDirectory scratch;
  const auto says = [](const std::filesystem::path& path) {
    return test::message_of<Error>([&] { open_model(path); });
  };
  EXPECT_SAYS(says(scratch / "none"), "none: does not exist");
  EXPECT_SAYS(says(scratch.path()), "holds no config.json");
  test::write_file(scratch / "model.safetensors", "x");
  EXPECT_SAYS(says(scratch / "model.safetensors"), "give the directory that holds it");
  test::write_file(scratch / "x.bin", "PK");
  EXPECT_SAYS(says(scratch / "x.bin"), "is not a GGUF file");
}

}  // namespace
}  // namespace svq::convert
