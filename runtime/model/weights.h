// A model's weights as the forward pass sees them: views into the file, in no backend's format.
// Immutable after construction and shared by every session.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels-neon/kernels.h"
#include "runtime/file/model_file.h"

namespace svq::rt {

// u = H (scale ⊙ x)
struct InputTransform {
  uint32_t columns = 0;
  const uint16_t* scale = nullptr;  // f16 (columns); null: ones
  kernels::Rotation rotation;
};

// y = weight x + bias + side_u (side_v x); the weight plain f16 or packed (schema/FORMAT.md).
struct Linear {
  uint32_t id = 0;                           // position in Weights::linears
  uint32_t rows = 0, columns = 0, bits = 0;  // N, K
  const uint16_t* weight = nullptr;          // bits 16: f16 (rows, columns)
  kernels::Packed packed;                    // bits 2 … 8: codes (rows, columns)
  int32_t input_transform = -1;              // into Weights::input_transforms; -1: u = x
  int32_t affine = -1;                       // into Weights::affine_maps
  kernels::Rotation output_rotation;         // of rows values
  const uint16_t* out_scale = nullptr;       // f16 (rows); null: ones
  const float* bias = nullptr;               // (rows); null: none
  uint32_t side_rank = 0;                    // 0: no side path
  const uint16_t* side_u = nullptr;          // f16 (rows, side_rank)
  const uint16_t* side_v = nullptr;          // f16 (side_rank, columns)

  bool is_packed() const { return bits != 16; }
};

struct Block {
  const float* attn_norm = nullptr;  // (hidden); null: folded into the input transform
  Linear q;                          // (n_heads * head_dim, hidden)
  Linear k;                          // (n_kv_heads * head_dim, hidden)
  Linear v;                          // (n_kv_heads * head_dim, hidden)
  const float* q_norm = nullptr;     // (head_dim); null: no norm
  const float* k_norm = nullptr;     // (head_dim); null: no norm
  Linear o;                          // (hidden, n_heads * head_dim)
  const float* ffn_norm = nullptr;   // (hidden); null: folded into the input transform
  Linear gate;                       // (intermediate, hidden)
  Linear up;                         // (intermediate, hidden)
  Linear down;                       // (hidden, intermediate)
};

struct Config {
  uint32_t hidden = 0, intermediate = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, vocab = 0;
  uint32_t context_length = 0;
  uint32_t sliding_window = 0;  // 0: full attention
  float norm_eps = 0;
  std::vector<float> rope_inv_freq;  // (head_dim / 2)
  float rope_attention_factor = 1;
};

// cos and sin (head_dim / 2) of the turn by `position`, times `factor`.
void rotary_turn(const Config& c, double position, double factor, float* cos, float* sin);

class Weights {
 public:
  // The file must have passed its checks and outlive the weights. with_values = false reads nothing of the data
  // section: sizes are right, but the affine maps are zero.
  explicit Weights(const ModelFile& file, bool with_values = true);
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  Config config;
  Linear embedding;                   // (vocab, hidden)
  std::vector<Block> blocks;          // (n_layers)
  const float* final_norm = nullptr;  // (hidden); null: folded into the head
  Linear head;                        // (vocab, hidden); tied: the embedding again, with the same id
  std::vector<InputTransform> input_transforms;
  std::vector<kernels::Affine> affine_maps;
  uint32_t n_linears = 0;

  // Sizes that a backend lays its scratch memory out by.
  uint32_t max_columns = 0, max_side_rank = 0;
  uint32_t max_rotation = 0;  // values in the longest output rotation

  uint64_t heap_bytes() const { return heap_bytes_; }

 private:
  struct Loader;
  std::map<uint32_t, std::vector<float>> mixes_;  // factor -> (factor, factor) orthonormal DCT-II
  std::vector<std::vector<float>> affine_values_;
  uint64_t heap_bytes_ = 0;
};

// Bytes that one decoded token reads: blocks, head, and one row of the embedding; and the size of the blocks' linears
// (codes, scales, affine maps) in bits per weight.
struct WeightSizes {
  uint64_t n_parameters = 0;  // of all linears, a tied embedding once
  uint64_t decode_bytes = 0;
  double bits_per_weight = 0;
};
WeightSizes measure(const fb::Model& model);

}  // namespace svq::rt
