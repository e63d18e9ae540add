// Attention over an emulated device's cache: against f64, in one piece or many, with other tokens or alone.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels-cuda/emulation/device.h"
#include "kernels-cuda/emulation/simt.h"
#include "tests/cuda/on_stream.h"
#include "tests/kernels/support.h"

namespace svq::cuda::testing {
namespace {

using kernels::testing::Random;

struct Case {
  Case(uint32_t d_, uint32_t heads_, uint32_t kv_, uint32_t positions_, uint32_t bits_)
      : d(d_),
        heads(heads_),
        kv(kv_),
        positions(positions_),
        bits(bits_),
        scale(1 / std::sqrt(static_cast<float>(d_))) {
    const size_t n = size_t{kv} * positions * d;
    Random random(d + heads + bits);
    if (bits == 16) {
      k16 = random.halves(n, -4, 4);
      v16 = random.halves(n);
      for (size_t i = 0; i < n; ++i) {
        kf.push_back(kernels::f16_to_f32(k16[i]));
        vf.push_back(kernels::f16_to_f32(v16[i]));
      }
      return;
    }
    ks = random.floats(size_t{kv} * positions, 0.01f, 0.03f);
    vs = random.floats(size_t{kv} * positions, 0.001f, 0.01f);
    for (size_t i = 0; i < n; ++i) {
      k8.push_back(static_cast<int8_t>(static_cast<int>(random.below(255)) - 127));
      v8.push_back(static_cast<int8_t>(static_cast<int>(random.below(255)) - 127));
      kf.push_back(static_cast<float>(k8[i]) * ks[i / d]);
      vf.push_back(static_cast<float>(v8[i]) * vs[i / d]);
    }
  }

  // In pages, each an allocation of its own, so that the address sanitizer sees the ends.
  Cache cache() {
    Cache c;
    c.bits = bits;
    c.positions = positions;
    c.head_dim = d;
    const size_t rows = size_t{kv} * kSegment, width = d * (bits / 8);
    c.v = rows * width;
    c.k_scale = 2 * rows * width;
    c.v_scale = c.k_scale + rows * sizeof(float);
    pages.clear();
    table.clear();
    for (uint32_t page = 0; page < segments_of(positions); ++page) {
      pages.emplace_back(2 * rows * (width + (bits == 8 ? sizeof(float) : 0)), uint8_t{0xff});
      uint8_t* to = pages.back().data();
      const auto put = [&](uint64_t at, const void* from, size_t bytes) {
        for (size_t h = 0; h < kv; ++h) {
          for (uint32_t p = page * kSegment; p < std::min(positions, (page + 1) * kSegment); ++p) {
            std::memcpy(to + at + (h * kSegment + p % kSegment) * bytes,
                        static_cast<const uint8_t*>(from) + (h * positions + p) * bytes, bytes);
          }
        }
      };
      put(0, bits == 16 ? static_cast<void*>(k16.data()) : k8.data(), width);
      put(c.v, bits == 16 ? static_cast<void*>(v16.data()) : v8.data(), width);
      if (bits == 8) {
        put(c.k_scale, ks.data(), sizeof(float));
        put(c.v_scale, vs.data(), sizeof(float));
      }
      table.push_back(to);
    }
    c.pages = table.data();
    return c;
  }
  // Outputs (tokens, heads · d) of q, whose first token is at `position`; as `chunk` tokens a launch.
  std::vector<float> run(const OnStream& on, const std::vector<float>& q, uint32_t position, uint32_t chunk,
                         uint32_t window) {
    const uint32_t width = heads * d, tokens = static_cast<uint32_t>(q.size()) / width;
    std::vector<float> out(q.size()), partial(attend_scratch(heads, d, positions));
    std::vector<uint32_t> counters(kDecodeTokens * heads, 0);
    for (uint32_t t = 0; t < tokens; t += chunk) {
      const Step step{position + t, std::min(chunk, tokens - t)};
      Attend a;
      a.n = step.n;
      a.n_heads = heads;
      a.n_kv_heads = kv;
      a.q = q.data() + size_t{t} * width;
      a.out = out.data() + size_t{t} * width;
      a.cache = cache();
      a.step = &step;
      a.window = window;
      a.scale = scale;
      a.partial = partial.data();
      a.counters = counters.data();
      emulated_kernels().attend(on.stream, a);
    }
    EXPECT_EQ(counters, std::vector<uint32_t>(counters.size(), 0));
    return out;
  }
  void check(const std::vector<float>& q, const std::vector<float>& out, uint32_t position, uint32_t window) const {
    const uint32_t tokens = static_cast<uint32_t>(q.size()) / (heads * d), group = heads / kv;
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t h = 0; h < heads; ++h) {
        const uint32_t last = position + t, first = window != 0 && last >= window ? last - window + 1 : 0;
        const size_t run_at = size_t{h / group} * positions;
        const float* query = q.data() + (size_t{t} * heads + h) * d;
        std::vector<double> score, sum(d, 0.0);
        double total = 0, largest = -1e300;
        for (uint32_t p = first; p <= last; ++p) {
          double s = 0;
          for (uint32_t i = 0; i < d; ++i) s += static_cast<double>(query[i]) * kf[(run_at + p) * d + i];
          score.push_back(s * scale);
          largest = std::max(largest, score.back());
        }
        for (uint32_t p = first; p <= last; ++p) {
          const double e = std::exp(score[p - first] - largest);
          total += e;
          for (uint32_t i = 0; i < d; ++i) sum[i] += e * vf[(run_at + p) * d + i];
        }
        for (uint32_t i = 0; i < d; ++i) {
          ASSERT_NEAR(out[(size_t{t} * heads + h) * d + i], sum[i] / total, 4e-6)
              << d << ": token " << t << " head " << h;
        }
      }
    }
  }

