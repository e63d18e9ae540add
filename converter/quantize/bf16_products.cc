#include "converter/quantize/bf16_products.h"

#include <algorithm>
#include <cstring>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define SVQ_BF16_PRODUCTS 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace svq::convert {
namespace {

int64_t padded(int64_t tokens) { return (tokens + kTileDepth - 1) / kTileDepth * kTileDepth; }

SVQ_CLONES void convert_run(const float* x, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_bf16(x[i]);
}

}  // namespace

namespace {

// Value k of token t goes to out[at(t) + k · step].
template <class At>
void pack(const float* x, int64_t stride, int64_t tokens, int64_t columns, int64_t panel, int64_t step, uint16_t* out,
          const At& at) {
  const int64_t first = panel * kPanel, width = std::min(kPanel, columns - first);
  uint16_t row[kPanel] = {};
  for (int64_t t = 0; t < padded(tokens); ++t) {
    if (t < tokens) {
      convert_run(x + t * stride + first, width, row);
    } else {
      std::memset(row, 0, sizeof row);
    }
    for (int64_t k = 0; k < kPanel; ++k) out[at(t) + k * step] = row[k];
  }
}

}  // namespace

void pack_left(const float* x, int64_t stride, int64_t tokens, int64_t columns, int64_t panel, uint16_t* out) {
  pack(x, stride, tokens, columns, panel, kTileDepth, out,
       [](int64_t t) { return t / kTileDepth * kTileDepth * kPanel + t % kTileDepth; });
}

void pack_right(const float* x, int64_t stride, int64_t tokens, int64_t columns, int64_t panel, uint16_t* out) {
  pack(x, stride, tokens, columns, panel, 2, out, [](int64_t t) { return t / 2 * 2 * kPanel + t % 2; });
}

#if defined(SVQ_BF16_PRODUCTS)

namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kTiles;  // in memory as a whole: GCC's intrinsic does not say that it reads all 64 bytes

// 32 × 32 outputs: two panels on either side, tokens in steps of 32.
using Quad = void(const uint16_t* a0, const uint16_t* a1, const uint16_t* b0, const uint16_t* b1, int64_t steps,
                  float* c, int64_t stride);

__attribute__((target("amx-tile,amx-bf16"))) void quad_amx(const uint16_t* a0, const uint16_t* a1, const uint16_t* b0,
                                                           const uint16_t* b1, int64_t steps, float* c,
                                                           int64_t stride) {
  const int64_t row = stride * 4;
  float* low = c + kPanel * stride;
  asm volatile("" ::: "memory");  // GCC's intrinsics do not say that they touch memory
  _tile_loadd(0, c, row);
  _tile_loadd(1, c + kPanel, row);
  _tile_loadd(2, low, row);
  _tile_loadd(3, low + kPanel, row);
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t at = s * kTileDepth * kPanel;
    _tile_loadd(4, a0 + at, 64);
    _tile_loadd(5, a1 + at, 64);
    _tile_loadd(6, b0 + at, 64);
    _tile_loadd(7, b1 + at, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, row);
  _tile_stored(1, c + kPanel, row);
  _tile_stored(2, low, row);
  _tile_stored(3, low + kPanel, row);
  asm volatile("" ::: "memory");
}

constexpr int kRows = 8;  // of a that are held at once: 16 accumulators hide the latency, and leave room for b

