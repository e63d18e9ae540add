// AMX (Sapphire Rapids and later): one instruction multiplies 16 tokens × 64 columns by 64 columns × 16 rows.
//
// A tile of codes (16 bytes = 16 rows × 4 columns), broadcast to the four 128-bit lanes, rotated by 2p in lane p and
// masked, is one row of the weights' operand as tdpbsud reads it: for each of 16 outputs the codes of 4 columns. All
// planes of a linear are put together into one byte a code, so that every width costs one product.
//
// Blocking: two row blocks × up to 32 tokens (four accumulating tiles, two operands on either side: loads and products
// take about as long), over at most kChunk columns at a time: their decoded codes, 32 KiB on the stack, stay in L1
// while all tokens pass; a chunk's activations come from L2. Products of few tokens are left to dpbusd, which reads the
// codes once without storing them.
#include <immintrin.h>

#include <cstring>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

namespace svq::kernels::amx {
namespace {

constexpr uint32_t kTokens = 16;      // of a tile
constexpr uint32_t kFewTokens = 6;    // from here on tiles are worth it (measured)
constexpr size_t kStep = 64;          // columns of a tile
constexpr size_t kChunk = 1024;       // columns decoded at a time
constexpr size_t kTile = 16 * kStep;  // bytes

size_t padded(uint32_t columns) { return (static_cast<size_t>(columns) + 63) / 64 * 64; }

// Accumulators 0 … 3: token tile t, row block r in 2 t + r; 4, 5: activations of token tiles; 6, 7: codes.
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};

// `first`, `second`: tokens of the two token tiles.
inline void configure(uint32_t first, uint32_t second) {
  TileConfig c;
  std::memset(&c, 0, sizeof c);
  c.palette = 1;
  for (int i = 0; i < 8; ++i) c.bytes_per_row[i] = 64;
  const auto a = static_cast<uint8_t>(first), b = static_cast<uint8_t>(second);
  c.rows[0] = c.rows[1] = c.rows[4] = a;
  c.rows[2] = c.rows[3] = c.rows[5] = b;
  c.rows[6] = c.rows[7] = 16;
  asm volatile("" ::"r"(&c) : "memory");  // the intrinsics do not say that they read or write memory
  _tile_loadconfig(&c);
}

inline __m512i by_lane(int first, int step) {
  const int a = first, b = first + step, c = first + 2 * step, d = first + 3 * step;
  return _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a);
}

inline int log2_of(int32_t weight) { return weight == 1 ? 0 : weight == 4 ? 2 : weight == 16 ? 4 : 6; }

// Codes of one row block, columns [begin, begin + count), as operand tiles of kStep columns.
inline void decode(const Packed& w, uint32_t block, size_t begin, size_t count, uint8_t* out) {
  const size_t columns = padded(w.columns);
  for (uint32_t p = 0; p < w.n_planes; ++p) {
    const int shift = log2_of(w.plane_weight[p]);
    const bool add = p != 0;
    if (w.plane_bits[p] == 2) {
      const uint8_t* tile = w.plane[p] + (block * columns + begin) * 4;
      const __m512i turn = by_lane(-shift & 31, 2), mask = _mm512_set1_epi8(static_cast<char>(3 << shift));
      for (size_t k = 0; k < count; k += 4, tile += 16) {
        const __m512i v = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tile)));
        __m512i codes = _mm512_and_si512(_mm512_rorv_epi32(v, turn), mask);
        if (add) codes = _mm512_or_si512(codes, _mm512_load_si512(out + 16 * k));
        _mm512_store_si512(out + 16 * k, codes);
      }
    } else {
      const uint8_t* tile = w.plane[p] + (block * columns + begin) * 2;
      const __m512i turn = by_lane(-shift & 31, 2), mask = _mm512_set1_epi8(static_cast<char>(1 << shift));
      const __m512i one = _mm512_set1_epi32(1);
      for (size_t k = 0; k < count; k += 8, tile += 16) {
        const __m512i v = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tile)));
        __m512i left = _mm512_and_si512(_mm512_rorv_epi32(v, turn), mask);
        __m512i right = _mm512_and_si512(_mm512_rorv_epi32(v, _mm512_add_epi32(turn, one)), mask);
        if (add) {
          left = _mm512_or_si512(left, _mm512_load_si512(out + 16 * k));
          right = _mm512_or_si512(right, _mm512_load_si512(out + 16 * k + 64));
        }
        _mm512_store_si512(out + 16 * k, left);
        _mm512_store_si512(out + 16 * k + 64, right);
      }
    }
  }
}

