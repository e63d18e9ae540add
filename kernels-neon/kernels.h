// The CPU kernels: one contract per operation, several instruction sets behind each. Every operation has its own folder
// with the contract's full text (<op>/<op>.h), the scalar reference and the variants; this table is what a caller sees.
//
// Common rules
// - Kernels neither allocate nor start threads; a caller splits rows, tokens or heads and passes ranges.
// - A result never depends on how the caller splits the work: what belongs to one token (or one row, one head) is
//   computed in the same order whatever stands beside it. Integer kernels are bit-exact to the reference; float kernels
//   accumulate in f32 (f64 where said) in an order fixed per instruction set.
// - Pointers need no alignment beyond their type's unless said; packed codes are 64-byte aligned.
// - f16 is IEEE binary16 held in uint16_t.
#pragma once
#include <cstddef>
#include <cstdint>

namespace svq::kernels {

enum class Isa { kScalar, kNeon, kDotprod, kI8mm, kAvx2, kAvxVnni, kAvx512, kAmx };
inline constexpr int kIsas = 8;

// Rotation of n = block * factor values (schema/svq.fbs, Rotation). kind 0: none, 1: blocks, 2: mixed.
struct Rotation {
  uint32_t kind = 0;
  uint32_t block = 0;
  uint32_t factor = 0;
  const float* mix = nullptr;  // kind 2: [factor, factor] orthonormal DCT-II, row-major (make_mix)
};

// Affine maps z_g = A_gᵀ u_g over groups of dim columns; map g serves columns_per_map columns (0: one for all).
// Converted to f32 once at load.
struct Affine {
  uint32_t dim = 4;
  uint32_t columns_per_map = 0;
  uint32_t n_maps = 1;
  const float* a = nullptr;  // [n_maps, dim, dim]
  const float* b = nullptr;  // [n_maps, dim]
  bool scalar = false;       // n_maps == 1, A = a[0]·I and all of B equal: z = a·u, beta = b·Σu
};

// Packed codes of one linear (schema/packing.h).
struct Packed {
  uint32_t rows = 0, columns = 0;  // N, K before padding
  uint32_t n_planes = 0;
  const uint8_t* plane[4] = {};  // each [Npad/16, Kpad/(4 or 8)] tiles
  uint8_t plane_bits[4] = {};    // 2 or 1
  int32_t plane_weight[4] = {};  // 1, 4, 16, 64
};

// One token's activations ready for a packed linear.
struct Quantized {
  int8_t* z = nullptr;  // [Kpad], zero beyond K
  float delta = 0;      // z * delta ≈ A^T u
  float beta = 0;       // Σ_g B_g · u_g
  float lost = 0;       // Σ_k (Aᵀu − z * delta)_k: what rounding took from the sum
};

// One query head [head_dim] over cached positions [first, last], both included.
struct AttendQuery {
  const float* q;
  float* out;  // [head_dim], not q
  uint32_t first, last;
  // Null: the whole result. Else out is not divided by the sum of the weights, and state becomes {largest score m,
  // Σ e^(score − m)}: with these, results over adjoining positions can be put together.
  float* state = nullptr;
};

inline constexpr float kCodeUnit = 0x1p-24f;  // of decode_block

struct Table {
  const char* name;
  Isa isa;

  // ---- rotate/ ---- x [n] in place; inverse: Hᵀ instead of H. scratch: [n] (needed for kind 2).
  void (*rotate)(float* x, const Rotation& r, bool inverse, float* scratch);

  // ---- input_transform/ ---- u = H (scale ⊙ x); scale [n] f16 or null (ones). u may be x.
  void (*scale_rotate)(const float* x, const uint16_t* scale, const Rotation& r, uint32_t n, float* u, float* scratch);
  // z = Aᵀu by groups, delta = max|z| / 127, q = round-to-nearest-even(z / delta), beta, lost; K = n, tail of q.z
  // zeroed to padded_columns(n). zf [n] scratch receives z in f32. delta = 0 when all of z is 0; a NaN or infinite z
  // gives zeros with delta = NaN, so that the outputs show it.
  void (*affine_quantize)(const float* u, const Affine& a, uint32_t n, float* zf, Quantized* q);

  // ---- gemv/ ---- acc[r] = Σ_k code[r,k] z[k] over all planes, for row blocks (16 rows) [block_begin, block_end);
  // acc points at row 16·block_begin and receives 16 values a block (padding rows give 0). Columns ≤ 65536: int32
  // suffices.
  void (*gemv)(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc);

