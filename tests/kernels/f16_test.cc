// binary16: all 65536 values, and every rounding boundary between them.
#include <cmath>
#include <cstring>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

uint32_t bits_of(float f) {
  uint32_t b;
  std::memcpy(&b, &f, 4);
  return b;
}

// The definition: (−1)^s 2^(e−25) (1024 [e > 0] + m), e at least 1 in the exponent.
double value_of(uint16_t h) {
  const int e = (h >> 10) & 31, m = h & 1023;
  return (h & 0x8000 ? -1.0 : 1.0) * std::ldexp((e ? 1024 : 0) + m, std::max(e, 1) - 25);
}

TEST(F16, EveryHalfHasItsValue) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    if ((h & 0x7c00) != 0x7c00) {
      ASSERT_EQ(static_cast<double>(f), value_of(static_cast<uint16_t>(h))) << h;
      ASSERT_EQ(std::signbit(f), h >= 0x8000) << h;
    } else if (h & 0x3ff) {
      ASSERT_TRUE(std::isnan(f)) << h;
    } else {
      ASSERT_EQ(bits_of(f), (h & 0x8000 ? 0xff800000u : 0x7f800000u));
    }
  }
}

TEST(F16, RoundTripAndRoundingBoundaries) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    const uint16_t back = f32_to_f16(f);
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(f16_to_f32(back)));
      continue;
    }
    ASSERT_EQ(back, h);
    if ((h & 0x7fff) >= 0x7bff) continue;  // the largest finite value and infinity have no neighbour above
    // Halfway to the next larger magnitude: ties go to the even mantissa, a step of f32 either side decides.
    const float next = f16_to_f32(static_cast<uint16_t>(h + 1));
    const float middle = static_cast<float>((static_cast<double>(f) + next) / 2);
    ASSERT_EQ(f32_to_f16(middle), h % 2 ? h + 1 : h);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, f)), h);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, next)), h + 1);
  }
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(1e-30f), 0);
}

class F16Kernels : public PerTable {};

TEST_P(F16Kernels, HardwareAgreesOnEveryHalf) {
  std::vector<uint16_t> all(65536), back(65536);
  std::vector<float> f(65536);
  for (uint32_t h = 0; h < 65536; ++h) all[h] = static_cast<uint16_t>(h);
  table_->row_f16(all.data(), 65536, f.data());
  table_->store_f16(f.data(), 65536, back.data());
  for (uint32_t h = 0; h < 65536; ++h) {
    if (std::isnan(f16_to_f32(all[h]))) {
      ASSERT_TRUE(std::isnan(f[h]));
      ASSERT_TRUE(std::isnan(f16_to_f32(back[h])));
    } else {
      ASSERT_EQ(bits_of(f[h]), bits_of(f16_to_f32(all[h])));
      ASSERT_EQ(back[h], h);
    }
  }
}

TEST_P(F16Kernels, HardwareRoundsTheSame) {
  Random random(1);
  std::vector<float> x(100000);
  for (float& v : x) {
    const uint32_t b = static_cast<uint32_t>(random.bits());
    std::memcpy(&v, &b, 4);
    if (std::isnan(v)) v = 0;
  }
  std::vector<uint16_t> out(x.size());
  table_->store_f16(x.data(), static_cast<uint32_t>(x.size()), out.data());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], f32_to_f16(x[i])) << x[i];
}

SVQ_PER_TABLE(F16Kernels);

}  // namespace
}  // namespace svq::kernels::testing
