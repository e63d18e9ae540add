#include "tools/common/text.h"

#include <gtest/gtest.h>

namespace svq::tools {
namespace {

TEST(Text, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(49'130'000), "49.1 MB");
  EXPECT_EQ(format_bytes(999'960), "1.0 MB");
  EXPECT_EQ(format_bytes(5'000'000'000), "5.0 GB");
}

TEST(Text, Thousands) {
  EXPECT_EQ(format_thousands(0), "0");
  EXPECT_EQ(format_thousands(999), "999");
  EXPECT_EQ(format_thousands(1'048'576), "1,048,576");
}

TEST(Text, Duration) {
  EXPECT_EQ(format_duration(0.0032), "3.2 ms");
  EXPECT_EQ(format_duration(0.99999), "1.0 s");
  EXPECT_EQ(format_duration(59.99), "1:00");
  EXPECT_EQ(format_duration(3725), "1:02:05");
  EXPECT_EQ(format_duration(-1), "?");
}

TEST(Text, TableAlignsByCharacters) {
  Table table("lr", {"é", "n"});
  table.add({"ab", "10"});
  EXPECT_EQ(table.str(), "é    n\nab  10\n");
}

TEST(Text, Spread) {
  const Spread s = spread_of({1, 2, 3});
  EXPECT_DOUBLE_EQ(s.mean, 2);
  EXPECT_DOUBLE_EQ(s.stddev, 1);
  EXPECT_EQ(spread_of({5}).stddev, 0);
}

}  // namespace
}  // namespace svq::tools
