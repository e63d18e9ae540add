// A model of random weights that exists nowhere but in memory, and a plain double-precision reading of its blocks.
#pragma once
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "converter/base/error.h"
#include "converter/models/model.h"

namespace svq::convert::test {

struct FakeOptions {
  uint32_t hidden = 24, intermediate = 40, n_layers = 2, n_heads = 6, n_kv_heads = 2, head_dim = 8, vocab = 300;
  uint32_t sliding_window = 0;
  bool biases = false, qk_norms = false, tied = true;
  bool tokenizer = false, add_bos = false;
  fb::ChatFormat chat = fb::ChatFormat::None;
  std::string chat_template{};
  float rope_attention_factor = 1.0f;
  // Standard deviation of the head's rows against 1 / sqrt(hidden): large, and the model is sure of what it says.
  float sharpness = 1.0f;
};

class FakeModel : public Model {
 public:
  explicit FakeModel(const FakeOptions& o) : options_(o) {
    fb::ArchitectureT& a = architecture_;
    a.family = "llama";
    a.hidden = o.hidden;
    a.intermediate = o.intermediate;
    a.n_layers = o.n_layers;
    a.n_heads = o.n_heads;
    a.n_kv_heads = o.n_kv_heads;
    a.head_dim = o.head_dim;
    a.vocab = o.vocab;
    a.context_length = 64;
    a.norm_eps = 1e-5f;
    a.sliding_window = o.sliding_window;
    a.rope_attention_factor = o.rope_attention_factor;
    for (uint32_t i = 0; i < o.head_dim / 2; ++i)
      a.rope_inv_freq.push_back(static_cast<float>(std::pow(100.0, -2.0 * i / o.head_dim)));
    const uint32_t q = o.n_heads * o.head_dim, kv = o.n_kv_heads * o.head_dim;
    add(Slot::kEmbedding, -1, o.vocab, o.hidden, o.tied ? o.sharpness / std::sqrt(float(o.hidden)) : 1.0f);
    if (!o.tied) add(Slot::kHead, -1, o.vocab, o.hidden, o.sharpness / std::sqrt(float(o.hidden)));
    add(Slot::kFinalNorm, -1, 1, o.hidden, 0.2f, 1.0f);
    for (int layer = 0; layer < static_cast<int>(o.n_layers); ++layer) {
      add(Slot::kAttnNorm, layer, 1, o.hidden, 0.3f, 1.0f);
      add(Slot::kFfnNorm, layer, 1, o.hidden, 0.3f, 1.0f);
      add_linear(Slot::kQ, layer, q, o.hidden);
      add_linear(Slot::kK, layer, kv, o.hidden);
      add_linear(Slot::kV, layer, kv, o.hidden);
      add_linear(Slot::kO, layer, o.hidden, q);
      add_linear(Slot::kGate, layer, o.intermediate, o.hidden);
      add_linear(Slot::kUp, layer, o.intermediate, o.hidden);
      add_linear(Slot::kDown, layer, o.hidden, o.intermediate);
      if (o.biases) {
        add(Slot::kQBias, layer, 1, q, 0.5f);
        add(Slot::kKBias, layer, 1, kv, 0.5f);
        add(Slot::kVBias, layer, 1, kv, 0.5f);
        add(Slot::kOBias, layer, 1, o.hidden, 0.5f);
      }
      if (o.qk_norms) {
        add(Slot::kQNorm, layer, 1, o.head_dim, 0.3f, 1.0f);
        add(Slot::kKNorm, layer, 1, o.head_dim, 0.3f, 1.0f);
      }
    }
    if (o.tokenizer) add_tokenizer();
    chat_.format = o.chat;
    chat_.source_template = o.chat_template;
  }

