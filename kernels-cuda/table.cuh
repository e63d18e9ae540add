// Declarations of this build's kernels.
#pragma once
#include "kernels-cuda/common.cuh"
#include "kernels-cuda/table.h"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
EmbedFn embed;
InputFn input;
OutputFn output;
GateUpFn gate_up;
QkvFn qkv;
ShiftFn shift;
AddFn add;
SiluMulFn silu_mul;
PackedProductFn packed_product;
F16ProductFn f16_product;
AttendFn attend;
LogitsFn logits;
TopKFn top_k;

inline constexpr Kernels kKernels = {embed,    input,          output,      gate_up, qkv,    shift, add,
                                     silu_mul, packed_product, f16_product, attend,  logits, top_k};
}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
