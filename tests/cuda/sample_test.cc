// The largest logits, and rows of an embedding.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels-cuda/emulation/device.h"
#include "tests/cuda/on_stream.h"
#include "tests/kernels/support.h"

namespace svq::cuda::testing {
namespace {

using kernels::testing::Matrix;
using kernels::testing::Random;

TopK top_of(const OnStream& on, const std::vector<float>& logits) {
  const auto vocab = static_cast<uint32_t>(logits.size());
  std::vector<uint64_t> scratch(top_k_scratch(vocab) / 2 + 1);
  TopK out;
  emulated_kernels().top_k(on.stream, logits.data(), vocab, reinterpret_cast<uint32_t*>(scratch.data()), &out);
  return out;
}

TEST(TopK, EqualsAStableSort) {
  const OnStream on;
  for (const uint32_t vocab : {1u, 5u, 127u, 129u, 4096u, 4097u, 9000u, 140000u}) {
    auto logits = Random(vocab).floats(vocab, -20, 20);
    for (float& v : logits) v = std::round(v * 8) / 8;  // many ties
    logits[vocab / 2] = -std::numeric_limits<float>::infinity();
    if (vocab > 100) logits[7] = 0.0f, logits[8] = -0.0f;
    std::vector<uint32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
    const TopK top = top_of(on, logits);
    EXPECT_EQ(top.bad, 0u);
    ASSERT_EQ(top.count, std::min(kTop, vocab - 1));
    for (uint32_t i = 0; i < top.count; ++i) {
      ASSERT_EQ(top.candidate[i].id, static_cast<int32_t>(order[i])) << vocab << " at " << i;
      ASSERT_EQ(top.candidate[i].logit, logits[order[i]]);
    }
  }
}

TEST(TopK, SaysWhenALogitIsNotANumber) {
  const OnStream on;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const uint32_t at : {0u, 4500u, 8999u}) {
      std::vector<float> logits(9000, 1.0f);
      logits[at] = bad;
      EXPECT_NE(top_of(on, logits).bad, 0u);
    }
  }
}

TEST(Embedding, RowsEqualTheReference) {
  const OnStream on;
  for (const uint32_t bits : {2u, 3u, 4u, 8u}) {
    for (const uint32_t dim : {4u, 8u}) {
      const uint32_t rows = 40, columns = 72, n = 3;
      const Matrix m(rows, columns, bits, Matrix::kRandom, bits);
      const auto a = Random(1).floats(dim * dim), b = Random(2).floats(dim);
      const auto scale = Random(3).halves(columns, 0.5f, 1.5f), out_scale = Random(4).halves(rows);
      kernels::Affine affine;
      affine.dim = dim;
      affine.a = a.data();
      affine.b = b.data();
      const Step host_step{17, n};
      const int32_t tokens[] = {0, 39, 21};
      const auto cosine = Random(5).floats(n * 4), sine = Random(6).floats(n * 4);
      std::vector<float> x(n * columns), device_cos(n * 4), device_sin(n * 4);
      Step step{};
      Embed e;
      e.n = n;
      e.columns = columns;
      e.half_dim = 4;
      e.host_step = &host_step;
      e.tokens = tokens;
      e.host_cos = cosine.data();
      e.host_sin = sine.data();
      e.packed.rows = rows;
      e.packed.columns = columns;
      e.packed.n_planes = m.packed.n_planes;
      for (uint32_t i = 0; i < m.packed.n_planes; ++i) {
        e.packed.plane[i] = m.packed.plane[i];
        e.packed.plane_bits[i] = m.packed.plane_bits[i];
      }
      e.affine = {dim, 0, a.data(), b.data()};
      e.rotation.kind = 1;
      e.rotation.block = 8;
      e.rotation.factor = 9;
      e.scale = scale.data();
      e.out_scale = out_scale.data();
      e.x = x.data();
      e.step = &step;
      e.cos = device_cos.data();
      e.sin = device_sin.data();
      emulated_kernels().embed(on.stream, e);
      EXPECT_EQ(step.position, 17u);
      EXPECT_EQ(device_cos, cosine);
      EXPECT_EQ(device_sin, sine);
      for (uint32_t t = 0; t < n; ++t) {
        std::vector<float> want(columns), scratch(columns);
        const auto token = static_cast<uint32_t>(tokens[t]);
        kernels::reference().decode_row(m.packed, affine, token, want.data());
        kernels::reference().rotate(want.data(), {1, 8, 9, nullptr}, true, scratch.data());
        for (uint32_t i = 0; i < columns; ++i) {
          const float w = want[i] * kernels::f16_to_f32(scale[i]) * kernels::f16_to_f32(out_scale[token]);
          ASSERT_EQ(x[t * columns + i], w) << bits << " bits, token " << t << ", column " << i;
        }
      }
      e.f16 = scale.data();  // a table of one row
      const int32_t zero[] = {0, 0, 0};
      e.tokens = zero;
      emulated_kernels().embed(on.stream, e);
      for (uint32_t i = 0; i < columns; ++i) ASSERT_EQ(x[i], kernels::f16_to_f32(scale[i]));
    }
  }
}

}  // namespace
}  // namespace svq::cuda::testing
