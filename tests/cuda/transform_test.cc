// Norm, rotation, affine map, rounding; output transform; rotary turn and cache: against the scalar reference.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels-cuda/emulation/device.h"
#include "kernels-cuda/emulation/simt.h"
#include "schema/packing.h"
#include "tests/cuda/on_stream.h"
#include "tests/kernels/support.h"

namespace svq::cuda::testing {
namespace {

using kernels::testing::Random;
using kernels::testing::Rotated;
using kernels::testing::Scratch;

// A rotation for the reference, and the device's view of it.
struct BothRotations {
  BothRotations(uint32_t kind, uint32_t block, uint32_t factor) : host(kind, block, factor) {
    view.kind = kind;
    view.block = block;
    view.factor = factor;
    if (kind != 2) return;
    const uint32_t stride = mix_stride(factor);
    forward.assign(size_t{factor} * stride, 0.0f);
    inverse = forward;
    for (uint32_t i = 0; i < factor; ++i) {
      for (uint32_t j = 0; j < factor; ++j) {
        forward[j * stride + i] = host.mix[i * factor + j];
        inverse[j * stride + i] = host.mix[j * factor + i];
      }
    }
    view.forward = forward.data();
    view.inverse = inverse.data();
  }
  Rotated host;
  alignas(16) std::vector<float> forward, inverse;
  Rotation view;
};

struct Shape {
  uint32_t kind, block, factor;
};
constexpr Shape kShapes[] = {{0, 4, 1}, {0, 68, 1}, {1, 4, 1},  {1, 8, 3},    {1, 64, 1},   {1, 128, 5}, {2, 4, 3},
                             {2, 8, 5}, {2, 64, 9}, {2, 32, 7}, {1, 2048, 1}, {2, 1024, 3}, {2, 256, 35}};
std::string cat_shape(const Shape& s) {
  return std::to_string(s.kind) + ": " + std::to_string(s.block) + " · " + std::to_string(s.factor);
}
uint32_t length(const Shape& s) { return s.block * s.factor; }

struct Maps {
  Maps(uint32_t n, uint32_t dim, uint32_t per_map, bool scalar) {
    const uint32_t count = per_map == 0 ? 1 : (n + per_map - 1) / per_map;
    a = Random(n + dim).floats(size_t{count} * dim * dim, -0.3f, 0.3f);
    b = Random(n + dim + 1).floats(size_t{count} * dim);
    for (uint32_t i = 0; i < count * dim * dim; ++i) {
      const bool diagonal = i % (dim * dim) % (dim + 1) == 0;
      a[i] = scalar ? (diagonal ? 0.7f : 0.0f) : a[i] + (diagonal ? 1.0f : 0.0f);
    }
    host.dim = view.dim = dim;
    host.columns_per_map = view.columns_per_map = per_map;
    host.n_maps = count;
    host.a = view.a = a.data();
    host.b = view.b = b.data();
  }
  std::vector<float> a, b;
  kernels::Affine host;
  Affine view;
};

// What one token's codes should be, by the reference kernels.
struct Expected {
  Expected(const std::vector<float>& x, const float* weight, const uint16_t* scale, const kernels::Rotation& rotation,
           const kernels::Affine& affine)
      : u(x.size()), z(x.size()), codes(format::padded_columns(x.size())) {
    const auto n = static_cast<uint32_t>(x.size());
    std::vector<float> normed(n), scratch(n);
    const kernels::Table& k = kernels::reference();
    k.rmsnorm(x.data(), weight, 1e-5f, n, normed.data());
    k.scale_rotate(normed.data(), scale, rotation, n, u.data(), scratch.data());
    q.z = codes.data();
    k.affine_quantize(u.data(), affine, n, z.data(), &q);
  }
  std::vector<float> u, z;
  std::vector<int8_t> codes;
  kernels::Quantized q;
};

// Codes of what lies within rounding of a half may go either way; otherwise equal.
void compare(const Expected& want, const int8_t* codes, const Scale& scale, const std::string& what) {
  const size_t n = want.z.size();
  ASSERT_NEAR(scale.delta, want.q.delta, 2e-5 * want.q.delta) << what;
  double magnitude = 0;
  for (const float v : want.u) magnitude += std::fabs(v);
  ASSERT_NEAR(scale.beta, want.q.beta, 1e-5 * magnitude + 1e-6) << what;
  size_t different = 0;
  double lost = 0;
  for (size_t i = 0; i < n; ++i) {
    lost += want.z[i] - static_cast<double>(scale.delta) * codes[i];
    const double exact = want.z[i] / want.q.delta, half = std::fabs(std::fabs(exact - std::trunc(exact)) - 0.5);
    if (codes[i] != want.codes[i]) {
      ASSERT_LT(half, 2e-3) << what << " column " << i << ": " << exact;
      ASSERT_LE(std::abs(codes[i] - want.codes[i]), 1) << what;
      ++different;
    }
  }
  ASSERT_LE(different, 1 + n / 500) << what;
  // z itself differs by its rounding.
  ASSERT_NEAR(scale.lost, lost, 2e-5 * want.q.delta * static_cast<double>(n)) << what;
  for (size_t i = n; i < want.codes.size(); ++i) ASSERT_EQ(codes[i], 0) << what << " tail";
}

struct InputCase {
  explicit InputCase(const Shape& s, uint32_t dim = 4, uint32_t per_map = 0, bool scalar = false)
      : n(length(s)),
        rotation(s.kind, s.block, s.factor),
        maps(n, dim, per_map, scalar),
        weight(Random(n).floats(n, 0.5f, 1.5f)),
        scale(Random(n + 5).halves(n, 0.5f, 1.5f)),
        padded_n(static_cast<uint32_t>(format::padded_columns(n))) {}

