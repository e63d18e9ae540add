// aᵀ b of values rounded to bfloat16, sums in f32, by AMX tiles or by AVX512-BF16; on plain memory. No libtorch here.
#pragma once
#include <cstdint>

namespace svq::convert {

inline constexpr int64_t kPanel = 16;          // features of a panel: the rows (or columns) of a tile
inline constexpr int64_t kTileDepth = 32;      // tokens that one tile product sums over
inline constexpr int64_t kPanelTokens = 1024;  // tokens packed at a time: a panel takes 32 KB

// The CPU has AMX with bfloat16 and the system lets this process use it; or it is one of AMD's with AVX512-BF16 (on
// Intel's that is slower than f32).
bool bf16_products_available();

// Panel p holds features 16 p … 16 p + 15 of `tokens` ≤ kPanelTokens tokens rounded to bfloat16 (to nearest even),
// zeros where there are none; tokens are padded to a multiple of kTileDepth. x: element (t, k) at x[t · stride + k].
// Layout of `left`: [token / 32][feature][token % 32]; of `right`: [token / 2][feature][token % 2].
void pack_left(const float* x, int64_t stride, int64_t tokens, int64_t columns, int64_t panel, uint16_t* out);
void pack_right(const float* x, int64_t stride, int64_t tokens, int64_t columns, int64_t panel, uint16_t* out);
inline constexpr int64_t kPanelValues = kPanel * kPanelTokens;  // of one packed panel

// For panels [left_begin, left_end) × [right_begin, right_end): sum[i · stride + j] += Σ_t left_ti right_tj, for i <
// rows and j < columns. upper: products of panels that lie wholly below the diagonal are left out.
void bf16_products(const uint16_t* left, const uint16_t* right, int64_t tokens, int64_t left_begin, int64_t left_end,
                   int64_t right_begin, int64_t right_end, int64_t rows, int64_t columns, bool upper, float* sum,
                   int64_t stride);

}  // namespace svq::convert
