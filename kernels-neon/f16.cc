#include "kernels-neon/f16.h"

#include "kernels-neon/kernels.h"

namespace svq::kernels {
float f16_to_f32(uint16_t h) { return soft::half_to_float(h); }
uint16_t f32_to_f16(float f) { return soft::float_to_half(f); }
}  // namespace svq::kernels