  Input input(uint32_t tokens) {
    codes.assign(size_t{tokens} * padded_n, 99);
    scales.assign(tokens, {});
    Input in;
    in.columns = n;
    in.n = tokens;
    in.norm = true;
    in.weight = weight.data();
    in.eps = 1e-5f;
    in.scale = scale.data();
    in.rotation = rotation.view;
    in.affine = maps.view;
    in.codes = codes.data();
    in.codes_stride = padded_n;
    in.scales = scales.data();
    in.max_shared = 160 << 10;
    return in;
  }
  void check(const std::vector<float>& x, uint32_t token, const std::string& what) {
    const Expected want(x, weight.data(), scale.data(), rotation.host.r, maps.host);
    compare(want, codes.data() + size_t{token} * padded_n, scales[token], what);
  }

  uint32_t n;
  BothRotations rotation;
  Maps maps;
  std::vector<float> weight;
  std::vector<uint16_t> scale;
  uint32_t padded_n;
  std::vector<int8_t> codes;
  std::vector<Scale> scales;
};

std::vector<float> row(const std::vector<float>& x, uint32_t n, uint32_t t) {
  return {x.begin() + static_cast<ptrdiff_t>(t * n), x.begin() + static_cast<ptrdiff_t>((t + 1) * n)};
}

TEST(InputTransform, EqualsTheReferenceForEveryRotation) {
  const OnStream on;
  for (const Shape& s : kShapes) {
    InputCase c(s);
    const uint32_t tokens = 3;
    const auto x = Random(c.n + 1).floats(size_t{tokens} * c.n, -3, 3);
    auto in = c.input(tokens);
    auto copy = x;
    in.x = copy.data();
    std::vector<float> normed(size_t{tokens} * c.n);
    in.normed = normed.data();
    emulated_kernels().input(on.stream, in);
    for (uint32_t t = 0; t < tokens; ++t) {
      c.check(row(x, c.n, t), t, cat_shape(s));
      std::vector<float> want(c.n);
      kernels::reference().rmsnorm(x.data() + size_t{t} * c.n, c.weight.data(), 1e-5f, c.n, want.data());
      for (uint32_t i = 0; i < c.n; ++i) ASSERT_NEAR(normed[t * c.n + i], want[i], 1e-6 * std::fabs(want[i]) + 1e-9);
    }
    EXPECT_EQ(copy, x);
    // Through scratch in place of shared memory, token by token: the same to the bit.
    const auto codes = c.codes;
    const auto scales = c.scales;
    std::vector<float> scratch(transform_scratch(1, c.n, 0));
    for (uint32_t t = 0; t < tokens; ++t) {
      in = c.input(1);
      in.x = copy.data();
      in.first = t;
      in.max_shared = 512;
      in.scratch = scratch.data();
      emulated_kernels().input(on.stream, in);
      ASSERT_TRUE(std::equal(c.codes.begin(), c.codes.end(), codes.begin() + static_cast<ptrdiff_t>(t * c.padded_n)))
          << cat_shape(s);
      ASSERT_EQ(c.scales[0].delta, scales[t].delta);
      ASSERT_EQ(c.scales[0].beta, scales[t].beta);
      ASSERT_EQ(c.scales[0].lost, scales[t].lost);
    }
  }
}

TEST(InputTransform, EveryKindOfAffineMap) {
  const OnStream on;
  for (const uint32_t dim : {4u, 8u}) {
    for (const uint32_t per_map : {0u, 8u, 24u, 40u}) {
      for (const bool scalar : {false, true}) {
        InputCase c({2, 8, 9}, dim, per_map, scalar);
        auto x = Random(dim + per_map).floats(c.n, -3, 3);
        auto in = c.input(1);
        in.x = x.data();
        emulated_kernels().input(on.stream, in);
        c.check(x, 0, std::to_string(dim) + " by " + std::to_string(per_map));
      }
    }
  }
}

TEST(InputTransform, WhatIsNotFiniteShowsAndNothingBecomesZeros) {
  const OnStream on;
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 0.0f}) {
    InputCase c({2, 64, 3});
    std::vector<float> x(c.n, value == 0.0f ? 0.0f : 1.0f);
    x[77] = value;
    auto in = c.input(1);
    in.x = x.data();
    emulated_kernels().input(on.stream, in);
    EXPECT_EQ(c.codes, std::vector<int8_t>(c.padded_n, 0));
    EXPECT_TRUE(value == 0.0f ? c.scales[0].delta == 0.0f : std::isnan(c.scales[0].delta)) << value;
  }
}

