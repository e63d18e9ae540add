#include "converter/quantize/grid.h"
#include "converter/quantize/hadamard.h"
#include "converter/quantize/quantize.h"

namespace svq::convert {

// Ŵ = diag(s_out) H_outᵀ Q H_in diag(s_in)
at::Tensor dequantize_linear(const QuantizedGroup& group, size_t linear) {
  const at::NoGradGuard no_grad;
  const QuantizedLinear& l = group.linears.at(linear);
  at::Tensor w = decode(l.codes, group.maps.at(l.affine));
  rotate_(w, 0, l.output_rotation, /*inverse=*/true);
  rotate_(w, 1, group.rotation, /*inverse=*/true);
  if (l.out_scale.defined()) w.mul_(l.out_scale.unsqueeze(1));
  if (group.in_scale.defined()) w.mul_(group.in_scale.unsqueeze(0));
  return w;
}

}  // namespace svq::convert
