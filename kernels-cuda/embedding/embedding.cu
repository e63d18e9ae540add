#include "kernels-cuda/embedding/embedding.h"

#include "kernels-cuda/table.cuh"
#include "kernels-cuda/transform/vector.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

__device__ __forceinline__ float code_at(const Packed& w, uint32_t row, uint32_t k) {
  const uint32_t padded_columns = (w.columns + 63) / 64 * 64, block = row / 16, p = row % 16 / 4, l = row % 4;
  uint32_t code = 0;
  for (uint32_t i = 0; i < w.n_planes; ++i) {
    const uint32_t width = w.plane_bits[i] == 2 ? 4 : 8, in_tile = k % width;
    const size_t tile = size_t{block} * (padded_columns / width) + k / width;
    const uint32_t byte = w.plane[i][tile * 16 + 4 * l + in_tile % 4];
    const uint32_t value = width == 4 ? byte >> (2 * p) & 3 : byte >> (2 * p + in_tile / 4) & 1;
    code += value << (2 * i);
  }
  return static_cast<float>(code);
}

__global__ void __launch_bounds__(1024) embed_kernel(const Embed e, bool in_shared) {
  const uint32_t token = blockIdx.x, n = e.columns;
  const auto row = static_cast<uint32_t>(e.tokens[token]);
  for (uint32_t i = threadIdx.x; i < e.half_dim; i += blockDim.x) {
    const size_t at = size_t{token} * e.half_dim + i;
    e.cos[at] = e.host_cos[at];
    e.sin[at] = e.host_sin[at];
  }
  if (token == 0 && threadIdx.x == 0) *e.step = *e.host_step;
  float* x = e.x + size_t{token} * n;
  if (e.f16 != nullptr) {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) x[i] = half_to_float(e.f16[size_t{row} * n + i]);
    return;
  }
  float* a = block_vector(in_shared, e.scratch, token, n, 0);
  float* b = block_vector(in_shared, e.scratch, token, n, 1);
  const uint32_t d = e.affine.dim, span = e.affine.columns_per_map == 0 ? n : e.affine.columns_per_map;
  const bool mixed = e.rotation.kind == 2;
  const float norm = hadamard_norm(e.rotation);
  for (uint32_t k = threadIdx.x; k < n; k += blockDim.x) {
    const uint32_t map = k / span, i = k % d;
    const float* matrix = e.affine.a + (size_t{map} * d + i) * d;
    float v = e.affine.b[size_t{map} * d + i];
    for (uint32_t j = 0; j < d; ++j) v += matrix[j] * code_at(e.packed, row, k - i + j);
    a[padded(k)] = mixed ? v : v * norm;
  }
  float* y = a;
  if (mixed) {
    mix(a, b, e.rotation, e.rotation.inverse, norm);
    y = b;
  }
  if (e.rotation.kind != 0) {
    hadamard(y, n, e.rotation.block);
  } else {
    __syncthreads();
  }
  const float out = e.out_scale == nullptr ? 1.0f : half_to_float(e.out_scale[row]);
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    float v = y[padded(i)];
    if (e.scale != nullptr) v *= half_to_float(e.scale[i]);
    x[i] = v * out;
  }
}

}  // namespace

void embed(Stream stream, const Embed& e) {
  const VectorLayout layout = vector_layout(e.columns, e.rotation.kind == 2 ? 2 : 1, e.max_shared);
  launch(stream, "embed", embed_kernel, Dim(e.n), Dim(vector_threads(e.columns)), layout.shared, e, layout.in_shared);
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
