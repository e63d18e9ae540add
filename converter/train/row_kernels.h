// Loops over a row of values. No libtorch here. Sums are f32 in 16 lanes, those over a vocabulary f64 from run to run.
#pragma once
#include <cstdint>

namespace svq::convert {

// y = x · r ⊙ weight, r = 1 / sqrt(mean(x²) + eps); weight may be null. Returns r.
float normalise_row(const float* x, const float* weight, float eps, int64_t n, float* y);
// dx of dy, and dweight += dy ⊙ x · r (neither weight nor dweight if null).
void normalise_row_backward(const float* x, const float* weight, float r, const float* dy, int64_t n, float* dx,
                            float* dweight);

void silu_product_row(const float* gate, const float* up, int64_t n, float* y);
void silu_product_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                               float* dup);

// KL(softmax(wanted) ‖ softmax(logits)); logits becomes weight · (softmax(logits) − softmax(wanted)). The same with
// wanted in bfloat16. scratch: n.
double kl_row(const float* wanted, float* logits, int64_t n, float weight, float* scratch);
double kl_row(const uint16_t* wanted, float* logits, int64_t n, float weight, float* scratch);

// sums += x², by column; returns Σ x².
double add_squares_row(const float* x, int64_t n, float* sums);
// y += factor · x ⊙ by_column
void add_scaled_row(const float* x, const float* by_column, float factor, int64_t n, float* y);

}  // namespace svq::convert
