#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>

#include "converter/base/error.h"
#include "converter/write/atomic_file.h"
#include "converter/write/checksum.h"
#include "tests/converter/write_tiny_parts.h"
#include "tests/read_text.h"

namespace svq::convert {
namespace {

namespace fs = std::filesystem;
using svq::test::read_text;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = fs::path(::testing::TempDir()) / (std::string("svq_write_") + info->name() + "_" + std::to_string(getpid()));
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path dir_;
};

TEST_F(Files, AppearsOnlyWhenCommitted) {
  const fs::path path = dir_ / "a";
  {
    AtomicFile file(path);
    file.append(std::as_bytes(std::span("half", 4)));
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_TRUE(fs::is_empty(dir_));
  write_atomically(path, "first");
  {
    AtomicFile file(path);
    file.append_zeros(10000);
    EXPECT_EQ(file.size(), 10000u);
    EXPECT_EQ(read_text(path), "first");
  }
  EXPECT_EQ(read_text(path), "first");
  write_atomically(path, "second");
  EXPECT_EQ(read_text(path), "second");
}

TEST_F(Files, ALeftoverOfAKilledProcessIsOverwritten) {
  std::ofstream(dir_ / "a.tmp") << "a long leftover of a process that was killed";
  write_atomically(dir_ / "a", "new");
  EXPECT_EQ(read_text(dir_ / "a"), "new");
  EXPECT_FALSE(fs::exists(dir_ / "a.tmp"));
}

TEST_F(Files, TwoWritersOfOneFileExcludeEachOther) {
  AtomicFile first(dir_ / "a");
  try {
    AtomicFile second(dir_ / "a");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("another process"), std::string::npos);
  }
  first.append(std::as_bytes(std::span("x", 1)));
  first.commit();
  EXPECT_EQ(read_text(dir_ / "a"), "x");
}

TEST_F(Files, FailuresNameTheFileAndTheReason) {
  try {
    write_atomically(dir_ / "missing" / "a", "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("missing/a"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("No such file or directory"), std::string::npos);
  }
}

// RLIMIT_FSIZE stands in for a full disk: write() fails in the middle.
TEST_F(Files, AFullDiskLeavesNothingBehind) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit limit = before;
  limit.rlim_cur = 100000;
  setrlimit(RLIMIT_FSIZE, &limit);
  std::string message;
  try {
    AtomicFile file(dir_ / "a");
    for (int i = 0; i < 100; ++i) file.append_zeros(4096);
  } catch (const Error& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(Files, PartReadsBackAsWritten) {
  fb::PartT part = testing::tiny_part("blocks.0.attn_in");
  part.seconds = 1.5;
  testing::write_tiny_part(dir_ / "p", part);
  std::string reason;
  const auto read = read_part(dir_ / "p", part.name, testing::kFingerprint, true, &reason);
  ASSERT_TRUE(read) << reason;
  EXPECT_EQ(read->seconds, 1.5);
  EXPECT_EQ(read->relative_errors, part.relative_errors);
  ASSERT_EQ(read->linears.size(), 3u);
  EXPECT_EQ(read->linears[1]->name, "blocks.0.k");
  const std::string file = read_text(dir_ / "p");
  for_each_tensor(std::as_const(*read), [&](const fb::TensorT& t) {
    EXPECT_EQ(t.offset % 64, 0u) << t.name;
    const auto content = testing::tiny_content(t);
    ASSERT_LE(kPartDataOffset + t.offset + t.size, file.size());
    EXPECT_EQ(std::memcmp(file.data() + kPartDataOffset + t.offset, content.data(), content.size()), 0) << t.name;
    EXPECT_EQ(t.checksum, checksum(content)) << t.name;
  });
  EXPECT_FALSE(read_part(dir_ / "p", "blocks.1.attn_in", testing::kFingerprint, true));
  EXPECT_FALSE(read_part(dir_ / "p", part.name, testing::kFingerprint + 1, true));
  EXPECT_FALSE(read_part(dir_ / "absent", part.name, testing::kFingerprint, true));
}

// Whatever happens to a part file, it is refused or it is the file that was written.
TEST_F(Files, DamagedPartsAreRefused) {
  fb::PartT part = testing::tiny_part("blocks.0.ffn_in");
  testing::write_tiny_part(dir_ / "p", part);
  const std::string good = read_text(dir_ / "p");
  for (size_t length = 0; length < good.size(); length += 97) {
    std::ofstream(dir_ / "t", std::ios::binary | std::ios::trunc) << good.substr(0, length);
    EXPECT_FALSE(read_part(dir_ / "t", part.name, testing::kFingerprint, true)) << length;
  }
  std::mt19937 random(7);
  int refused = 0;
  constexpr int kFlips = 2000;
  for (int i = 0; i < kFlips; ++i) {
    std::string bad = good;
    const size_t at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    std::ofstream(dir_ / "t", std::ios::binary | std::ios::trunc) << bad;
    if (!read_part(dir_ / "t", part.name, testing::kFingerprint, true)) {
      ++refused;
      continue;
    }
    // Only the unused space between header and data, and between tensors, may differ.
    bool inside = at < sizeof(format::Header);
    for_each_tensor(std::as_const(part), [&](const fb::TensorT& t) {
      inside |= at >= kPartDataOffset + t.offset && at < kPartDataOffset + t.offset + t.size;
    });
    inside |= at >= kPartDataOffset + data_size(part);
    EXPECT_FALSE(inside) << "byte " << at;
  }
  EXPECT_GT(refused, kFlips / 3);
}

TEST_F(Files, PartWriterRefusesWrongOrderAndIncompleteTensors) {
  fb::PartT part = testing::tiny_part("blocks.0.ffn_in");
  PartWriter writer(dir_ / "p", part);
  const auto content = testing::tiny_content(*part.linears[0]->weight);
  EXPECT_THROW(writer.append(*part.linears[0]->weight, content), Error);
  EXPECT_THROW(writer.commit(), Error);
}

}  // namespace
}  // namespace svq::convert
