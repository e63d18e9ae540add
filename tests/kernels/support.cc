#include "tests/kernels/support.h"

#include <cstring>

#include "schema/packing.h"
#if defined(__x86_64__) || defined(__aarch64__)
#include "kernels-neon/sse_table.h"
#endif

namespace svq::kernels::testing {
namespace {

#if defined(__x86_64__) || defined(__aarch64__)
const Table* sse_table() {
  static const Table t = [] {
    Table s = with_sse(reference());
    s.name = "sse";
    return s;
  }();
  return &t;
}
#else
const Table* sse_table() { return nullptr; }
#endif

}  // namespace

void PerTable::SetUp() {
  if (std::strcmp(GetParam(), "sse") == 0) {
    table_ = sse_table();
  } else {
    Isa isa;
    ASSERT_TRUE(isa_from_name(GetParam(), &isa));
    table_ = table(isa);
  }
  if (!table_) GTEST_SKIP() << "this CPU does not run " << GetParam();
}

uint64_t Random::bits() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

float Random::uniform(float low, float high) {
  return low + (high - low) * (static_cast<float>(bits() >> 40) * 0x1p-24f);
}

std::vector<float> Random::floats(size_t n, float low, float high) {
  std::vector<float> v(n);
  for (float& x : v) x = uniform(low, high);
  return v;
}

std::vector<uint16_t> Random::halves(size_t n, float low, float high) {
  std::vector<uint16_t> v(n);
  for (uint16_t& x : v) x = f32_to_f16(uniform(low, high));
  return v;
}

Matrix::Matrix(uint32_t rows, uint32_t columns, uint32_t bits, Fill fill, uint64_t seed) {
  Random random(seed);
  codes.resize(static_cast<size_t>(rows) * columns);
  for (uint8_t& c : codes) {
    c = static_cast<uint8_t>(fill == kRandom ? random.below(1u << bits) : fill == kLargest ? (1u << bits) - 1 : 0);
  }
  const size_t size = format::packed_size(rows, columns, bits);
  bytes_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, size)));
  format::pack(codes, rows, columns, bits, {bytes_.get(), size});
  packed.rows = rows;
  packed.columns = columns;
  const format::PlaneList planes = format::planes_of(bits);
  packed.n_planes = planes.count;
  const uint8_t* at = bytes_.get();
  for (uint32_t i = 0; i < planes.count; ++i) {
    packed.plane[i] = at;
    packed.plane_bits[i] = static_cast<uint8_t>(planes.plane[i].bits);
    packed.plane_weight[i] = static_cast<int32_t>(planes.plane[i].weight);
    at += format::plane_size(rows, columns, planes.plane[i].bits);
  }
}

Rotated::Rotated(uint32_t kind, uint32_t block, uint32_t factor) {
  if (kind == 2) {
    mix.resize(static_cast<size_t>(factor) * factor);
    make_mix(factor, mix.data());
  }
  r = {kind, block, factor, kind == 2 ? mix.data() : nullptr};
}

}  // namespace svq::kernels::testing
