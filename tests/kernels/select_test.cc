#include <cstdlib>
#include <cstring>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

class Select : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* value = std::getenv("SVQ_ISA")) saved_ = value;
    unsetenv("SVQ_ISA");
  }
  void TearDown() override { saved_.empty() ? unsetenv("SVQ_ISA") : setenv("SVQ_ISA", saved_.c_str(), 1); }
  std::string saved_;
};

TEST_F(Select, TablesAreCompleteAndNamed) {
  Isa all[kIsas];
  const size_t n = available(all, kIsas);
  ASSERT_GE(n, 1u);
  EXPECT_EQ(all[0], Isa::kScalar);
  for (size_t i = 0; i < n; ++i) {
    const Table* t = table(all[i]);
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(t->isa, all[i]);
    EXPECT_STREQ(t->name, isa_name(all[i]));
    // Every entry after name and isa is a function pointer: none is left out.
    const size_t first = offsetof(Table, rotate);
    for (size_t at = first; at < sizeof(Table); at += sizeof(void*)) {
      void* entry;
      std::memcpy(&entry, reinterpret_cast<const char*>(t) + at, sizeof(entry));
      EXPECT_NE(entry, nullptr) << t->name << " at " << (at - first) / sizeof(void*);
    }
  }
  EXPECT_EQ(available(all, 1), 1u);
}

TEST_F(Select, BestUnlessOverridden) {
  Isa all[kIsas];
  const size_t n = available(all, kIsas);
  const char* error = "";
  EXPECT_EQ(select(&error), table(all[n - 1]));
  EXPECT_EQ(error, nullptr);
  for (size_t i = 0; i < n; ++i) {
    setenv("SVQ_ISA", isa_name(all[i]), 1);
    EXPECT_EQ(select(&error), table(all[i]));
    EXPECT_EQ(error, nullptr);
  }
  setenv("SVQ_ISA", "altivec", 1);
  EXPECT_EQ(select(&error), nullptr);
  ASSERT_NE(error, nullptr);
  EXPECT_NE(std::string(error).find("SVQ_ISA"), std::string::npos);
  for (int i = 0; i < kIsas; ++i) {
    if (table(static_cast<Isa>(i))) continue;
    setenv("SVQ_ISA", isa_name(static_cast<Isa>(i)), 1);
    EXPECT_EQ(select(&error), nullptr);
    EXPECT_NE(error, nullptr);
  }
}

TEST_F(Select, Names) {
  Isa isa;
  for (const char* name : {"scalar", "neon", "dotprod", "i8mm", "avx2", "avxvnni", "avx512", "amx"}) {
    ASSERT_TRUE(isa_from_name(name, &isa));
    EXPECT_STREQ(isa_name(isa), name);
  }
  EXPECT_FALSE(isa_from_name("AVX", &isa));
  EXPECT_FALSE(isa_from_name("", &isa));
}

}  // namespace
}  // namespace svq::kernels::testing
