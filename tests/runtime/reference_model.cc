#include "tests/runtime/reference_model.h"

#include <algorithm>
#include <numbers>

namespace svq::test {

ReferenceModel::ReferenceModel(const TinyModel& model) : meta_(model.meta), data_(model.data) {
  embedding_ = dense(*meta_.embedding);
  head_ = meta_.head ? dense(*meta_.head) : embedding_;
  for (const auto& b : meta_.blocks) {
    layers_.push_back({dense(*b->q), dense(*b->k), dense(*b->v), dense(*b->attn_out), dense(*b->gate), dense(*b->up),
                       dense(*b->down), values(b->attn_norm.get()), values(b->ffn_norm.get()), values(b->q_norm.get()),
                       values(b->k_norm.get())});
  }
  final_norm_ = values(meta_.final_norm.get());
}

ReferenceModel::Vector ReferenceModel::values(const fb::TensorT* t) const {
  if (t == nullptr) return {};
  Vector out;
  for (uint64_t at = t->offset; at < t->offset + t->size; at += t->dtype == fb::DType::F16 ? 2 : 4) {
    if (t->dtype == fb::DType::F16) {
      uint16_t half;
      std::memcpy(&half, data_.data() + at, 2);
      out.push_back(kernels::f16_to_f32(half));
    } else {
      float value;
      std::memcpy(&value, data_.data() + at, 4);
      out.push_back(value);
    }
  }
  return out;
}

ReferenceModel::Vector ReferenceModel::rotation(const fb::Rotation* r, uint32_t n) {
  Vector h(size_t{n} * n, 0.0);
  if (r == nullptr || r->kind() == fb::RotationKind::None) {
    for (uint32_t i = 0; i < n; ++i) h[size_t{i} * n + i] = 1;
    return h;
  }
  const uint32_t block = r->block(), factor = r->factor();
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t j = 0; j < n; ++j) {
      const uint32_t bi = i / block, bj = j / block;
      const double sign = std::popcount((i % block) & (j % block)) % 2 == 0 ? 1 : -1;
      double mix = bi == bj ? 1 : 0;
      if (r->kind() == fb::RotationKind::Mixed) {
        mix =
            std::sqrt((bi == 0 ? 1.0 : 2.0) / factor) * std::cos(std::numbers::pi * (2 * bj + 1) * bi / (2.0 * factor));
      }
      h[size_t{i} * n + j] = mix * sign / std::sqrt(static_cast<double>(block));
    }
  }
  return h;
}

ReferenceModel::Dense ReferenceModel::dense(const fb::LinearT& l) const {
  const uint32_t n = l.rows, k = l.columns;
  Dense out{n, k, Vector(size_t{n} * k, 0.0), values(l.bias.get())};
  if (l.bits == 16) {
    out.w = values(l.weight.get());
  } else {
    // Q
    std::vector<uint8_t> codes(size_t{n} * k);
    format::unpack({data_.data() + l.weight->offset, l.weight->size}, n, k, l.bits, codes);
    const fb::AffineMapsT& maps = *meta_.affine_maps[static_cast<size_t>(l.affine)];
    const Vector a = values(maps.a.get()), b = values(maps.b.get());
    const uint32_t d = maps.dim;
    Vector q(size_t{n} * k);
    for (uint32_t r = 0; r < n; ++r) {
      for (uint32_t c = 0; c < k; ++c) {
        const size_t g = maps.columns_per_map == 0 ? 0 : c / maps.columns_per_map;
        double sum = b[g * d + c % d];
        for (uint32_t j = 0; j < d; ++j) sum += a[(g * d + c % d) * d + j] * codes[size_t{r} * k + c / d * d + j];
        q[size_t{r} * k + c] = sum;
      }
    }
    // diag(s_out) · H_outᵀ · Q · H_in · diag(s_in)
    const fb::InputTransformT* t =
        l.input_transform < 0 ? nullptr : meta_.input_transforms[static_cast<size_t>(l.input_transform)].get();
    const Vector h_in = rotation(t ? t->rotation.get() : nullptr, k), h_out = rotation(l.output_rotation.get(), n);
    const Vector s_in = t ? values(t->scale.get()) : Vector(), s_out = values(l.out_scale.get());
    Vector right(size_t{n} * k, 0.0);
    for (uint32_t r = 0; r < n; ++r) {
      for (uint32_t j = 0; j < k; ++j) {
        for (uint32_t c = 0; c < k; ++c) right[size_t{r} * k + c] += q[size_t{r} * k + j] * h_in[size_t{j} * k + c];
      }
    }
    for (uint32_t r = 0; r < n; ++r) {
      for (uint32_t j = 0; j < n; ++j) {
        const double h = h_out[size_t{j} * n + r];
        if (h == 0) continue;
        for (uint32_t c = 0; c < k; ++c) out.w[size_t{r} * k + c] += h * right[size_t{j} * k + c];
      }
      for (uint32_t c = 0; c < k; ++c)
        out.w[size_t{r} * k + c] *= (s_out.empty() ? 1 : s_out[r]) * (s_in.empty() ? 1 : s_in[c]);
    }
  }
  if (l.side_u) {
    const Vector u = values(l.side_u.get()), v = values(l.side_v.get());
    const size_t rank = l.side_v->shape[0];
    for (uint32_t r = 0; r < n; ++r) {
      for (uint32_t c = 0; c < k; ++c) {
        for (size_t i = 0; i < rank; ++i) out.w[size_t{r} * k + c] += u[r * rank + i] * v[i * k + c];
      }
    }
  }
  return out;
}

