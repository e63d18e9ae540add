// Loops over a tile of 16 tokens stored [column][token], so that every step of a transform is a plain vector operation
// whatever the size of the Hadamard transform. No libtorch here.
#pragma once
#include <cstdint>
#include <vector>

namespace svq::convert {

inline constexpr int64_t kTileTokens = 16;

// Block Hadamard, and with mixed the DCT-II across blocks (schema/FORMAT.md), on tiles.
class TileRotation {
 public:
  TileRotation(int64_t block, int64_t factor, bool mixed);
  int64_t size() const { return block_ * factor_; }
  // In place on a tile [size(), 16]; scratch of the same size. inverse: the transpose.
  void apply(float* tile, float* scratch, bool inverse) const;

 private:
  void mix(float* tile, float* scratch, bool inverse) const;
  int64_t block_, factor_;
  bool mixed_;
  float norm_;
  std::vector<float> matrix_;  // [factor, factor] DCT-II
};

// rows [tokens][columns] ↔ tile [columns][16]; missing tokens are zeros. As uint16_t rows are bfloat16.
void load_tile(const float* rows, int64_t tokens, int64_t columns, float* tile);
void load_tile(const uint16_t* rows, int64_t tokens, int64_t columns, float* tile);
void store_tile(const float* tile, int64_t tokens, int64_t columns, float* rows);
void store_tile(const float* tile, int64_t tokens, int64_t columns, uint16_t* rows);

void scale_tile(float* tile, const float* scale, int64_t columns);            // tile_k *= scale_k
void add_tokens(float* tile, const float* per_token, int64_t columns);        // tile_kw += per_token_w
void dot_tiles(const float* a, const float* b, int64_t columns, float* out);  // out_k = Σ_w a_kw b_kw
void sum_columns(const float* tile, int64_t columns, float* per_token);       // per_token_w = Σ_k tile_kw

// One map's groups: u, z [groups·d][16]. z_g = A_gᵀ u_g; beta_w += Σ B·u.
void affine_tile(const float* u, const float* a, const float* b, int64_t d, int64_t groups, float* z, float* beta);
// du_g += A dz_g + B dbeta; da += u dzᵀ, db += u dbeta, summed over groups and tokens.
void affine_backward_tile(const float* u, const float* dz, const float* dbeta, const float* a, const float* b,
                          int64_t d, int64_t groups, float* du, float* da, float* db);

}  // namespace svq::convert