  const fb::ArchitectureT& architecture() const override { return architecture_; }
  const fb::TokenizerT* tokenizer() const override { return options_.tokenizer ? &tokenizer_ : nullptr; }
  const fb::ChatT& chat() const override { return chat_; }
  const fb::GenerationT& generation() const override { return generation_; }
  const std::string& name() const override { return name_; }
  const std::string& source_name() const override { return name_; }
  const std::string& source_format() const override { return name_; }
  std::string source_hash() const override { return "0"; }
  uint64_t source_bytes() const override { return 0; }
  bool tied() const override { return options_.tied; }
  bool has(Slot slot, int layer) const override { return tensors_.contains({slot, layer}); }
  Shape shape(Slot slot, int layer) const override { return tensor(slot, layer).shape; }
  void read(Slot slot, int layer, std::span<float> out) const override {
    read_rows(slot, layer, 0, shape(slot, layer).rows, out);
  }
  void read_rows(Slot slot, int layer, uint64_t begin, uint64_t end, std::span<float> out) const override {
    const Tensor& t = tensor(slot, layer);
    if (end > t.shape.rows || out.size() != (end - begin) * t.shape.columns) throw Error("wrong range");
    for (size_t i = 0; i < out.size(); ++i) out[i] = t.values[begin * t.shape.columns + i];
  }

  const std::vector<float>& values(Slot slot, int layer) const { return tensor(slot, layer).values; }

  // Ids of the tokenizer: 0 … 255 the bytes, then these.
  static constexpr int32_t kStart = 256, kEnd = 257, kBos = 258;

 private:
  struct Tensor {
    Shape shape;
    std::vector<float> values;
  };

  const Tensor& tensor(Slot slot, int layer) const {
    const auto found = tensors_.find({slot, layer});
    if (found == tensors_.end()) throw Error("no such tensor");
    return found->second;
  }
  void add(Slot slot, int layer, uint64_t rows, uint64_t columns, float deviation, float mean = 0.0f) {
    Tensor t{{rows, columns}, {}};
    std::normal_distribution<float> normal(mean, deviation);
    for (uint64_t i = 0; i < rows * columns; ++i) t.values.push_back(normal(random_));
    tensors_[{slot, layer}] = std::move(t);
  }
  void add_linear(Slot slot, int layer, uint64_t rows, uint64_t columns) {
    add(slot, layer, rows, columns, 1.0f / std::sqrt(static_cast<float>(columns)));
  }
  void add_tokenizer() {
    fb::TokenizerT& t = tokenizer_;
    t.kind = fb::TokenizerKind::Bpe;
    t.pre_tokenizer = fb::PreTokenizer::Gpt2;
    t.token_offsets.push_back(0);
    const auto add_token = [&](const std::string& bytes) {
      t.token_bytes.insert(t.token_bytes.end(), bytes.begin(), bytes.end());
      t.token_offsets.push_back(static_cast<uint32_t>(t.token_bytes.size()));
    };
    for (int byte = 0; byte < 256; ++byte) add_token(std::string(1, static_cast<char>(byte)));
    const auto add_special = [&](int32_t id, const std::string& content) {
      add_token(content);
      auto special = std::make_unique<fb::SpecialTokenT>();
      special->id = static_cast<uint32_t>(id);
      special->content = content;
      t.special.push_back(std::move(special));
    };
    add_special(kStart, "<|im_start|>");
    add_special(kEnd, "<|im_end|>");
    add_special(kBos, "<s>");
    t.bos = kBos;
    t.add_bos = options_.add_bos;
    t.eos = {static_cast<uint32_t>(kEnd)};
  }

  FakeOptions options_;
  std::mt19937 random_{7};
  std::map<std::pair<Slot, int>, Tensor> tensors_;
  fb::ArchitectureT architecture_;
  fb::TokenizerT tokenizer_;
  fb::ChatT chat_;
  fb::GenerationT generation_;
  std::string name_ = "fake";
};

// ---------------------------------------------------------------- the reference

using Row = std::vector<double>;
using Rows = std::vector<Row>;  // one per position

inline Row norm(const Row& x, const std::vector<float>& weight, double eps) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * static_cast<double>(weight[i]);
  return y;
}

inline Row linear(const FakeModel& m, Slot slot, int layer, const Row& x, Slot bias = Slot::kEmbedding) {
  const std::vector<float>& w = m.values(slot, layer);
  const size_t rows = m.shape(slot, layer).rows;
  Row y(rows, 0.0);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < x.size(); ++c) y[r] += static_cast<double>(w[r * x.size() + c]) * x[c];
  if (bias != Slot::kEmbedding && m.has(bias, layer))
    for (size_t r = 0; r < rows; ++r) y[r] += static_cast<double>(m.values(bias, layer)[r]);
  return y;
}

// What each group of linears reads, for every position.
struct GroupInputs {
  Rows attn_in, o_in, ffn_in, down_in;
};

