// Products with packed codes: integers are exact, whatever the instruction set, the size, the split or the batch.
#include <algorithm>
#include <cstring>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

size_t padded(size_t n) { return (n + 63) / 64 * 64; }

enum class Activations { kRandom, kMost, kLeast, kAlternating, kZero };

// z [padded], zero beyond columns.
std::vector<int8_t> activations(uint32_t columns, Activations kind, uint64_t seed) {
  Random random(seed);
  std::vector<int8_t> z(padded(columns), 0);
  for (uint32_t k = 0; k < columns; ++k) {
    switch (kind) {
      case Activations::kRandom:
        z[k] = static_cast<int8_t>(static_cast<int>(random.below(256)) - 128);
        break;
      case Activations::kMost:
        z[k] = 127;
        break;
      case Activations::kLeast:
        z[k] = -128;
        break;
      case Activations::kAlternating:
        z[k] = k % 2 ? -128 : 127;
        break;
      case Activations::kZero:
        break;
    }
  }
  return z;
}

// Straight from the plain codes, in 64 bits; padding rows 0.
std::vector<int32_t> expected(const Matrix& m, const int8_t* z) {
  std::vector<int32_t> acc(m.blocks() * 16, 0);
  for (uint32_t r = 0; r < m.packed.rows; ++r) {
    int64_t sum = 0;
    for (uint32_t k = 0; k < m.packed.columns; ++k) {
      sum += static_cast<int64_t>(m.codes[static_cast<size_t>(r) * m.packed.columns + k]) * z[k];
    }
    acc[r] = static_cast<int32_t>(sum);
  }
  return acc;
}

struct Shape {
  uint32_t rows, columns;
};
// Row blocks 1 … 9 (every remainder of the blocking by 4 and 2), column paddings of every class.
constexpr Shape kShapes[] = {{1, 4},    {16, 64},  {17, 60},   {33, 128},  {48, 192},  {63, 68},
                             {80, 576}, {96, 320}, {112, 252}, {129, 448}, {144, 1536}};

class PackedKernels : public PerTable {};

TEST_P(PackedKernels, GemvIsExact) {
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    for (const Shape& s : kShapes) {
      const Matrix m(s.rows, s.columns, bits, Matrix::kRandom, s.rows * 7919 + s.columns + bits);
      const std::vector<int8_t> z = activations(s.columns, Activations::kRandom, s.columns);
      std::vector<int32_t> acc(m.blocks() * 16, -1);
      table_->gemv(m.packed, z.data(), 0, m.blocks(), acc.data());
      ASSERT_EQ(acc, expected(m, z.data())) << bits << " bits, " << s.rows << " x " << s.columns;
    }
  }
}

TEST_P(PackedKernels, GemvHoldsAtTheExtremes) {
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    for (uint32_t columns : {64u, 8960u, 65536u}) {
      for (Matrix::Fill fill : {Matrix::kLargest, Matrix::kZero}) {
        const Matrix m(80, columns, bits, fill, 1);  // 5 row blocks: the blocked and the single path
        for (Activations kind :
             {Activations::kMost, Activations::kLeast, Activations::kAlternating, Activations::kZero}) {
          const std::vector<int8_t> z = activations(columns, kind, 0);
          std::vector<int32_t> acc(80);
          if (table_ == &reference() && columns > 64) continue;  // slow and without intermediates to overflow
          table_->gemv(m.packed, z.data(), 0, m.blocks(), acc.data());
          int64_t sum = 0;
          for (uint32_t k = 0; k < columns; ++k) sum += m.codes[k] * int64_t{z[k]};
          ASSERT_EQ(acc, std::vector<int32_t>(80, static_cast<int32_t>(sum)))
              << bits << " bits, " << columns << " columns";
        }
      }
    }
  }
}

TEST_P(PackedKernels, GemvDoesNotDependOnTheSplit) {
  for (uint32_t bits : {2u, 3u}) {
    const Matrix m(16 * 11 - 3, 576, bits, Matrix::kRandom, 5);
    const std::vector<int8_t> z = activations(576, Activations::kRandom, 6);
    std::vector<int32_t> whole(m.blocks() * 16), parts(m.blocks() * 16);
    table_->gemv(m.packed, z.data(), 0, m.blocks(), whole.data());
    for (uint32_t step : {1u, 2u, 3u, 5u}) {
      std::fill(parts.begin(), parts.end(), -1);
      for (uint32_t b = 0; b < m.blocks(); b += step) {
        table_->gemv(m.packed, z.data(), b, std::min(b + step, m.blocks()), parts.data() + 16 * b);
      }
      ASSERT_EQ(whole, parts) << step;
    }
  }
}