ReferenceModel::Vector ReferenceModel::Dense::times(const Vector& x) const {
  Vector y(rows, 0.0);
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < columns; ++c) y[r] += w[size_t{r} * columns + c] * x[c];
    if (!bias.empty()) y[r] += bias[r];
  }
  return y;
}

ReferenceModel::Vector ReferenceModel::norm(const Vector& x, const Vector& weight) const {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale =
      1 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(meta_.architecture->norm_eps));
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * (weight.empty() ? 1 : weight[i]);
  return y;
}

void ReferenceModel::rope(double* head, uint32_t position) const {
  const fb::ArchitectureT& a = *meta_.architecture;
  const uint32_t half = a.head_dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const double angle = position * static_cast<double>(a.rope_inv_freq[i]);
    const double c = std::cos(angle) * a.rope_attention_factor, s = std::sin(angle) * a.rope_attention_factor;
    const double x = head[i], y = head[i + half];
    head[i] = x * c - y * s;
    head[i + half] = y * c + x * s;
  }
}

std::vector<std::vector<double>> ReferenceModel::logits(const std::vector<int32_t>& tokens) const {
  const fb::ArchitectureT& a = *meta_.architecture;
  const uint32_t d = a.head_dim, group = a.n_heads / a.n_kv_heads;
  const auto n = static_cast<uint32_t>(tokens.size());
  std::vector<Vector> x(n);
  for (uint32_t t = 0; t < n; ++t) {
    const auto row = embedding_.w.begin() + int64_t{tokens[t]} * a.hidden;
    x[t] = Vector(row, row + a.hidden);
  }
  const auto heads = [&](Vector& v, uint32_t count, const Vector& weight, uint32_t position) {
    for (uint32_t h = 0; h < count; ++h) {
      if (!weight.empty()) {
        const Vector y = norm(Vector(v.begin() + h * d, v.begin() + (h + 1) * d), weight);
        std::copy(y.begin(), y.end(), v.begin() + h * d);
      }
      rope(v.data() + h * d, position);
    }
  };
  const auto half = [](Vector& v) {  // the cache's rounding
    for (double& e : v) e = kernels::f16_to_f32(kernels::f32_to_f16(static_cast<float>(e)));
  };
  for (const Layer& l : layers_) {
    std::vector<Vector> q(n), k(n), v(n);
    for (uint32_t t = 0; t < n; ++t) {
      const Vector in = norm(x[t], l.attn_norm);
      q[t] = l.q.times(in);
      k[t] = l.k.times(in);
      v[t] = l.v.times(in);
      heads(q[t], a.n_heads, l.q_norm, t);
      heads(k[t], a.n_kv_heads, l.k_norm, t);
      half(k[t]);
      half(v[t]);
    }
    for (uint32_t t = 0; t < n; ++t) {
      Vector attended(size_t{a.n_heads} * d, 0.0);
      const uint32_t first = a.sliding_window != 0 && t + 1 > a.sliding_window ? t + 1 - a.sliding_window : 0;
      for (uint32_t h = 0; h < a.n_heads; ++h) {
        const uint32_t kv = h / group;
        Vector score;
        for (uint32_t p = first; p <= t; ++p) {
          double dot = 0;
          for (uint32_t i = 0; i < d; ++i) dot += q[t][h * d + i] * k[p][kv * d + i];
          score.push_back(dot / std::sqrt(static_cast<double>(d)));
        }
        const double top = *std::max_element(score.begin(), score.end());
        double total = 0;
        for (double& s : score) total += s = std::exp(s - top);
        for (uint32_t p = first; p <= t; ++p) {
          for (uint32_t i = 0; i < d; ++i) attended[h * d + i] += score[p - first] / total * v[p][kv * d + i];
        }
      }
      const Vector y = l.o.times(attended);
      for (uint32_t i = 0; i < a.hidden; ++i) x[t][i] += y[i];
    }
    for (uint32_t t = 0; t < n; ++t) {
      const Vector in = norm(x[t], l.ffn_norm);
      Vector gate = l.gate.times(in);
      const Vector up = l.up.times(in);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const Vector y = l.down.times(gate);
      for (uint32_t i = 0; i < a.hidden; ++i) x[t][i] += y[i];
    }
  }
  std::vector<Vector> out;
  for (uint32_t t = 0; t < n; ++t) out.push_back(head_.times(norm(x[t], final_norm_)));
  return out;
}

}  // namespace svq::test
