// What the kernel tests share: the tables to try, random data, packed matrices with their plain codes.
#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels-neon/kernels.h"

namespace svq::kernels::testing {

// Runs a body once per table. "sse" is the reference with the SSE kernels put in: x86 has no table of that name, but
// ARM's tables are made of the same sources.
class PerTable : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;
  const Table* table_ = nullptr;
};
#define SVQ_PER_TABLE(suite)                                                                                         \
  INSTANTIATE_TEST_SUITE_P(                                                                                          \
      Isa, suite, ::testing::Values("scalar", "sse", "neon", "dotprod", "i8mm", "avx2", "avxvnni", "avx512", "amx"), \
      [](const auto& test) { return std::string(test.param); })

// splitmix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(bits() % n); }
  float uniform(float low, float high);
  std::vector<float> floats(size_t n, float low = -1, float high = 1);
  std::vector<uint16_t> halves(size_t n, float low = -1, float high = 1);

 private:
  uint64_t state_;
};

// Codes [rows, columns] with their packed form. Packed bytes are 64-byte aligned.
struct Matrix {
  enum Fill { kRandom, kLargest, kZero };
  Matrix(uint32_t rows, uint32_t columns, uint32_t bits, Fill fill, uint64_t seed);
  uint32_t blocks() const { return (packed.rows + 15) / 16; }
  std::vector<uint8_t> codes;
  Packed packed;

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> bytes_;
};

// 64-byte aligned memory of at least one byte.
struct Scratch {
  explicit Scratch(size_t size) : p(std::aligned_alloc(64, size / 64 * 64 + 64)) {}
  ~Scratch() { std::free(p); }
  Scratch(const Scratch&) = delete;
  void* p;
};

// Mixed rotation with its matrix, or blocks.
struct Rotated {
  Rotated(uint32_t kind, uint32_t block, uint32_t factor);
  std::vector<float> mix;
  Rotation r;
};

}  // namespace svq::kernels::testing