// Guards against writes outside the rows asked for, and gemm against gemv token by token.
TEST_P(PackedKernels, GemmEqualsGemv) {
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    for (const Shape& s : {Shape{17, 60}, Shape{48, 576}, Shape{80, 320}, Shape{48, 2240}}) {
      const Matrix m(s.rows, s.columns, bits, Matrix::kRandom, s.columns);
      const size_t z_stride = padded(s.columns) + 64, rows = m.blocks() * 16, acc_stride = rows + 5;
      for (uint32_t tokens : {1u, 2u, 3u, 4u, 5u, 7u, 11u, 12u, 13u, 25u, 33u, 64u}) {
        std::vector<int8_t> z(z_stride * tokens);
        for (uint32_t t = 0; t < tokens; ++t) {
          const std::vector<int8_t> one = activations(s.columns, Activations::kRandom, 100 + t);
          std::copy(one.begin(), one.end(), z.begin() + t * z_stride);
        }
        const Scratch panel(table_->gemm_panel(s.columns, tokens));
        const auto columns = static_cast<uint32_t>(padded(s.columns)), middle = columns / 128 * 64;
        table_->gemm_pack(z.data(), z_stride, tokens, s.columns, middle, columns, panel.p);  // in parts, in any order
        table_->gemm_pack(z.data(), z_stride, tokens, s.columns, 0, middle, panel.p);
        std::vector<int32_t> got(acc_stride * tokens, -77);
        const uint32_t begin = m.blocks() > 2 ? 1 : 0;
        table_->gemm(m.packed, panel.p, tokens, begin, m.blocks(), got.data(), acc_stride);
        const size_t count = rows - 16 * begin;
        for (uint32_t t = 0; t < tokens; ++t) {
          std::vector<int32_t> one(count);
          reference().gemv(m.packed, z.data() + t * z_stride, begin, m.blocks(), one.data());
          ASSERT_TRUE(std::equal(one.begin(), one.end(), got.begin() + t * acc_stride))
              << bits << " bits, " << s.rows << " x " << s.columns << ", token " << t << " of " << tokens;
          for (size_t i = count; i < acc_stride; ++i) ASSERT_EQ(got[t * acc_stride + i], -77);
        }
      }
    }
  }
}

TEST_P(PackedKernels, GemmHoldsAtTheExtremes) {
  if (table_ == &reference()) GTEST_SKIP() << "the reference's gemm is its gemv";
  for (uint32_t bits : {2u, 3u, 8u}) {
    const uint32_t columns = 32768, tokens = 13;
    const Matrix m(48, columns, bits, Matrix::kLargest, 1);
    for (Activations kind : {Activations::kMost, Activations::kLeast}) {
      const std::vector<int8_t> one = activations(columns, kind, 0);
      const Scratch panel(table_->gemm_panel(columns, tokens));
      table_->gemm_pack(one.data(), 0, tokens, columns, 0, columns, panel.p);
      std::vector<int32_t> acc(48 * tokens);
      table_->gemm(m.packed, panel.p, tokens, 0, 3, acc.data(), 48);
      const int32_t value = static_cast<int32_t>((1 << bits) - 1) * one[0] * static_cast<int32_t>(columns);
      ASSERT_EQ(acc, std::vector<int32_t>(48 * tokens, value)) << bits;
    }
  }
}

TEST_P(PackedKernels, DecodeBlockGivesTheCodes) {
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    for (const Shape& s : {Shape{1, 4}, Shape{17, 60}, Shape{48, 576}, Shape{33, 1001}}) {
      const Matrix m(s.rows, s.columns, bits, Matrix::kRandom, s.columns);
      std::vector<uint16_t> block(16 * s.columns);
      std::vector<float> row(s.columns);
      for (uint32_t r = 0; r < 16 * m.blocks(); ++r) {
        if (r % 16 == 0) table_->decode_block(m.packed, r / 16, block.data());
        table_->row_f16(block.data() + size_t{r % 16} * s.columns, s.columns, row.data());
        for (uint32_t k = 0; k < s.columns; ++k) {
          const int code = r < s.rows ? m.codes[static_cast<size_t>(r) * s.columns + k] : 0;
          ASSERT_EQ(row[k], static_cast<float>(code) * kCodeUnit) << bits << " bits, row " << r << ", column " << k;
        }
      }
    }
  }
}

TEST_P(PackedKernels, DecodeRowFollowsTheFormula) {
  Random random(3);
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    for (uint32_t dim : {4u, 8u}) {
      const uint32_t rows = 37, columns = 192, span = 64, maps = 3;
      const Matrix m(rows, columns, bits, Matrix::kRandom, bits);
      const std::vector<float> a = random.floats(maps * dim * dim), b = random.floats(maps * dim);
      Affine affine;
      affine.dim = dim;
      affine.columns_per_map = span;
      affine.n_maps = maps;
      affine.a = a.data();
      affine.b = b.data();
      std::vector<float> out(columns);
      for (uint32_t row : {0u, 5u, 16u, 36u}) {
        table_->decode_row(m.packed, affine, row, out.data());
        for (uint32_t k = 0; k < columns; ++k) {
          const uint32_t g = k / dim * dim, i = k % dim, map = k / span;
          double w = b[map * dim + i];
          for (uint32_t j = 0; j < dim; ++j) {
            w += static_cast<double>(a[(map * dim + i) * dim + j]) * m.codes[row * columns + g + j];
          }
          ASSERT_NEAR(out[k], w, 1e-6 * (1 << bits) * dim) << row << ' ' << k;
        }
      }
    }
  }
}

SVQ_PER_TABLE(PackedKernels);

}  // namespace
}  // namespace svq::kernels::testing
