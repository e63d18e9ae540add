// Quantization of the linears that share one input: input transform, affine maps, codes and scales (schema/FORMAT.md;
// method: rotate by randomised Hadamard, LDLQ onto the affine integer lattice, coordinate descent, least-squares
// scales).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

enum class Method { kUnisvq, kGptq, kRtn };
enum class RotationChoice { kMixed, kBlocks, kNone };    // for K = 2^k · r with r > 1; kMixed is the default
enum class LatticeInit { kIdentity, kOrthogonal, kD4 };  // G in A = s·G; D4: a generator of that lattice

struct QuantizeOptions {
  Method method = Method::kUnisvq;
  RotationChoice rotation = RotationChoice::kMixed;
  LatticeInit lattice = LatticeInit::kIdentity;
  int group_dim = 4;            // d: 4 or 8
  int columns_per_map = 0;      // 0: one affine map for all columns
  double damping = 0.01;        // of the mean diagonal of H
  double output_damping = 0.1;  // the same of LinearJob::output_hessian
  int descent_passes = 1;
  int64_t search_moves = 2000;  // of local search, a row; see row_search.h. With none, descent wants 4 passes
  bool scale_search = true;   // search s around its closed form, per linear
  bool fit_out_scale = true;  // least squares per row after the codes are fixed
  uint64_t seed = 0;
};

struct LinearJob {
  std::string name;           // "blocks.3.q"
  at::Tensor weight;          // [N, K] f32
  int bits = 2;               // 2 … 8
  bool rotate_output = true;  // false for embedding and head
  at::Tensor output_hessian;  // [N, N] f32: mean of g gᵀ, g the loss's gradient of the outputs; undefined: identity
};

struct GroupJob {
  std::string name;       // "blocks.3.attn_in": seeds of signs derive from (seed, name)
  at::Tensor hessian;     // [K, K] f32: mean of x xᵀ of the linears' input; undefined: identity (rtn)
  at::Tensor input_norm;  // [K] f32: RMSNorm weight to fold into s_in, or undefined
  // x in `hessian` is the input of the linears, i.e. after input_norm.
  std::vector<LinearJob> linears;
};

struct QuantizedLinear {
  std::string name;
  int64_t rows = 0, columns = 0;
  int bits = 0;
  at::Tensor codes;              // [N, K] u8
  at::Tensor out_scale;          // [N] f32, already rounded to f16 values
  fb::Rotation output_rotation;  // kind None for embedding, head, gptq, rtn
  int affine = 0;                // index into QuantizedGroup::maps
  double relative_error = 0;     // tr((Ŵ−W) H (Ŵ−W)ᵀ) / tr(W H Wᵀ), of the stored (f16-rounded) values
};

struct AffineMapsData {
  int dim = 4;
  int columns_per_map = 0;
  at::Tensor a;  // [G, d, d] f32, already rounded to f16 values
  at::Tensor b;  // [G, d]
};

struct QuantizedGroup {
  std::string name;
  int64_t columns = 0;
  at::Tensor in_scale;  // [K] f32 rounded to f16: signs ⊙ input_norm; undefined: ones
  fb::Rotation rotation;
  std::vector<AffineMapsData> maps;  // linears with equal bits share one: their scale is in out_scale
  std::vector<QuantizedLinear> linears;
};

// progress(fraction) is called between steps of the work, from the calling thread; may be empty.
// A job that is moved in gives its Hessian's memory back as soon as it has been rotated.
QuantizedGroup quantize_group(GroupJob job, const QuantizeOptions& options,
                              const std::function<void(double)>& progress = {});

// The weights [N, K] f32 that a quantized linear stands for, as applied to the (normalised, unweighted when the norm is
// folded) input: y = dequantize_linear(…) · x. For tests, error reports and fine-tuning.
at::Tensor dequantize_linear(const QuantizedGroup& group, size_t linear);

}  // namespace svq::convert
