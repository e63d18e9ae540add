#include "converter/sources/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/sources/scratch.h"

namespace svq::convert {
namespace {

// Bytes of the mapping at `address` that count as this process's memory.
uint64_t resident(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    uint64_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
      here = begin <= wanted && wanted < end;
    else if (here && std::sscanf(line.c_str(), "Rss: %" SCNu64 " kB", &kilobytes) == 1)
      return 1024 * kilobytes;
  }
  return 0;
}

TEST(MappedFile, WhatIsReleasedLeavesTheMemoryAndComesBack) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), size = 64 * page;
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * i / 1000);
  const test::ScratchDirectory scratch;
  std::ofstream(scratch / "file", std::ios::binary) << content;
  const MappedFile file(scratch / "file");
  const auto same = [&] {
    return std::equal(content.begin(), content.end(), reinterpret_cast<const char*>(file.bytes().data()));
  };
  ASSERT_TRUE(same());
  const uint64_t whole = resident(file.bytes().data());
  if (whole != size) GTEST_SKIP() << "/proc/self/smaps tells " << whole << " of " << size << " bytes read";

  file.release(file.bytes());
  EXPECT_EQ(resident(file.bytes().data()), 0u);
  EXPECT_TRUE(same());

  file.release(file.bytes().subspan(1, 8 * page));  // pages 1 to 7: the first and the ninth are read in part
  EXPECT_EQ(resident(file.bytes().data()), size - 7 * page);
  EXPECT_TRUE(same());
}

TEST(MappedFile, OtherMemoryIsNotReleased) {
  const test::ScratchDirectory scratch;
  std::ofstream(scratch / "file") << "some bytes";
  std::ofstream(scratch / "empty");
  const std::vector<std::byte> other(1 << 20, std::byte{7});
  for (const char* name : {"file", "empty"}) {
    const MappedFile file(scratch / name);
    file.release(other);
    file.release({});
    EXPECT_EQ(std::count(other.begin(), other.end(), std::byte{7}), 1 << 20);
  }
}

}  // namespace
}  // namespace svq::convert