  const uint32_t d, heads, kv, positions, bits;
  const float scale;
  std::vector<uint16_t> k16, v16;
  std::vector<int8_t> k8, v8;
  std::vector<float> ks, vs, kf, vf;
  std::vector<std::vector<uint8_t>> pages;
  std::vector<uint8_t*> table;
};

TEST(Attention, EqualsExactAttentionForEveryHeadDimension) {
  const OnStream on;
  for (const uint32_t bits : {16u, 8u}) {
    for (const uint32_t d : {2u, 6u, 10u, 16u, 64u, 66u, 80u, 96u, 128u, 256u, 264u}) {
      Case c(d, 4, 2, 70, bits);
      for (const uint32_t position : {0u, 1u, 30u, 31u, 63u}) {
        const auto q = Random(d + position).floats(size_t{4} * d, -2, 2);
        c.check(q, c.run(on, q, position, 1, 0), position, 0);
      }
    }
  }
}

// Decode splits the context, prefill walks over it; neither that nor the neighbours may change a bit.
TEST(Attention, ChunksDoNotChangeABit) {
  const OnStream on;
  struct Heads {
    uint32_t heads, kv;
  };
  for (const uint32_t bits : {16u, 8u}) {
    for (const Heads h : {Heads{9, 3}, Heads{4, 4}, Heads{8, 1}}) {
      Case c(16, h.heads, h.kv, 600, bits);
      for (const uint32_t window : {0u, 7u, 300u}) {
        const uint32_t position = 505, tokens = 11;  // over the border of a segment at 512
        const auto q = Random(window).floats(size_t{tokens} * h.heads * c.d, -2, 2);
        const auto whole = c.run(on, q, position, tokens, window);
        c.check(q, whole, position, window);
        for (const uint32_t chunk : {1u, 2u, 3u, 5u}) EXPECT_EQ(whole, c.run(on, q, position, chunk, window)) << chunk;
      }
    }
  }
}

TEST(Attention, LargeScoresAndNanAsOnTheCpu) {
  const OnStream on;
  Case c(64, 1, 1, 300, 16);
  for (const float sign : {1.0f, -1.0f}) {
    for (uint32_t p = 0; p < 300; ++p) {
      for (uint32_t i = 0; i < 64; ++i) {
        c.k16[p * 64 + i] = kernels::f32_to_f16(sign * static_cast<float>(p));
        c.v16[p * 64 + i] = kernels::f32_to_f16(static_cast<float>(p));
      }
    }
    const std::vector<float> q(64, 30.0f);
    for (const float o : c.run(on, q, 299, 1, 0)) ASSERT_NEAR(o, sign > 0 ? 299.0f : 0.0f, 1e-30f);
  }
  c.k16[17 * 64 + 3] = 0x7e00;
  const std::vector<float> q(size_t{6} * 64, 1.0f);
  EXPECT_TRUE(std::isnan(c.run(on, std::vector<float>(64, 1.0f), 280, 1, 0)[0]));
  // Out of the window, or later than the token: it does not take part, in whichever chunk.
  EXPECT_FALSE(std::isnan(c.run(on, std::vector<float>(64, 1.0f), 280, 1, 100)[0]));
  const auto six = c.run(on, q, 14, 6, 0);
  for (uint32_t t = 0; t < 6; ++t) EXPECT_EQ(std::isnan(six[t * 64]), t >= 3) << t;
}

TEST(Attention, RandomOrderOfThreadsGivesTheSame) {
  const OnStream on;
  Case c(80, 6, 2, 300, 8);
  const auto q = Random(1).floats(size_t{9} * 6 * 80, -2, 2);
  const auto want = c.run(on, q, 250, 9, 0);
  for (const uint64_t seed : {1u, 2u}) {
    simt::set_options({.seed = seed});
    EXPECT_EQ(c.run(on, q, 250, 9, 0), want);
    EXPECT_EQ(c.run(on, q, 250, 2, 0), want);
  }
  simt::set_options({});
}

}  // namespace
}  // namespace svq::cuda::testing
