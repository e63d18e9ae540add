// The kernels of one build, real or emulated, behind one table (as kernels-neon/kernels.h). Contracts: the headers of
// the operations. Launches are queued on the stream; nothing waits.
#pragma once
#include "kernels-cuda/attention/attention.h"
#include "kernels-cuda/embedding/embedding.h"
#include "kernels-cuda/linear/linear.h"
#include "kernels-cuda/sample/sample.h"
#include "kernels-cuda/transform/transform.h"

namespace svq::cuda {

struct Kernels {
  EmbedFn* embed;
  InputFn* input;
  OutputFn* output;
  GateUpFn* gate_up;
  QkvFn* qkv;
  ShiftFn* shift;
  AddFn* add;
  SiluMulFn* silu_mul;
  PackedProductFn* packed_product;
  F16ProductFn* f16_product;
  AttendFn* attend;
  LogitsFn* logits;
  TopKFn* top_k;
};

}  // namespace svq::cuda
