#include "converter/write/svq_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "converter/base/error.h"
#include "converter/write/checksum.h"
#include "schema/container.h"
#include "tests/converter/write_tiny_parts.h"
#include "tests/read_text.h"

namespace svq::convert {
namespace {

namespace fs = std::filesystem;
using svq::test::read_text;

class SvqFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = fs::path(::testing::TempDir()) / (std::string("svq_file_") + info->name() + "_" + std::to_string(getpid()));
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    for (const std::string& name : testing::tiny_part_names()) {
      parts_.push_back(testing::tiny_part(name));
      files_.push_back(dir_ / (name + ".part"));
      testing::write_tiny_part(files_.back(), parts_.back());
    }
    for (const fb::PartT& part : parts_) pointers_.push_back(&part);
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path dir_;
  std::vector<fb::PartT> parts_;
  std::vector<const fb::PartT*> pointers_;
  std::vector<fs::path> files_;
};

TEST_F(SvqFile, ReadsBackThroughTheVerifier) {
  fb::ModelT model = testing::tiny_model();
  const uint64_t data = assemble(model, pointers_);
  const uint64_t expected = file_size(serialize(model).size(), data);
  EXPECT_EQ(write_svq(dir_ / "m.svq", model, files_, pointers_), expected);
  const std::string file = read_text(dir_ / "m.svq");
  ASSERT_EQ(file.size(), expected);

  format::Header header;
  std::memcpy(&header, file.data(), sizeof header);
  EXPECT_EQ(header.magic, format::kMagic);
  EXPECT_TRUE(is_sealed(header));
  EXPECT_EQ(header.data_offset % format::kDataAlignment, 0u);
  EXPECT_EQ(header.data_offset + header.data_size, file.size());
  const auto bytes = std::as_bytes(std::span(file));
  EXPECT_EQ(header.metadata_checksum, checksum(bytes.subspan(header.metadata_offset, header.metadata_size)));
  const auto* metadata = reinterpret_cast<const uint8_t*>(file.data() + header.metadata_offset);
  flatbuffers::Verifier verifier(metadata, header.metadata_size);
  ASSERT_TRUE(verifier.VerifyBuffer<fb::Model>(fb::ModelIdentifier()));

  const fb::Model* read = fb::GetModel(metadata);
  EXPECT_EQ(read->head(), nullptr);
  ASSERT_EQ(read->blocks()->size(), 1u);
  const fb::Block* block = read->blocks()->Get(0);
  EXPECT_EQ(block->attn_norm(), nullptr);  // folded
  ASSERT_NE(block->ffn_norm(), nullptr);
  EXPECT_EQ(block->gate()->input_transform(), -1);
  // Indices became global: embedding 0, attn_in 1, o_in 2, down_in 3.
  EXPECT_EQ(read->embedding()->input_transform(), 0);
  EXPECT_EQ(block->q()->input_transform(), 1);
  EXPECT_EQ(block->v()->affine(), 1);
  EXPECT_EQ(block->attn_out()->input_transform(), 2);
  EXPECT_EQ(block->down()->input_transform(), 3);
  EXPECT_EQ(read->input_transforms()->Get(3)->rotation()->factor(), 3u);

  uint64_t end = 0;
  int tensors = 0;
  const auto check = [&](const fb::Tensor* t) {
    if (!t) return;
    ++tensors;
    fb::TensorT object;
    t->UnPackTo(&object);
    EXPECT_EQ(t->offset() % format::kTensorAlignment, 0u) << object.name;
    EXPECT_GE(t->offset(), end) << object.name;
    end = t->offset() + t->size();
    ASSERT_LE(end, header.data_size) << object.name;
    const auto content = testing::tiny_content(object);
    EXPECT_EQ(t->checksum(), checksum(content)) << object.name;
    EXPECT_EQ(std::memcmp(file.data() + header.data_offset + t->offset(), content.data(), content.size()), 0)
        << object.name;
  };
  const auto check_linear = [&](const fb::Linear* l) {
    check(l->weight());
    check(l->out_scale());
    check(l->bias());
  };
  const auto check_maps = [&](uint32_t i) {
    check(read->input_transforms()->Get(i)->scale());
    check(read->affine_maps()->Get(i)->a());
    check(read->affine_maps()->Get(i)->b());
  };
  check_maps(0);
  check_linear(read->embedding());
  check_maps(1);
  check_linear(block->q());
  check_linear(block->k());
  check_linear(block->v());
  check_maps(2);
  check_linear(block->attn_out());
  check(block->ffn_norm());
  check_linear(block->gate());
  check_linear(block->up());
  check_maps(3);
  check_linear(block->down());
  check(read->final_norm());
  EXPECT_EQ(tensors, 31);
}

// The plan is made with placeholder values: only strings and structure may move a byte.
TEST_F(SvqFile, MetadataSizeDependsOnNoValue) {
  fb::ModelT a = testing::tiny_model(), b = testing::tiny_model();
  std::vector<fb::PartT> zeroed = parts_;
  std::vector<const fb::PartT*> pointers;
  for (fb::PartT& part : zeroed) {
    for_each_tensor(part, [](fb::TensorT& t) { t.checksum = 0; });
    for (auto& t : part.input_transforms) *t->rotation = fb::Rotation();
    pointers.push_back(&part);
  }
  assemble(a, pointers_);
  assemble(b, pointers);
  for (auto* model : {&a, &b}) {
    auto measure = std::make_unique<fb::MeasureT>();
    measure->metric = "relative_weighted_error";
    measure->value = model == &a ? 0.03 : 0.0;
    model->provenance->measures.push_back(std::move(measure));
  }
  EXPECT_EQ(serialize(a).size(), serialize(b).size());
}

// Files that earlier versions wrote must stay readable, so these bytes may change only with the format.
// Remake with SVQ_WRITE_GOLDEN=1 after a deliberate change.
TEST_F(SvqFile, BytesAreFrozen) {
  fb::ModelT model = testing::tiny_model();
  assemble(model, pointers_);
  write_svq(dir_ / "m.svq", model, files_, pointers_);
  const fs::path golden = fs::path(SVQ_GOLDEN_DIR) / "writer_1_0.svq.golden";
  if (std::getenv("SVQ_WRITE_GOLDEN")) fs::copy_file(dir_ / "m.svq", golden, fs::copy_options::overwrite_existing);
  ASSERT_TRUE(fs::exists(golden));
  EXPECT_TRUE(read_text(dir_ / "m.svq") == read_text(golden));
}

TEST_F(SvqFile, ADamagedPartIsNoticedWhileCopying) {
  fb::ModelT model = testing::tiny_model();
  assemble(model, pointers_);
  std::string bytes = read_text(files_[2]);
  bytes[kPartDataOffset + 5] = static_cast<char>(bytes[kPartDataOffset + 5] ^ 1);
  std::ofstream(files_[2], std::ios::binary | std::ios::trunc) << bytes;
  try {
    write_svq(dir_ / "m.svq", model, files_, pointers_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.0.o_in.part"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("checksum"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(dir_ / "m.svq"));
  EXPECT_FALSE(fs::exists(dir_ / "m.svq.tmp"));
}

TEST_F(SvqFile, MissingAndDoublePartsAreNamed) {
  fb::ModelT model = testing::tiny_model();
  auto lacking = pointers_;
  lacking.erase(lacking.begin() + 2);
  try {
    assemble(model, lacking);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.0.o"), std::string::npos) << e.what();
  }
  auto twice = pointers_;
  twice.push_back(pointers_[0]);
  EXPECT_THROW(assemble(model, twice), Error);
  fb::PartT stray = testing::tiny_part("blocks.0.o_in");
  stray.linears[0]->name = "blocks.7.o";
  auto unknown = pointers_;
  unknown[2] = &stray;
  EXPECT_THROW(assemble(model, unknown), Error);
}

// A check that fails keeps the file under another name, and an older one as it was.
TEST_F(SvqFile, ARejectedFileLeavesTheOldOne) {
  fb::ModelT model = testing::tiny_model();
  assemble(model, pointers_);
  write_svq(dir_ / "good.svq", model, files_, pointers_);
  const fs::path path = dir_ / "m.svq";
  std::ofstream(path) << "old";
  try {
    write_svq(path, model, files_, pointers_, {}, [&](const fs::path& file) {
      EXPECT_NE(file, path);
      EXPECT_EQ(read_text(file), read_text(dir_ / "good.svq"));
      throw Error("it differs");
    });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "it differs; the file is kept as " + rejected_path(path).string());
  }
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(read_text(rejected_path(path)), read_text(dir_ / "good.svq"));
  EXPECT_FALSE(fs::exists(dir_ / "m.svq.tmp"));
  // Anything else that stops it leaves nothing.
  struct Stop {};
  EXPECT_THROW(write_svq(dir_ / "n.svq", model, files_, pointers_, {}, [](const fs::path&) { throw Stop{}; }), Stop);
  EXPECT_FALSE(fs::exists(dir_ / "n.svq.tmp"));
  EXPECT_FALSE(fs::exists(rejected_path(dir_ / "n.svq")));
}

}  // namespace
}  // namespace svq::convert
