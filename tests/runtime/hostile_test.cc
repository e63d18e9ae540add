// Files that lie. Whatever the bytes are, loading gives an Error of one sentence that names the file, or a model that
// runs without touching anything outside its bytes (the address sanitizer watches; the file ends where a heap block
// ends).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>

#include "runtime/model/describe.h"
#include "tests/runtime/helpers.h"

namespace svq::test {
namespace {

// How often the random tests try. SVQ_TEST_EFFORT=20 makes them twenty times as thorough.
int rounds(int base) {
  const char* effort = std::getenv("SVQ_TEST_EFFORT");
  return base * std::clamp(effort == nullptr ? 1 : std::atoi(effort), 1, 10000);
}

// What was tried, told at the end.
class Count : public testing::Environment {
 public:
  static inline int ran = 0, refused = 0;
  void TearDown() override {
    std::printf("%d damaged or lying files: %d refused, %d ran\n", ran + refused, refused, ran);
  }
};
const auto* const kCount = testing::AddGlobalTestEnvironment(new Count);

struct Outcome {
  bool ran = false;
  svq_status status = SVQ_OK;
  std::string message;
};

// Loads, evaluates, samples, describes; text in and out.
Outcome attempt(std::span<const uint8_t> bytes) {
  PageBytes copy(bytes);
  Outcome out;
  out.status = status_of(
      [&] {
        const auto model = std::make_shared<const rt::Model>(rt::ModelFile::view(copy.span(), "hostile.svq"));
        out.ran = true;
        (void)rt::describe(*model, true);
        (void)status_of([&] { rt::verify_checksums(model->file()); });
        if (const rt::Tokenizer* t = model->tokenizer())
          (void)t->decode(t->encode("the thing <|im_end|> \xff", true, true), true);
        // Sessions of outsized dimensions are the business of the memory limit, not of this test.
        if (rt::session_bytes(model->weights(), model->kernels(), {.context = 8, .threads = 1, .chunk = 4}) >
            (64u << 20))
          return;
        for (const uint32_t kv_bits : {16u, 8u}) {
          rt::Session session(model, {.context = 8, .threads = 1, .kv_bits = kv_bits, .chunk = 4});
          const auto vocab = static_cast<int32_t>(model->weights().config.vocab);
          const std::vector<int32_t> tokens{0, vocab / 2, vocab - 1, 1 % vocab, 2 % vocab};
          session.eval(tokens, nullptr);
          (void)status_of([&] { (void)session.sample(); });
        }
      },
      &out.message);
  ++(out.ran ? Count::ran : Count::refused);
  if (out.status != SVQ_OK) {
    EXPECT_EQ(out.message.find("hostile.svq: "), out.ran ? std::string::npos : 0u) << out.message;
    EXPECT_EQ(out.message.find('\n'), std::string::npos) << out.message;
  }
  return out;
}

TinyOptions rich_options() { return {.bits = 0, .tied = false, .biases = true, .qk_norms = true, .side_paths = true}; }

TEST(Hostile, TheUntouchedFileRuns) {
  const Outcome out = attempt(file_bytes(make_tiny(rich_options())));
  EXPECT_TRUE(out.ran);
  EXPECT_EQ(out.status, SVQ_OK) << out.message;
}

TEST(Hostile, EveryHeaderField) {
  const auto good = file_bytes(make_tiny());
  const uint64_t size = good.size();
  const std::vector<uint64_t> values{0,
                                     1,
                                     7,
                                     8,
                                     63,
                                     64,
                                     65,
                                     4095,
                                     4096,
                                     8192,
                                     size - 4096,
                                     size - 1,
                                     size,
                                     size + 1,
                                     size + 4096,
                                     uint64_t{1} << 31,
                                     uint64_t{1} << 32,
                                     uint64_t{1} << 63,
                                     ~uint64_t{0},
                                     ~uint64_t{0} - 63,
                                     ~uint64_t{4095}};
  struct Field {
    size_t offset, width;
  };
  for (const Field field : {Field{0, 4}, Field{4, 2}, Field{6, 2}, Field{8, 8}, Field{16, 8}, Field{24, 8},
                            Field{32, 8}, Field{40, 8}, Field{48, 8}, Field{56, 8}}) {
    for (const uint64_t value : values) {
      for (const bool repair : {false, true}) {
        auto bytes = good;
        std::memcpy(bytes.data() + field.offset, &value, field.width);
        if (repair) {
          const uint64_t checksum = XXH3_64bits(bytes.data(), offsetof(format::Header, header_checksum));
          std::memcpy(bytes.data() + offsetof(format::Header, header_checksum), &checksum, 8);
        }
        const bool same = bytes == good;
        const Outcome out = attempt(bytes);
        if (same) {
          EXPECT_TRUE(out.ran);
        } else if (!repair) {
          EXPECT_FALSE(out.ran) << "field at " << field.offset << " = " << value;
        } else if (field.offset != 6 && field.offset != 48 &&
                   field.offset != 56) {  // minor, reserved and the repaired checksum itself
          EXPECT_FALSE(out.ran) << "field at " << field.offset << " = " << value;
        }
      }
    }
  }
}

TEST(Hostile, ANewerMajorVersionIsRefusedAndANewerMinorOneAccepted) {
  auto bytes = file_bytes(make_tiny());
  const auto with = [&](uint16_t major, uint16_t minor) {
    std::memcpy(bytes.data() + 4, &major, 2);
    std::memcpy(bytes.data() + 6, &minor, 2);
    const uint64_t checksum = XXH3_64bits(bytes.data(), 56);
    std::memcpy(bytes.data() + 56, &checksum, 8);
    return attempt(bytes);
  };
  EXPECT_EQ(with(2, 0).status, SVQ_ERROR_VERSION);
  EXPECT_TRUE(with(1, 9).ran);
}

TEST(Hostile, TruncationAtEvery64Bytes) {
  const auto good = file_bytes(make_tiny(rich_options()));
  for (size_t n = 0; n < good.size(); n += 64) {
    const Outcome out = attempt(std::span(good).first(n));
    EXPECT_EQ(out.status, SVQ_ERROR_FORMAT) << n << ": " << out.message;
  }
  auto longer = good;
  longer.push_back(0);
  EXPECT_EQ(attempt(longer).status, SVQ_ERROR_FORMAT);
}

TEST(Hostile, TruncatedMetadataWithRightChecksums) {
  const TinyModel tiny = make_tiny();
  const auto metadata = metadata_bytes(tiny.meta);
  for (size_t n = 0; n < metadata.size(); n += n < 256 ? 1 : 64) {
    EXPECT_FALSE(attempt(container(std::span(metadata).first(n), tiny.data)).ran) << n;
  }
}

TEST(Hostile, TruncatedDataSectionWithRightChecksums) {
  const TinyModel tiny = make_tiny();
  const auto metadata = metadata_bytes(tiny.meta);
  for (size_t n = 0; n < tiny.data.size(); n += 256) {
    EXPECT_EQ(attempt(container(metadata, std::span(tiny.data).first(n))).status, SVQ_ERROR_FORMAT) << n;
  }
}

class RandomBytes : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RandomBytes, testing::Range(0u, 10u));

TEST_P(RandomBytes, InTheMetadata) {
  std::mt19937 rng(GetParam());
  const TinyModel tiny =
      make_tiny(GetParam() % 2 == 0 ? rich_options() : TinyOptions{.tokenizer = GetParam() % 4 == 1});
  const auto good = metadata_bytes(tiny.meta);
  int ran = 0, refused = 0;
  for (int i = 0; i < rounds(300); ++i) {
    auto metadata = good;
    const uint32_t flips = 1 + rng() % 6;
    for (uint32_t f = 0; f < flips; ++f) {
      const size_t at = rng() % metadata.size();
      switch (rng() % 4) {
        case 0:
          metadata[at] = static_cast<uint8_t>(rng());
          break;
        case 1:
          metadata[at] ^= static_cast<uint8_t>(1u << rng() % 8);
          break;
        case 2:
          metadata[at] = 0xFF;
          break;
        default: {  // a whole aligned number
          const uint32_t value = rng() % 2 ? static_cast<uint32_t>(rng()) : uint32_t{0} - rng() % 64;
          std::memcpy(metadata.data() + std::min(at / 4 * 4, metadata.size() - 4), &value, 4);
        }
      }
    }
    ++(attempt(container(metadata, tiny.data)).ran ? ran : refused);
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(ran, 0);  // flips in names, scores and the like do no harm
}

TEST_P(RandomBytes, InTheDataSection) {
  std::mt19937 rng(GetParam() + 100);
  TinyModel tiny = make_tiny({.bits = 0, .biases = true, .qk_norms = true, .side_paths = true});
  const auto metadata = metadata_bytes(tiny.meta);
  const bool everything = GetParam() < 3;
  for (int i = 0; i < rounds(5); ++i) {
    for (uint8_t& b : tiny.data) {
      if (everything || rng() % 64 == 0) b = static_cast<uint8_t>(rng());
    }
    EXPECT_TRUE(attempt(container(metadata, tiny.data)).ran);  // infinities and NaN go through to the logits
  }
}

struct Edit {
  const char* name;
  std::function<void(fb::ModelT&)> apply;
  const char* expected;  // part of the sentence
};
void PrintTo(const Edit& e, std::ostream* out) { *out << e.name; }

std::vector<Edit> edits() {
  using M = fb::ModelT;
  constexpr uint32_t kHuge = 1u << 31;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  return {
      {"HiddenZero", [](M& m) { m.architecture->hidden = 0; }, "architecture.hidden"},
      {"HiddenHuge", [](M& m) { m.architecture->hidden = kHuge; }, "architecture.hidden"},
      {"HiddenOff", [](M& m) { m.architecture->hidden += 16; }, "embedding is 272 x 64, expected 272 x 80"},
      {"IntermediateHuge", [](M& m) { m.architecture->intermediate = ~0u; }, "architecture.intermediate"},
      {"IntermediateOff", [](M& m) { m.architecture->intermediate = 95; }, "blocks.0.gate is 96 x 64, expected 95"},
      {"LayersHuge", [](M& m) { m.architecture->n_layers = kHuge; }, "architecture.n_layers is 2147483648"},
      {"LayersMore", [](M& m) { m.architecture->n_layers = 3; }, "blocks has 2 entries"},
      {"LayersZero",
       [](M& m) {
         m.architecture->n_layers = 0;
         m.blocks.clear();
       },
       "architecture.n_layers"},
      {"HeadsZero", [](M& m) { m.architecture->n_heads = 0; }, "architecture.n_heads"},
      {"HeadsHuge", [](M& m) { m.architecture->n_heads = kHuge; }, "architecture.n_heads"},
      {"KvHeadsZero", [](M& m) { m.architecture->n_kv_heads = 0; }, "architecture.n_kv_heads"},
      {"KvHeadsNoDivisor", [](M& m) { m.architecture->n_kv_heads = 3; }, "n_kv_heads is 3, expected a divisor"},
      {"KvHeadsMoreThanHeads", [](M& m) { m.architecture->n_kv_heads = 8; }, "architecture.n_kv_heads"},
      {"HeadDimOdd", [](M& m) { m.architecture->head_dim = 15; },
       "architecture.head_dim is 15, expected an even number"},
      {"HeadDimHuge", [](M& m) { m.architecture->head_dim = kHuge; }, "architecture.head_dim"},
      {"VocabHuge", [](M& m) { m.architecture->vocab = ~0u; }, "architecture.vocab"},
      {"VocabOff", [](M& m) { m.architecture->vocab = 271; }, "embedding is 272 x 64"},
      {"ContextZero", [](M& m) { m.architecture->context_length = 0; }, "architecture.context_length"},
      {"ContextHuge", [](M& m) { m.architecture->context_length = ~0u; }, "architecture.context_length"},
      {"EpsNaN", [=](M& m) { m.architecture->norm_eps = nan; }, "architecture.norm_eps"},
      {"EpsNegative", [](M& m) { m.architecture->norm_eps = -1; }, "architecture.norm_eps"},
      {"EpsInfinite", [=](M& m) { m.architecture->norm_eps = inf; }, "architecture.norm_eps"},
      {"ActivationUnknown", [](M& m) { m.architecture->activation = static_cast<fb::Activation>(9); },
       "architecture.activation"},
      {"RopeShort", [](M& m) { m.architecture->rope_inv_freq.pop_back(); }, "architecture.rope_inv_freq has 7 values"},
      {"RopeNaN", [=](M& m) { m.architecture->rope_inv_freq[3] = nan; }, "architecture.rope_inv_freq"},
      {"RopeHuge", [](M& m) { m.architecture->rope_inv_freq[0] = 1e30f; }, "architecture.rope_inv_freq"},
      {"RopeFactorNaN", [=](M& m) { m.architecture->rope_attention_factor = nan; }, "rope_attention_factor"},
      {"BlocksMissing", [](M& m) { m.blocks.pop_back(); }, "blocks has 1 entries, expected architecture.n_layers = 2"},
      {"BitsUnknown", [](M& m) { m.blocks[0]->q->bits = 9; }, "blocks.0.q.bits is 9"},
      {"BitsLie", [](M& m) { m.blocks[0]->q->bits = 4; }, "blocks.0.q.weight has size"},
      {"BitsSixteenOfCodes", [](M& m) { m.blocks[0]->q->bits = 16; }, "blocks.0.q.weight has dtype 2, expected F16"},
      {"RowsLie", [](M& m) { m.blocks[1]->down->rows = 128; }, "blocks.1.down is 128 x 96"},
      {"ColumnsLie", [](M& m) { m.blocks[1]->down->columns = 64; }, "blocks.1.down is 64 x 64"},
      {"WeightDtype", [](M& m) { m.blocks[0]->k->weight->dtype = fb::DType::F16; },
       "blocks.0.k.weight has dtype 1, expected Codes"},
      {"WeightDtypeUnknown", [](M& m) { m.blocks[0]->k->weight->dtype = static_cast<fb::DType>(200); },
       "blocks.0.k.weight has dtype 200"},
      {"WeightShape",
       [](M& m) {
         m.blocks[0]->k->weight->shape = {64, 32};
       },
       "blocks.0.k.weight has shape [64, 32]"},
      {"WeightShapeEmpty", [](M& m) { m.blocks[0]->k->weight->shape.clear(); }, "blocks.0.k.weight has shape []"},
      {"WeightShapeLong", [](M& m) { m.blocks[0]->k->weight->shape.resize(1000, 1); }, "blocks.0.k.weight has shape"},
      {"WeightShapeHuge",
       [](M& m) {
         m.blocks[0]->k->weight->shape = {~uint64_t{0}, ~uint64_t{0}};
       },
       "blocks.0.k.weight has shape"},
      {"WeightSize", [](M& m) { m.blocks[0]->k->weight->size += 1; }, "blocks.0.k.weight has size"},
      {"WeightSizeHuge", [](M& m) { m.blocks[0]->k->weight->size = ~uint64_t{0}; }, "blocks.0.k.weight has size"},
      {"OffsetUnaligned", [](M& m) { m.blocks[0]->k->weight->offset += 32; }, "blocks.0.k.weight has offset"},
      {"OffsetBeyond", [](M& m) { m.blocks[0]->k->weight->offset = uint64_t{1} << 40; }, "beyond the data section"},
      {"OffsetOverflows", [](M& m) { m.blocks[0]->k->weight->offset = ~uint64_t{63}; }, "beyond the data section"},
      {"TransformOutOfRange", [](M& m) { m.blocks[0]->q->input_transform = 1000; },
       "blocks.0.q.input_transform is 1000"},
      {"TransformNegative", [](M& m) { m.blocks[0]->q->input_transform = -2; }, "blocks.0.q.input_transform is -2"},
      {"TransformOfOtherWidth", [](M& m) { m.blocks[0]->q->input_transform = m.blocks[0]->down->input_transform; },
       "is for 96 columns, expected 64"},
      {"TransformColumnsHuge", [](M& m) { m.input_transforms[0]->columns = kHuge; }, "input_transforms.0.columns"},
      {"TransformScaleDtype", [](M& m) { m.input_transforms[0]->scale->dtype = fb::DType::F32; },
       "input_transforms.0.scale has dtype"},
      {"AffineMissing", [](M& m) { m.blocks[0]->q->affine = -1; }, "blocks.0.q.affine is -1"},
      {"AffineOutOfRange", [](M& m) { m.blocks[0]->q->affine = 1 << 30; }, "blocks.0.q.affine is"},
      {"AffineDimZero", [](M& m) { m.affine_maps[0]->dim = 0; }, "affine_maps.0.dim is 0"},
      {"AffineDimOdd", [](M& m) { m.affine_maps[0]->dim = 5; }, "affine_maps.0.dim is 5"},
      {"AffineWithoutTensors", [](M& m) { m.affine_maps[0]->a.reset(); }, "affine_maps.0 lacks"},
      {"AffineColumnsPerMap", [](M& m) { m.affine_maps[0]->columns_per_map = 6; },
       "affine_maps.0.columns_per_map is 6"},
      {"AffineTooFewMaps", [](M& m) { m.affine_maps[0]->columns_per_map = 4; },
       "embedding.affine has 1 maps, expected 16"},
      {"AffineShape",
       [](M& m) {
         m.affine_maps[0]->a->shape = {1, 16};
       },
       "affine_maps.0.a has 2 dimensions"},
      {"AffineManyMaps", [](M& m) { m.affine_maps[0]->a->shape[0] = uint64_t{1} << 40; }, "affine_maps.0.a"},
      {"RotationNoPowerOfTwo",
       [](M& m) { *m.blocks[0]->q->output_rotation = fb::Rotation(fb::RotationKind::Mixed, 48, 1); },
       "blocks.0.q.output_rotation has block 48"},
      {"RotationBlockZero",
       [](M& m) { *m.blocks[0]->q->output_rotation = fb::Rotation(fb::RotationKind::Mixed, 0, 1); },
       "expected a power of two"},
      {"RotationProduct", [](M& m) { *m.blocks[0]->q->output_rotation = fb::Rotation(fb::RotationKind::Mixed, 64, 3); },
       "expected a product of 64"},
      {"RotationProductOverflows",
       [](M& m) { *m.blocks[0]->q->output_rotation = fb::Rotation(fb::RotationKind::Mixed, 64, 1u << 26); },
       "expected a product of 64"},
      {"RotationKindUnknown",
       [](M& m) { *m.blocks[0]->q->output_rotation = fb::Rotation(static_cast<fb::RotationKind>(7), 64, 1); },
       "is of unknown kind 7"},
      {"InputRotationProduct",
       [](M& m) { *m.input_transforms[1]->rotation = fb::Rotation(fb::RotationKind::Mixed, 32, 1); },
       "input_transforms.1.rotation"},
      {"EmbeddingRotated",
       [](M& m) { m.embedding->output_rotation = std::make_unique<fb::Rotation>(fb::RotationKind::Blocks, 16, 17); },
       "embedding.output_rotation"},
      {"EmbeddingBias", [](M& m) { m.embedding->bias = std::make_unique<fb::TensorT>(*m.final_norm); }, "embedding"},
      {"BiasDtype", [](M& m) { m.blocks[0]->q->bias->dtype = fb::DType::F16; }, "blocks.0.q.bias has dtype"},
      {"BiasShape", [](M& m) { m.blocks[0]->q->bias->shape = {63}; }, "blocks.0.q.bias has shape [63], expected [64]"},
      {"OutScaleShape",
       [](M& m) {
         m.blocks[0]->q->out_scale->shape = {64, 1};
       },
       "blocks.0.q.out_scale has shape"},
      {"SideHalf", [](M& m) { m.blocks[0]->q->side_u.reset(); }, "blocks.0.q has only one of side_u and side_v"},
      {"SideRank",
       [](M& m) {
         m.blocks[0]->q->side_v->shape = {4, 64};
       },
       "blocks.0.q.side_v has size"},
      {"SideRankZero",
       [](M& m) {
         m.blocks[0]->q->side_v->shape = {0, 64};
       },
       "blocks.0.q.side_v"},
      {"SideDimensions", [](M& m) { m.blocks[0]->q->side_v->shape = {}; }, "blocks.0.q.side_v has 0 dimensions"},
      {"NormShape", [](M& m) { m.blocks[0]->attn_norm->shape = {65}; }, "blocks.0.attn_norm has shape"},
      {"QNormShape", [](M& m) { m.blocks[1]->q_norm->size = 60; }, "blocks.1.q_norm has size 60"},
      {"FinalNormOffset", [](M& m) { m.final_norm->offset = uint64_t{1} << 62; }, "final_norm lies at offset"},
      {"HeadShape", [](M& m) { m.head->rows = 100; }, "head is 100 x 64, expected 272 x 64"},
      {"ChatFormatUnknown", [](M& m) { m.chat->format = static_cast<fb::ChatFormat>(77); }, "chat.format is 77"},
      {"TokenizerKind", [](M& m) { m.tokenizer->kind = static_cast<fb::TokenizerKind>(9); }, "tokenizer"},
      {"TokenOffsetsFall", [](M& m) { std::swap(m.tokenizer->token_offsets[3], m.tokenizer->token_offsets[9]); },
       "token_offsets"},
      {"TokenOffsetsBeyond", [](M& m) { m.tokenizer->token_offsets.back() = ~0u; }, "token_offsets"},
      {"TokenOffsetsMany", [](M& m) { m.tokenizer->token_offsets.resize(100000, m.tokenizer->token_offsets.back()); },
       "token"},
      {"MergeOfAbsentToken", [](M& m) { m.tokenizer->merges[0] = fb::Merge(5000, 1); }, "merge"},
      {"MergeResultAbsent", [](M& m) { m.tokenizer->merge_results[0] = ~0u; }, "merge"},
      {"MergeResultsShort", [](M& m) { m.tokenizer->merge_results.pop_back(); }, "merge"},
      {"SpecialOutOfRange", [](M& m) { m.tokenizer->special[0]->id = 1u << 30; }, "special"},
      {"BosOutOfRange", [](M& m) { m.tokenizer->bos = 1 << 30; }, "bos"},
      {"EosOutOfRange", [](M& m) { m.tokenizer->eos[0] = ~0u; }, "eos"},
  };
}

class MetadataEdit : public testing::TestWithParam<Edit> {};
INSTANTIATE_TEST_SUITE_P(Fields, MetadataEdit, testing::ValuesIn(edits()),
                         [](const auto& edit) { return edit.param.name; });

TEST_P(MetadataEdit, IsRefusedByName) {
  TinyModel tiny = make_tiny({.tied = false, .biases = true, .qk_norms = true, .side_paths = true});
  GetParam().apply(tiny.meta);
  const Outcome out = attempt(file_bytes(tiny));
  EXPECT_FALSE(out.ran);
  EXPECT_TRUE(out.status == SVQ_ERROR_FORMAT || out.status == SVQ_ERROR_UNSUPPORTED) << out.message;
  EXPECT_NE(out.message.find(GetParam().expected), std::string::npos) << out.message;
}

// Numbers of the metadata changed at random in the object form: structurally valid, semantically anything.
TEST_P(RandomBytes, FieldEdits) {
  std::mt19937 rng(GetParam() + 200);
  for (int i = 0; i < rounds(100); ++i) {
    TinyModel tiny = make_tiny(rich_options());
    fb::ModelT& m = tiny.meta;
    const auto number = [&](uint64_t now) -> uint64_t {
      switch (rng() % 6) {
        case 0:
          return now + 1;
        case 1:
          return now * 2;
        case 2:
          return now / 2;
        case 3:
          return uint64_t{1} << rng() % 64;
        case 4:
          return ~uint64_t{0} - rng() % 128;
        default:
          return rng();
      }
    };
    std::vector<fb::TensorT*> tensors;
    std::vector<fb::LinearT*> linears{m.embedding.get(), m.head.get()};
    for (const auto& b : m.blocks) {
      for (const auto& l :
           {b->q.get(), b->k.get(), b->v.get(), b->attn_out.get(), b->gate.get(), b->up.get(), b->down.get()})
        linears.push_back(l);
      for (fb::TensorT* t : {b->attn_norm.get(), b->ffn_norm.get(), b->q_norm.get(), b->k_norm.get()})
        tensors.push_back(t);
    }
    for (fb::LinearT* l : linears) {
      for (fb::TensorT* t : {l->weight.get(), l->out_scale.get(), l->bias.get(), l->side_u.get(), l->side_v.get()}) {
        if (t != nullptr) tensors.push_back(t);
      }
    }
    for (uint32_t n = 1 + rng() % 3; n > 0; --n) {
      fb::TensorT& t = *tensors[rng() % tensors.size()];
      fb::LinearT& l = *linears[rng() % linears.size()];
      fb::ArchitectureT& a = *m.architecture;
      switch (rng() % 14) {
        case 0:
          t.offset = number(t.offset) / 64 * 64;
          break;
        case 1:
          t.size = number(t.size);
          break;
        case 2:
          t.shape[rng() % t.shape.size()] = number(64);
          break;
        case 3:
          t.dtype = static_cast<fb::DType>(rng() % 4);
          break;
        case 4:
          l.bits = static_cast<uint8_t>(number(l.bits));
          break;
        case 5:
          l.input_transform = static_cast<int>(rng() % (m.input_transforms.size() + 2)) - 1;
          break;
        case 6:
          l.affine = static_cast<int>(rng() % (m.affine_maps.size() + 2)) - 1;
          break;
        case 7:
          l.output_rotation =
              std::make_unique<fb::Rotation>(static_cast<fb::RotationKind>(rng() % 4), 1u << rng() % 8, rng() % 8);
          break;
        case 8:
          a.n_heads = static_cast<uint32_t>(number(a.n_heads));
          a.head_dim = static_cast<uint32_t>(number(a.head_dim));
          break;
        case 9:
          a.sliding_window = static_cast<uint32_t>(number(4));
          break;
        case 10:
          a.n_kv_heads = static_cast<uint32_t>(number(a.n_kv_heads));
          break;
        case 11:
          t.offset = rng() % (tiny.data.size() / 64) * 64;
          break;  // overlapping or beyond the end
        case 12:
          m.affine_maps[rng() % m.affine_maps.size()]->columns_per_map = static_cast<uint32_t>(number(4));
          break;
        default:
          a.vocab = static_cast<uint32_t>(number(a.vocab));
          a.context_length = static_cast<uint32_t>(number(a.context_length));
          break;
      }
    }
    (void)attempt(file_bytes(tiny));
  }
}

}  // namespace
}  // namespace svq::test