  // ---- gemm/ ---- the same for tokens t < n_tokens: z[t] = z0 + t·z_stride; acc[t][r] at acc + t·acc_stride.
  // Equals gemv token by token, exactly. The activations are packed once, columns [k_begin, k_end) at a time (multiples
  // of 64), into a panel of gemm_panel(columns, n_tokens) bytes, 64-byte aligned, which any number of threads then
  // read.
  size_t (*gemm_panel)(uint32_t columns, uint32_t n_tokens);
  void (*gemm_pack)(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin,
                    uint32_t k_end, void* panel);
  void (*gemm)(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end,
               int32_t* acc, size_t acc_stride);

  // ---- output_transform/ ---- y = scale ⊙ Hᵀ(v) + bias, v[r] given in place; scale f16 or null, bias f32 or null.
  // dequantize: v[r] = delta·acc[r] + offset; offset is beta + m·lost, m the middle of the codes.
  void (*dequantize)(const int32_t* acc, float delta, float offset, uint32_t n, float* v);
  void (*rotate_scale)(float* v, const Rotation& r, const uint16_t* scale, const float* bias, uint32_t n,
                       float* scratch);

  // ---- lookup/ ---- one row of a packed linear: w[k] = A_g · code + B_g, f32 [K], before H_inᵀ and scales.
  void (*decode_row)(const Packed& w, const Affine& a, uint32_t row, float* out);
  // The codes of 16 rows times kCodeUnit, f16 [16, K] (padding rows give 0): for matmul_f16 with z in f32, to measure
  // what its rounding to int8 costs.
  void (*decode_block)(const Packed& w, uint32_t block, uint16_t* out);

  // ---- matmul_f16/ ---- y[t][r] = Σ_k w[r,k] x[t][k], w f16 row-major [rows, columns], rows [row_begin, row_end),
  // f32. y points at row 0. The order of each sum depends on `columns` alone.
  void (*matmul_f16)(const uint16_t* w, uint32_t columns, uint32_t row_begin, uint32_t row_end, const float* x,
                     size_t x_stride, uint32_t n_tokens, float* y, size_t y_stride);
  void (*row_f16)(const uint16_t* w, uint32_t columns, float* out);  // f16 → f32

  // ---- elementwise/ ----
  // y = weight ⊙ x / sqrt(mean(x²) + eps); weight f32 or null (ones); the mean accumulates in f64. y may be x.
  void (*rmsnorm)(const float* x, const float* weight, float eps, uint32_t n, float* y);
  // Half-split rotary embedding of one head [head_dim]: cos, sin [head_dim/2] of this position.
  void (*rope)(float* head, const float* cos, const float* sin, uint32_t head_dim);
  void (*silu_mul)(const float* gate, const float* up, uint32_t n, float* y);  // y = gate / (1 + exp(-gate)) * up
  void (*add)(float* x, const float* y, uint32_t n);                           // x += y
  void (*axpby)(float* x, const float* y, float a, uint32_t n);                // x += a·y

  // ---- attention/ ---- queries of one kv head, each over its cached positions, online softmax in blocks aligned to
  // absolute positions. k, v: position p of this kv head at base + p·stride (in elements).
  void (*attend_f16)(const AttendQuery* queries, uint32_t n, const uint16_t* k, const uint16_t* v, size_t stride,
                     uint32_t head_dim, float scale);
  // int8 cache: value = code · scale; k_scale, v_scale: position p at base + p·scale_stride.
  void (*attend_i8)(const AttendQuery* queries, uint32_t n, const int8_t* k, const int8_t* v, const float* k_scale,
                    const float* v_scale, size_t stride, size_t scale_stride, uint32_t head_dim, float scale);
  void (*store_f16)(const float* x, uint32_t n, uint16_t* out);             // round to nearest even
  void (*store_i8)(const float* x, uint32_t n, int8_t* out, float* scale);  // symmetric, scale = max|x| / 127
};

// Instruction sets this build has code for and this CPU runs, best last; kScalar is always there.
size_t available(Isa* out, size_t capacity);
const char* isa_name(Isa isa);  // "scalar", "neon", "dotprod", "i8mm", "avx2", "avxvnni", "avx512", "amx"
bool isa_from_name(const char* name, Isa* out);
// The table of one instruction set; null if not available here.
const Table* table(Isa isa);
// The best available, or what SVQ_ISA names. Null with *error set (static text) when SVQ_ISA is unknown or unavailable.
const Table* select(const char** error);
const Table& reference();  // scalar

// [factor, factor] orthonormal DCT-II: m[i][j] = sqrt((i ? 2 : 1)/r) · cos(π (2j+1) i / 2r), computed in f64.
void make_mix(uint32_t factor, float* m);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);  // round to nearest even; overflow gives infinity

}  // namespace svq::kernels
