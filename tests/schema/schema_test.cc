#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "schema/container.h"
#include "svq_generated.h"
#include "tests/read_text.h"

namespace svq {
namespace {

using test::read_text;

TEST(Container, HeaderLayoutIsFrozen) {
  using format::Header;
  EXPECT_EQ(offsetof(Header, magic), 0u);
  EXPECT_EQ(offsetof(Header, major), 4u);
  EXPECT_EQ(offsetof(Header, minor), 6u);
  EXPECT_EQ(offsetof(Header, metadata_offset), 8u);
  EXPECT_EQ(offsetof(Header, metadata_size), 16u);
  EXPECT_EQ(offsetof(Header, metadata_checksum), 24u);
  EXPECT_EQ(offsetof(Header, data_offset), 32u);
  EXPECT_EQ(offsetof(Header, data_size), 40u);
  EXPECT_EQ(offsetof(Header, reserved), 48u);
  EXPECT_EQ(offsetof(Header, header_checksum), 56u);
  const uint32_t magic = format::kMagic;
  char text[5] = {};
  std::memcpy(text, &magic, 4);
  EXPECT_STREQ(text, "SVQ1");
}

// flatc accepts the schema as a growth of every released one: a field removed, moved or retyped fails here.
TEST(Schema, GrowsCompatiblyFromEveryReleasedVersion) {
  const std::filesystem::path dir = SVQ_SCHEMA_DIR;
  int released = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir / "released")) {
    ++released;
    const std::string command = std::string(SVQ_FLATC) + " --conform \"" + entry.path().string() +
                                "\" --binary --schema -o \"" + testing::TempDir() + "\" \"" +
                                (dir / "svq.fbs").string() + "\"";
    EXPECT_EQ(std::system(command.c_str()), 0) << entry.path();
  }
  EXPECT_GE(released, 1);
}

// The check above can fail: a schema with a field's type changed is refused.
TEST(Schema, AnIncompatibleChangeIsNoticed) {
  const std::filesystem::path dir = SVQ_SCHEMA_DIR;
  std::string text = read_text(dir / "svq.fbs");
  const std::string field = "hidden: uint;";
  const size_t at = text.find(field);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, field.size(), "hidden: string;");
  const auto changed = std::filesystem::path(testing::TempDir()) / "changed.fbs";
  std::ofstream(changed) << text;
  const std::string command = std::string(SVQ_FLATC) + " --conform \"" + (dir / "released/svq-1.0.fbs").string() +
                              "\" --binary --schema -o \"" + testing::TempDir() + "\" \"" + changed.string() +
                              "\" 2>/dev/null";
  EXPECT_NE(std::system(command.c_str()), 0);
}

TEST(Schema, StructsHaveTheDocumentedSize) {
  EXPECT_EQ(sizeof(fb::Rotation), 12u);
  EXPECT_EQ(sizeof(fb::Merge), 8u);
}

}  // namespace
}  // namespace svq
