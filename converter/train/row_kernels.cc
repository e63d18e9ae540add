#include "converter/train/row_kernels.h"

#include <cmath>

#include "converter/base/bf16.h"
#include "converter/base/clones.h"
#include "converter/base/exp.h"
#include "converter/base/lanes.h"

namespace svq::convert {
namespace {

constexpr int64_t kRun = 4096;  // values summed in f32

SVQ_CLONES float mean_square(const float* x, int64_t n) {
  return sum_of(n, [=](int64_t i) { return x[i] * x[i]; }) / static_cast<float>(n);
}

SVQ_CLONES void scaled(const float* x, const float* weight, float r, int64_t n, float* y) {
  if (weight) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * r * weight[i];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * r;
  }
}

SVQ_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }

// With p_i = e^(wanted_i − mp) / P and q_i likewise: KL = Σ p_i (wanted_i − logits_i) − (mp + ln P) + (mq + ln Q).
template <class T>
SVQ_INLINE double kl(const T* wanted, float* logits, int64_t n, float weight, float* scratch) {
  const float mp = largest(wanted, n), mq = largest(logits, n);
  double p_sum = 0, q_sum = 0, weighted = 0;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t count = n - begin < kRun ? n - begin : kRun;
    const T* w = wanted + begin;
    float* q = logits + begin;
    float* p = scratch + begin;
    for (int64_t i = 0; i < count; ++i) p[i] = exp_of(to_float(w[i]) - mp);
    p_sum += sum_of(count, [=](int64_t i) { return p[i]; });
    weighted += sum_of(count, [=](int64_t i) { return p[i] * (to_float(w[i]) - q[i]); });
    for (int64_t i = 0; i < count; ++i) q[i] = exp_of(q[i] - mq);
    q_sum += sum_of(count, [=](int64_t i) { return q[i]; });
  }
  const float of_q = static_cast<float>(weight / q_sum), of_p = static_cast<float>(weight / p_sum);
  for (int64_t i = 0; i < n; ++i) logits[i] = logits[i] * of_q - scratch[i] * of_p;
  return weighted / p_sum - (mp + std::log(p_sum)) + (mq + std::log(q_sum));
}

// target_clones does not reach templates and overloads.
SVQ_CLONES double kl_f32(const float* wanted, float* logits, int64_t n, float weight, float* scratch) {
  return kl(wanted, logits, n, weight, scratch);
}
SVQ_CLONES double kl_bf16(const uint16_t* wanted, float* logits, int64_t n, float weight, float* scratch) {
  return kl(wanted, logits, n, weight, scratch);
}

}  // namespace

float normalise_row(const float* x, const float* weight, float eps, int64_t n, float* y) {
  const float r = 1.0f / std::sqrt(mean_square(x, n) + eps);
  scaled(x, weight, r, n, y);
  return r;
}

// With g = dy ⊙ weight: dx = r g − r³ x mean(g ⊙ x).
SVQ_CLONES void normalise_row_backward(const float* x, const float* weight, float r, const float* dy, int64_t n,
                                       float* dx, float* dweight) {
  if (weight) {
    const float inner = sum_of(n, [=](int64_t i) { return dy[i] * weight[i] * x[i]; }) / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) dx[i] = r * (dy[i] * weight[i] - x[i] * (r * r * inner));
    for (int64_t i = 0; i < n; ++i) dweight[i] += dy[i] * x[i] * r;
  } else {
    const float inner = sum_of(n, [=](int64_t i) { return dy[i] * x[i]; }) / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) dx[i] = r * (dy[i] - x[i] * (r * r * inner));
  }
}

SVQ_CLONES void silu_product_row(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

// silu′(g) = σ(g) (1 + g (1 − σ(g))).
SVQ_CLONES void silu_product_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                                          float* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const float s = sigmoid(gate[i]);
    dgate[i] = dy[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    dup[i] = dy[i] * gate[i] * s;
  }
}

SVQ_CLONES double add_squares_row(const float* x, int64_t n, float* sums) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t count = n - begin < kRun ? n - begin : kRun;
    const float* from = x + begin;
    for (int64_t i = 0; i < count; ++i) sums[begin + i] += from[i] * from[i];
    sum += sum_of(count, [=](int64_t i) { return from[i] * from[i]; });
  }
  return sum;
}

SVQ_CLONES void add_scaled_row(const float* x, const float* by_column, float factor, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i] * by_column[i] * factor;
}

double kl_row(const float* wanted, float* logits, int64_t n, float weight, float* scratch) {
  return kl_f32(wanted, logits, n, weight, scratch);
}
double kl_row(const uint16_t* wanted, float* logits, int64_t n, float weight, float* scratch) {
  return kl_bf16(wanted, logits, n, weight, scratch);
}

}  // namespace svq::convert
