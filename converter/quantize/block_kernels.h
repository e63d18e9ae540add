// The sequential part of LDLQ and of coordinate descent: one block of columns, a tile of weight rows at a time.
// No libtorch here. All matrices are transposed: [columns, rows], so that a column of the weight is contiguous.
#pragma once
#include <cstdint>

namespace svq::convert {

inline constexpr int64_t kBlockColumns = 128;  // columns between two matrix products
inline constexpr int64_t kTileRows = 64;       // weight rows kept in registers

// Values are in code units: a code c stands for the value c (grid.h, code basis).
struct ColumnBlock {
  int64_t columns = 0;            // at most kBlockColumns
  int64_t stride = 0;             // elements between columns of values, base, codes
  const float* matrix = nullptr;  // [columns, columns] at matrix_stride; row k: what columns j < k feed into column k
  int64_t matrix_stride = 0;
  const float* base = nullptr;  // [columns, rows]: what the other blocks contribute
  float* values = nullptr;      // [columns, rows], see below
  uint8_t* codes = nullptr;     // [columns, rows]
  int max_code = 3;             // 2^bits − 1
};

// values: the target w on entry, the error w − c on return. For every column k in order:
//   c_k = nearest code to w_k + base_k + Σ_{j<k} matrix_kj (w_j − c_j)
void ldlq_tile(const ColumnBlock& block, int64_t row_begin, int64_t row_end);

// values: the error e = w − c, updated with the codes. base: (e H) of the columns at entry; matrix: the block of H. For
// every column in order the code moves to the minimum of tr(e H eᵀ) along it. Returns the number of codes that moved.
int64_t descent_tile(const ColumnBlock& block, int64_t row_begin, int64_t row_end);

// One row of `columns` codes. gradient: g = x H at entry, H [columns, columns] f32, kept up to date; change: what was
// added to it is added here too. errors: w − c. Column after column the code moves to the minimum of x H xᵀ along it,
// where x moves as the errors do. Returns the number of codes that moved.
int64_t descent_row(const float* hessian, int64_t columns, int max_code, float* gradient, float* change, float* errors,
                    uint8_t* codes);

// y += a x.
void add_scaled(const float* x, float a, int64_t n, float* y);

}  // namespace svq::convert