// A product with known integers, and its reference output.
struct OutputCase {
  OutputCase(const Shape& s, uint32_t tokens, bool with_scale, bool with_bias)
      : n(length(s)), rotation(s.kind, s.block, s.factor), scale(Random(n).halves(n)), bias(Random(n + 1).floats(n)) {
    Random random(n + tokens);
    acc.resize(size_t{tokens} * (n + 3));
    for (int32_t& a : acc) a = static_cast<int32_t>(random.below(200001)) - 100000;
    for (uint32_t t = 0; t < tokens; ++t) {
      scales.push_back({random.uniform(1e-5f, 2e-5f), random.uniform(-1, 1), random.uniform(-0.1f, 0.1f)});
      std::vector<float> y(n), scratch(n);
      kernels::reference().dequantize(acc.data() + size_t{t} * (n + 3), scales[t].delta,
                                      std::fma(kMiddle, scales[t].lost, scales[t].beta), n, y.data());
      kernels::reference().rotate_scale(y.data(), rotation.host.r, with_scale ? scale.data() : nullptr,
                                        with_bias ? bias.data() : nullptr, n, scratch.data());
      want.insert(want.end(), y.begin(), y.end());
    }
    p.rows = n;
    p.rotation = rotation.view;
    p.scale = with_scale ? scale.data() : nullptr;
    p.bias = with_bias ? bias.data() : nullptr;
    p.acc = acc.data();
    p.acc_stride = n + 3;
    p.scales = scales.data();
    p.middle = kMiddle;
  }
  static constexpr float kMiddle = 7.5f;
  uint32_t n;
  BothRotations rotation;
  std::vector<uint16_t> scale;
  std::vector<float> bias;
  std::vector<int32_t> acc;
  std::vector<Scale> scales;
  std::vector<float> want;
  Product p;
};

void expect_near(const std::vector<float>& got, const std::vector<float>& want, const Shape& s,
                 float rounding = 1e-6f) {
  for (size_t i = 0; i < want.size(); ++i) {
    // Without a mix every operation is the reference's: equal. With one its sums are fused: within f32's rounding.
    if (s.kind == 2) {
      ASSERT_NEAR(got[i], want[i], rounding * std::sqrt(static_cast<float>(length(s)))) << cat_shape(s) << " at " << i;
    } else {
      ASSERT_EQ(got[i], want[i]) << cat_shape(s) << " at " << i;
    }
  }
}