// One sequence through one block.
inline Rows reference_block(const FakeModel& m, int layer, const Rows& x, GroupInputs* inputs = nullptr) {
  const fb::ArchitectureT& a = m.architecture();
  const size_t d = a.head_dim, half = d / 2, group = a.n_heads / a.n_kv_heads;
  const auto heads = [&](Row all, Slot norm_slot, size_t n, size_t position) {
    Rows out;
    for (size_t h = 0; h < n; ++h) {
      Row head(all.begin() + static_cast<ptrdiff_t>(h * d), all.begin() + static_cast<ptrdiff_t>((h + 1) * d));
      if (m.has(norm_slot, layer)) head = norm(head, m.values(norm_slot, layer), static_cast<double>(a.norm_eps));
      Row turned(d);
      for (size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * static_cast<double>(a.rope_inv_freq[i]);
        const double f = static_cast<double>(a.rope_attention_factor);
        turned[i] = f * (head[i] * std::cos(angle) - head[i + half] * std::sin(angle));
        turned[i + half] = f * (head[i + half] * std::cos(angle) + head[i] * std::sin(angle));
      }
      out.push_back(turned);
    }
    return out;
  };

  std::vector<Rows> keys;
  Rows values, out;
  for (size_t p = 0; p < x.size(); ++p) {
    const Row n = norm(x[p], m.values(Slot::kAttnNorm, layer), static_cast<double>(a.norm_eps));
    const Rows q = heads(linear(m, Slot::kQ, layer, n, Slot::kQBias), Slot::kQNorm, a.n_heads, p);
    keys.push_back(heads(linear(m, Slot::kK, layer, n, Slot::kKBias), Slot::kKNorm, a.n_kv_heads, p));
    values.push_back(linear(m, Slot::kV, layer, n, Slot::kVBias));
    Row mixed(a.n_heads * d, 0.0);
    for (size_t h = 0; h < a.n_heads; ++h) {
      const size_t first = a.sliding_window > 0 && p + 1 > a.sliding_window ? p + 1 - a.sliding_window : 0;
      Row weights;
      double sum = 0;
      for (size_t s = first; s <= p; ++s) {
        double score = 0;
        for (size_t i = 0; i < d; ++i) score += q[h][i] * keys[s][h / group][i];
        weights.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
        sum += weights.back();
      }
      for (size_t s = first; s <= p; ++s)
        for (size_t i = 0; i < d; ++i) mixed[h * d + i] += weights[s - first] / sum * values[s][h / group * d + i];
    }
    Row y = x[p];
    const Row o = linear(m, Slot::kO, layer, mixed, Slot::kOBias);
    for (size_t i = 0; i < y.size(); ++i) y[i] += o[i];
    const Row n2 = norm(y, m.values(Slot::kFfnNorm, layer), static_cast<double>(a.norm_eps));
    const Row gate = linear(m, Slot::kGate, layer, n2), up = linear(m, Slot::kUp, layer, n2);
    Row inner(gate.size());
    for (size_t i = 0; i < inner.size(); ++i) inner[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
    const Row down = linear(m, Slot::kDown, layer, inner);
    for (size_t i = 0; i < y.size(); ++i) y[i] += down[i];
    out.push_back(y);
    if (inputs != nullptr) {
      inputs->attn_in.push_back(n);
      inputs->o_in.push_back(mixed);
      inputs->ffn_in.push_back(n2);
      inputs->down_in.push_back(inner);
    }
  }
  return out;
}

// Logits of every position of one sequence.
inline Rows reference_logits(const FakeModel& m, const std::vector<int64_t>& tokens) {
  const fb::ArchitectureT& a = m.architecture();
  const std::vector<float>& embedding = m.values(Slot::kEmbedding, -1);
  Rows x;
  for (const int64_t token : tokens) {
    const auto row = embedding.begin() + token * static_cast<int64_t>(a.hidden);
    x.emplace_back(row, row + a.hidden);
  }
  for (int layer = 0; layer < static_cast<int>(a.n_layers); ++layer) x = reference_block(m, layer, x);
  for (Row& row : x) {
    row = linear(m, m.tied() ? Slot::kEmbedding : Slot::kHead, -1,
                 norm(row, m.values(Slot::kFinalNorm, -1), static_cast<double>(a.norm_eps)));
  }
  return x;
}

}  // namespace svq::convert::test