// Activations of a token tile: bytes from one step to the next.
struct Tokens {
  const int8_t* z;
  size_t step;
  int32_t* c;  // of its first token, row block 0
};

// T token tiles × R row blocks over `steps` operand tiles. fresh: sums begin at 0. stride: bytes from token to token.
template <int T, int R>
inline void product(const Tokens& a, const Tokens& b, const uint8_t* codes, size_t steps, bool fresh, size_t stride) {
  if (fresh) {
    _tile_zero(0);
    if (R == 2) _tile_zero(1);
    if (T == 2) _tile_zero(2);
    if (T == 2 && R == 2) _tile_zero(3);
  } else {
    _tile_loadd(0, a.c, stride);
    if (R == 2) _tile_loadd(1, a.c + 16, stride);
    if (T == 2) _tile_loadd(2, b.c, stride);
    if (T == 2 && R == 2) _tile_loadd(3, b.c + 16, stride);
  }
  for (size_t s = 0; s < steps; ++s) {
    _tile_loadd(6, codes + s * kTile, 64);
    _tile_loadd(4, a.z + s * a.step, 64);
    _tile_dpbsud(0, 4, 6);
    if (T == 2) {
      _tile_loadd(5, b.z + s * b.step, 64);
      _tile_dpbsud(2, 5, 6);
    }
    if (R == 2) {
      _tile_loadd(7, codes + kChunk * 16 + s * kTile, 64);
      _tile_dpbsud(1, 4, 7);
      if (T == 2) _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, a.c, stride);
  if (R == 2) _tile_stored(1, a.c + 16, stride);
  if (T == 2) _tile_stored(2, b.c, stride);
  if (T == 2 && R == 2) _tile_stored(3, b.c + 16, stride);
}

template <int R>
inline void rows(const Packed& w, const int8_t* panel, uint32_t n_tokens, uint32_t block, int32_t* acc,
                 size_t acc_stride, uint8_t* codes) {
  const size_t columns = padded(w.columns);
  for (size_t begin = 0; begin < columns; begin += kChunk) {
    const size_t count = columns - begin < kChunk ? columns - begin : kChunk;
    for (int r = 0; r < R; ++r) decode(w, block + r, begin, count, codes + r * kChunk * 16);
    asm volatile("" ::: "memory");
    uint32_t first = 0, second = 0;  // as configured
    for (uint32_t t = 0; t < n_tokens;) {
      const uint32_t here = n_tokens - t < kTokens ? n_tokens - t : kTokens, left = n_tokens - t - here;
      const uint32_t next = left < kTokens ? left : kTokens;
      const uint32_t other = next == 0 ? here : next;
      if (here != first || other != second) configure(first = here, second = other);
      const auto tile = [&](uint32_t token, uint32_t size) -> Tokens {
        return {panel + token * columns + begin * size, kStep * size, acc + token * acc_stride};
      };
      const Tokens a = tile(t, here);
      if (next == 0) {
        product<1, R>(a, a, codes, count / kStep, begin == 0, acc_stride * 4);
      } else {
        product<2, R>(a, tile(t + here, next), codes, count / kStep, begin == 0, acc_stride * 4);
      }
      t += here + next;
    }
    asm volatile("" ::: "memory");
  }
}

}  // namespace

// [token tile][padded / 64][tokens of the tile][64]
void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  if (n_tokens < kFewTokens) return avx512::gemm_pack(z0, z_stride, n_tokens, columns, k_begin, k_end, panel);
  for (uint32_t t = 0; t < n_tokens; t += kTokens) {
    const uint32_t size = n_tokens - t < kTokens ? n_tokens - t : kTokens;
    int8_t* to = static_cast<int8_t*>(panel) + t * padded(columns) + size_t{k_begin} * size;
    for (size_t k = k_begin; k < k_end; k += kStep) {
      for (uint32_t i = 0; i < size; ++i, to += kStep) std::memcpy(to, z0 + (t + i) * z_stride + k, kStep);
    }
  }
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  if (n_tokens < kFewTokens) return avx512::gemm(w, panel, n_tokens, block_begin, block_end, acc, acc_stride);
  alignas(64) uint8_t codes[2 * kChunk * 16];
  const auto* z = static_cast<const int8_t*>(panel);
  uint32_t block = block_begin;
  for (; block + 2 <= block_end; block += 2, acc += 32) rows<2>(w, z, n_tokens, block, acc, acc_stride, codes);
  if (block < block_end) rows<1>(w, z, n_tokens, block, acc, acc_stride, codes);
  _tile_release();
}

}  // namespace svq::kernels::amx