TEST(OutputTransform, EqualsTheReferenceForEveryRotation) {
  const OnStream on;
  for (const Shape& s : kShapes) {
    const uint32_t tokens = 2;
    const OutputCase a(s, tokens, true, true), b(kShapes[4], tokens, false, true), c(kShapes[0], tokens, true, false);
    std::vector<float> ya(a.want.size()), yb(b.want.size()), yc(c.want.size()),
        scratch(transform_scratch(6, a.n + 64, 0));
    Output out;
    out.n = tokens;
    out.count = 3;
    out.product[0] = a.p;
    out.product[1] = b.p;
    out.product[2] = c.p;
    out.out[0] = ya.data();
    out.out[1] = yb.data();
    out.out[2] = yc.data();
    out.scratch = scratch.data();
    for (const uint32_t shared : {48u << 10, 512u}) {
      out.max_shared = shared;
      emulated_kernels().output(on.stream, out);
      expect_near(ya, a.want, s);
      expect_near(yb, b.want, kShapes[4]);
      expect_near(yc, c.want, kShapes[0]);
    }
  }
}

// Residual and norm behind a product: what the separate steps give.
TEST(Fused, ResidualSumEqualsTheSteps) {
  const OnStream on;
  for (const Shape& s : {kShapes[6], kShapes[4], kShapes[8], kShapes[0]}) {
    const uint32_t tokens = 2;
    const OutputCase y(s, tokens, true, true);
    InputCase c(s);
    const auto x = Random(3).floats(size_t{tokens} * c.n, -2, 2);
    // The steps.
    std::vector<float> sum(y.want.size());
    Output out;
    out.n = tokens;
    out.count = 1;
    out.product[0] = y.p;
    out.out[0] = sum.data();
    emulated_kernels().output(on.stream, out);
    auto stepwise = x;
    emulated_kernels().add(on.stream, stepwise.data(), sum.data(), sum.size());
    auto in = c.input(tokens);
    in.x = stepwise.data();
    emulated_kernels().input(on.stream, in);
    const auto codes = c.codes;
    const auto scales = c.scales;
    // At once.
    auto fused = x;
    in = c.input(tokens);
    in.x = fused.data();
    in.y = y.p;
    emulated_kernels().input(on.stream, in);
    EXPECT_EQ(fused, stepwise);
    EXPECT_EQ(c.codes, codes);
    for (uint32_t t = 0; t < tokens; ++t) EXPECT_EQ(c.scales[t].delta, scales[t].delta);
  }
}

TEST(Fused, GateAndUpEqualTheSteps) {
  const OnStream on;
  for (const uint64_t seed : {0u, 5u, 6u}) {
    simt::set_options({.seed = seed});
    for (const Shape& s : {kShapes[4], kShapes[8], kShapes[0]}) {
      const uint32_t tokens = 3;
      const OutputCase gate(s, tokens, true, false), up(s, tokens, true, true);
      InputCase c(s);
      std::vector<float> g(gate.want.size()), u(up.want.size());
      Output out;
      out.n = tokens;
      out.count = 2;
      out.product[0] = gate.p;
      out.product[1] = up.p;
      out.out[0] = g.data();
      out.out[1] = u.data();
      emulated_kernels().output(on.stream, out);
      auto product = g;
      emulated_kernels().silu_mul(on.stream, product.data(), u.data(), u.size());
      for (size_t i = 0; i < g.size(); ++i) {
        const double want = g[i] / (1 + std::exp(-static_cast<double>(g[i]))) * u[i];
        ASSERT_NEAR(product[i], want, 1e-6 * std::fabs(want) + 1e-30);
      }
      auto in = c.input(tokens);
      in.norm = false;
      in.x = product.data();
      emulated_kernels().input(on.stream, in);
      const auto codes = c.codes;
      in = c.input(tokens);
      in.norm = false;
      in.gate = g.data();
      in.up = u.data();
      emulated_kernels().input(on.stream, in);
      EXPECT_EQ(c.codes, codes);
      in = c.input(tokens);
      in.norm = false;
      std::vector<uint32_t> counters(tokens, 0);
      emulated_kernels().gate_up(on.stream, out, in, counters.data());
      EXPECT_EQ(c.codes, codes);
      EXPECT_EQ(counters, std::vector<uint32_t>(tokens, 0));
    }
  }
  simt::set_options({});
}