// kRows features of one panel of a, two panels of b. A vector holds 16 features of b for two tokens, and meets those
// two tokens of one feature of a.
__attribute__((target("avx512f,avx512bf16"))) void rows_avx512(const uint16_t* a, const uint16_t* b0,
                                                               const uint16_t* b1, int64_t steps, float* c,
                                                               int64_t stride) {
  __m512 low[kRows], high[kRows];
  for (int r = 0; r < kRows; ++r) {
    low[r] = _mm512_loadu_ps(c + r * stride);
    high[r] = _mm512_loadu_ps(c + r * stride + kPanel);
  }
  for (int64_t s = 0; s < steps; ++s, a += kTileDepth * kPanel) {
    for (int64_t t = 0; t < kTileDepth; t += 2, b0 += 2 * kPanel, b1 += 2 * kPanel) {
      const auto x0 = (__m512bh)_mm512_loadu_si512(b0), x1 = (__m512bh)_mm512_loadu_si512(b1);
      for (int r = 0; r < kRows; ++r) {
        int32_t pair;
        std::memcpy(&pair, a + r * kTileDepth + t, sizeof pair);
        const auto y = (__m512bh)_mm512_set1_epi32(pair);
        low[r] = _mm512_dpbf16_ps(low[r], y, x0);
        high[r] = _mm512_dpbf16_ps(high[r], y, x1);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(c + r * stride, low[r]);
    _mm512_storeu_ps(c + r * stride + kPanel, high[r]);
  }
}

void quad_avx512(const uint16_t* a0, const uint16_t* a1, const uint16_t* b0, const uint16_t* b1, int64_t steps,
                 float* c, int64_t stride) {
  for (int64_t r = 0; r < kPanel; r += kRows) {
    rows_avx512(a0 + r * kTileDepth, b0, b1, steps, c + r * stride, stride);
    rows_avx512(a1 + r * kTileDepth, b0, b1, steps, c + (kPanel + r) * stride, stride);
  }
}

__attribute__((target("amx-tile"))) void configure() { _tile_loadconfig(&kTiles); }
__attribute__((target("amx-tile"))) void release() { _tile_release(); }

bool ask_for_tiles() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16")) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

enum class Unit { kNone, kAvx512, kAmx };

Unit unit() {
  static const Unit found = [] {
    if (ask_for_tiles()) return Unit::kAmx;
    return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16") ? Unit::kAvx512 : Unit::kNone;
  }();
  return found;
}

}  // namespace

bool bf16_products_available() { return unit() != Unit::kNone; }

void bf16_products(const uint16_t* left, const uint16_t* right, int64_t tokens, int64_t left_begin, int64_t left_end,
                   int64_t right_begin, int64_t right_end, int64_t rows, int64_t columns, bool upper, float* sum,
                   int64_t stride) {
  alignas(64) static const uint16_t zeros[kPanelValues] = {};
  alignas(64) float edge[4 * kPanel * kPanel];
  const int64_t steps = padded(tokens) / kTileDepth;
  const bool amx = unit() == Unit::kAmx;
  Quad* const quad = amx ? quad_amx : quad_avx512;
  if (amx) configure();
  for (int64_t j = right_begin; j < right_end; j += 2) {
    for (int64_t i = left_begin; i < left_end; i += 2) {
      if (upper && i > j + 1) break;
      const auto panel = [&](const uint16_t* of, int64_t p, int64_t end) {
        return p < end ? of + p * kPanelValues : zeros;
      };
      const uint16_t* a0 = panel(left, i, left_end);
      const uint16_t* a1 = panel(left, i + 1, left_end);
      const uint16_t* b0 = panel(right, j, right_end);
      const uint16_t* b1 = panel(right, j + 1, right_end);
      float* c = sum + i * kPanel * stride + j * kPanel;
      const int64_t high = std::min(2 * kPanel, rows - i * kPanel), wide = std::min(2 * kPanel, columns - j * kPanel);
      if (high == 2 * kPanel && wide == 2 * kPanel) {
        quad(a0, a1, b0, b1, steps, c, stride);
        continue;
      }
      std::memset(edge, 0, sizeof edge);
      quad(a0, a1, b0, b1, steps, edge, 2 * kPanel);
      for (int64_t r = 0; r < high; ++r) {
        for (int64_t k = 0; k < wide; ++k) c[r * stride + k] += edge[r * 2 * kPanel + k];
      }
    }
  }
  if (amx) release();
}

#else

bool bf16_products_available() { return false; }
void bf16_products(const uint16_t*, const uint16_t*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                   bool, float*, int64_t) {}

#endif

}  // namespace svq::convert