TEST(Qkv, TurnsNormalisesAndStoresAsTheReference) {
  const OnStream on;
  for (const uint32_t d : {2u, 10u, 16u, 64u, 80u, 128u}) {
    for (const bool norms : {false, true}) {
      for (const uint32_t bits : {16u, 8u}) {
        const uint32_t heads = 6, kv = 2, tokens = 3, positions = 300, start = 254;  // over the border of a page
        const Step step{start, tokens};
        const auto q = Random(d).floats(size_t{tokens} * heads * d),
                   k = Random(d + 1).floats(size_t{tokens} * kv * d, -4, 4),
                   v = Random(d + 2).floats(size_t{tokens} * kv * d);
        const auto q_norm = Random(d + 3).floats(d, 0.5f, 1.5f), k_norm = Random(d + 4).floats(d, 0.5f, 1.5f);
        std::vector<float> cosine(tokens * d / 2), sine(cosine.size());
        for (size_t i = 0; i < cosine.size(); ++i) {
          cosine[i] = std::cos(0.3f * static_cast<float>(i));
          sine[i] = std::sin(0.3f * static_cast<float>(i));
        }
        const uint64_t values = uint64_t{kv} * kSegment * d * (bits / 8),
                       all_scales = uint64_t{kv} * kSegment * sizeof(float);
        std::vector<uint8_t> page[2];
        for (auto& p : page) p.assign(2 * (values + all_scales), 0);
        uint8_t* table[2] = {page[0].data(), page[1].data()};
        auto qb = q, kb = k, vb = v;
        Qkv a;
        a.n = tokens;
        a.n_heads = heads;
        a.n_kv_heads = kv;
        a.buffer[0] = qb.data();
        a.buffer[1] = kb.data();
        a.buffer[2] = vb.data();
        a.q_norm = norms ? q_norm.data() : nullptr;
        a.k_norm = norms ? k_norm.data() : nullptr;
        a.eps = 1e-5f;
        a.cos = cosine.data();
        a.sin = sine.data();
        a.cache = {bits, positions, d, table, 0, values, 2 * values, 2 * values + all_scales};
        a.step = &step;
        emulated_kernels().qkv(on.stream, a);

        const kernels::Table& ref = kernels::reference();
        const uint32_t block = 1u << std::countr_zero(d);
        const BothRotations turn(1, block, d / block);
        for (uint32_t t = 0; t < tokens; ++t) {
          for (uint32_t h = 0; h < heads; ++h) {
            auto want = std::vector<float>(q.begin() + (t * heads + h) * d, q.begin() + (t * heads + h + 1) * d);
            if (norms) ref.rmsnorm(want.data(), q_norm.data(), 1e-5f, d, want.data());
            ref.rope(want.data(), cosine.data() + t * d / 2, sine.data() + t * d / 2, d);
            if (bits == 8) ref.rotate(want.data(), turn.host.r, false, nullptr);
            for (uint32_t i = 0; i < d; ++i) ASSERT_NEAR(qb[(t * heads + h) * d + i], want[i], 2e-6) << d;
          }
          for (uint32_t h = 0; h < kv; ++h) {
            auto key = std::vector<float>(k.begin() + (t * kv + h) * d, k.begin() + (t * kv + h + 1) * d);
            const float* value = v.data() + (t * kv + h) * d;
            if (norms) ref.rmsnorm(key.data(), k_norm.data(), 1e-5f, d, key.data());
            ref.rope(key.data(), cosine.data() + t * d / 2, sine.data() + t * d / 2, d);
            if (bits == 8) ref.rotate(key.data(), turn.host.r, false, nullptr);
            const uint8_t* stored = table[(start + t) / kSegment];
            const size_t at = size_t{h} * kSegment + (start + t) % kSegment;
            const uint8_t *kc = stored, *vc = stored + values;
            const auto* ks = reinterpret_cast<const float*>(stored + 2 * values);
            const float* vs = ks + size_t{kv} * kSegment;
            for (uint32_t i = 0; i < d; ++i) {
              if (bits == 16) {
                ASSERT_EQ(reinterpret_cast<const uint16_t*>(vc)[at * d + i], kernels::f32_to_f16(value[i]));
                ASSERT_NEAR(kernels::f16_to_f32(reinterpret_cast<const uint16_t*>(kc)[at * d + i]), key[i], 0.004);
              } else {
                ASSERT_NEAR(static_cast<int8_t>(vc[at * d + i]) * vs[at], value[i], 0.501 * vs[at]);
                ASSERT_NEAR(static_cast<int8_t>(kc[at * d + i]) * ks[at], key[i], 0.51 * ks[at]);
              }
            }
            if (bits == 8) {
              std::vector<int8_t> codes(d);
              float scale = 0;
              ref.store_i8(value, d, codes.data(), &scale);
              ASSERT_EQ(vs[at], scale);
              for (uint32_t i = 0; i < d; ++i) ASSERT_EQ(static_cast<int8_t>(vc[at * d + i]), codes[i]);
            }
          }
        }
      }
    }
  }
}

// What is read of one position and written of another must not meet, in whatever order the warps come; a drop shorter
// than a round of warps too.
TEST(Races, AShiftInRandomOrderGivesTheSame) {
  const OnStream on;
  const uint32_t d = 20, kv = 2, layers = 2, positions = 300;
  for (const uint32_t bits : {16u, 8u}) {
    for (const uint32_t drop : {1u, 3u, 100u}) {
      const uint64_t values = uint64_t{kv} * kSegment * d * (bits / 8),
                     scales = bits == 8 ? kv * kSegment * sizeof(float) : 0;
      std::vector<uint8_t> want;
      for (const uint64_t seed : {0u, 1u, 2u, 3u}) {
        simt::set_options({.seed = seed});
        std::vector<uint8_t> page[2];
        std::mt19937 rng(bits + drop);
        for (auto& p : page) {
          p.assign(2 * layers * (values + scales), 0);
          for (uint64_t i = 0; i < 2 * layers * values; ++i) p[i] = static_cast<uint8_t>(rng() % 120);  // finite halves
          auto* s = reinterpret_cast<float*>(p.data() + 2 * layers * values);
          for (uint64_t i = 0; i < 2 * layers * scales / 4; ++i) s[i] = static_cast<float>(rng() % 100) / 64;
        }
        uint8_t* table[2] = {page[0].data(), page[1].data()};
        std::vector<float> cosine(d / 2), sine(d / 2);
        for (uint32_t i = 0; i < d / 2; ++i)
          cosine[i] = std::cos(0.1f * static_cast<float>(i)), sine[i] = std::sin(0.1f * static_cast<float>(i));
        Shift s;
        s.n_layers = layers;
        s.n_kv_heads = kv;
        s.to = 2;
        s.from = 2 + drop;
        s.count = positions - s.from;
        s.cache = {
            bits, positions, d, table, 0, layers * values, 2 * layers * values, 2 * layers * values + layers * scales};
        s.values = values;
        s.scales = scales;
        s.cos = cosine.data();
        s.sin = sine.data();
        const auto before = page[0];
        emulated_kernels().shift(on.stream, s);
        std::vector<uint8_t> got = page[0];
        got.insert(got.end(), page[1].begin(), page[1].end());
        if (seed == 0) {
          want = got;
          // A value moves as it is: position 2 holds what stood at 2 + drop; position 1 is untouched.
          const size_t width = d * (bits / 8), v = layers * values;
          EXPECT_EQ(std::memcmp(&page[0][v + 2 * width], &before[v + (2 + drop) * width], width), 0);
          EXPECT_EQ(std::memcmp(&page[0][width], &before[width], width), 0);
        }
        EXPECT_EQ(got, want) << bits << " " << drop << " " << seed;
      }
    }
  }
  simt::set_options({});
}

TEST(Races, RandomOrderOfThreadsGivesTheSame) {
  const OnStream on;
  for (const Shape& s : {kShapes[8], kShapes[5]}) {
    InputCase c(s);
    const OutputCase y(s, 2, true, true);
    std::vector<int8_t> codes;
    for (const uint64_t seed : {0u, 1u, 2u}) {
      simt::set_options({.seed = seed});
      auto x = Random(4).floats(size_t{2} * c.n, -2, 2);
      auto in = c.input(2);
      in.x = x.data();
      in.y = y.p;
      emulated_kernels().input(on.stream, in);
      if (seed == 0) codes = c.codes;
      EXPECT_EQ(c.codes, codes) << seed;
    }
    simt::set_options({});
  }
}

}  // namespace
}  // namespace svq::cuda::testing
