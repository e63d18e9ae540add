#include "runtime/model/random_model.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "kernels-neon/kernels.h"
#include "runtime/base/error.h"
#include "schema/container.h"
#include "schema/packing.h"

namespace svq::rt {
namespace {

struct Shape {
  const char* name;
  const char* family;
  uint32_t hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, vocab, context;
  double rope_base;
  bool tied, biases, qk_norms;
};
// From the models' published config.json.
constexpr Shape kShapes[] = {
    {"smollm2-135m", "llama", 576, 1536, 30, 9, 3, 64, 49152, 8192, 1e5, true, false, false},
    {"qwen2.5-1.5b", "qwen2", 1536, 8960, 28, 12, 2, 128, 151936, 32768, 1e6, true, true, false},
    {"qwen3-0.6b", "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e6, true, false, true},
    {"qwen3-1.7b", "qwen3", 2048, 6144, 28, 16, 8, 128, 151936, 40960, 1e6, true, false, true},
    {"qwen3-4b", "qwen3", 2560, 9728, 36, 32, 8, 128, 151936, 40960, 1e6, true, false, true},
    {"qwen3-8b", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936, 40960, 1e6, false, false, true},
    {"llama-3-8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256, 8192, 5e5, false, false, false},
};

// Fills a data section whose size is found by a first pass: with base null, tensors get their place and nothing else.
class RandomModelBuilder {
 public:
  RandomModelBuilder(const Shape& shape, uint32_t bits, uint64_t seed, uint8_t* base)
      : s_(shape), bits_(bits), state_(seed), base_(base) {}

  uint64_t data_size() const { return format::align_up(at_, format::kDataAlignment); }

  fb::ModelT build() {
    fb::ModelT m;
    m.name = cat("random ", s_.name);
    m.architecture = std::make_unique<fb::ArchitectureT>();
    fb::ArchitectureT& a = *m.architecture;
    a.family = s_.family;
    a.hidden = s_.hidden;
    a.intermediate = s_.intermediate;
    a.n_layers = s_.n_layers;
    a.n_heads = s_.n_heads;
    a.n_kv_heads = s_.n_kv_heads;
    a.head_dim = s_.head_dim;
    a.vocab = s_.vocab;
    a.context_length = s_.context;
    a.norm_eps = 1e-6f;
    for (uint32_t i = 0; i < s_.head_dim / 2; ++i) {
      a.rope_inv_freq.push_back(static_cast<float>(std::pow(s_.rope_base, -2.0 * i / s_.head_dim)));
    }
    a.rope_scaling = "none";
    m.provenance = std::make_unique<fb::ProvenanceT>();
    m.provenance->method = "random";

    const uint32_t outer_bits = bits_ == 16 ? 16 : 4;
    const uint32_t q = s_.n_heads * s_.head_dim, kv = s_.n_kv_heads * s_.head_dim;
    const Input outer = input(m, "embedding", s_.hidden, outer_bits);
    m.embedding = linear("embedding", s_.vocab, s_.hidden, outer_bits, outer, false, false);
    for (uint32_t i = 0; i < s_.n_layers; ++i) {
      const std::string at = cat("blocks.", i, ".");
      auto b = std::make_unique<fb::BlockT>();
      const Input attn_in = input(m, at + "qkv", s_.hidden, bits_), o_in = input(m, at + "o", q, bits_),
                  ffn_in = input(m, at + "gate_up", s_.hidden, bits_),
                  down_in = input(m, at + "down", s_.intermediate, bits_);
      b->q = linear(at + "q", q, s_.hidden, bits_, attn_in, true, s_.biases);
      b->k = linear(at + "k", kv, s_.hidden, bits_, attn_in, true, s_.biases);
      b->v = linear(at + "v", kv, s_.hidden, bits_, attn_in, true, s_.biases);
      b->attn_out = linear(at + "o", s_.hidden, q, bits_, o_in, true, false);
      b->gate = linear(at + "gate", s_.intermediate, s_.hidden, bits_, ffn_in, true, false);
      b->up = linear(at + "up", s_.intermediate, s_.hidden, bits_, ffn_in, true, false);
      b->down = linear(at + "down", s_.hidden, s_.intermediate, bits_, down_in, true, false);
      if (bits_ == 16) {  // otherwise folded into the input transforms
        b->attn_norm = ones(at + "attn_norm", s_.hidden);
        b->ffn_norm = ones(at + "ffn_norm", s_.hidden);
      }
      if (s_.qk_norms) {
        b->q_norm = ones(at + "q_norm", s_.head_dim);
        b->k_norm = ones(at + "k_norm", s_.head_dim);
      }
      m.blocks.push_back(std::move(b));
    }
    m.final_norm = ones("final_norm", s_.hidden);
    if (!s_.tied)
      m.head = linear("head", s_.vocab, s_.hidden, outer_bits, input(m, "head", s_.hidden, outer_bits), false, false);
    return m;
  }

 private:
  struct Input {
    int transform = -1, affine = -1;
  };

  uint64_t random() {  // SplitMix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  // Places a tensor; fill(bytes) writes it in the second pass.
  template <class Fill>
  std::unique_ptr<fb::TensorT> tensor(const std::string& name, fb::DType dtype, std::vector<uint64_t> shape,
                                      uint64_t size, const Fill& fill) {
    auto t = std::make_unique<fb::TensorT>();
    t->name = name;
    t->dtype = dtype;
    t->shape = std::move(shape);
    t->offset = at_;
    t->size = size;
    at_ = format::align_up(at_ + size, format::kTensorAlignment);
    if (base_ != nullptr) {
      fill(base_ + t->offset);
      t->checksum = XXH3_64bits(base_ + t->offset, size);
    }
    return t;
  }

  std::unique_ptr<fb::TensorT> f16(const std::string& name, std::vector<uint64_t> shape,
                                   const std::vector<float>& values) {
    return tensor(name, fb::DType::F16, std::move(shape), 2 * values.size(), [&](uint8_t* out) {
      auto* halves = reinterpret_cast<uint16_t*>(out);
      for (size_t i = 0; i < values.size(); ++i) halves[i] = kernels::f32_to_f16(values[i]);
    });
  }

  std::unique_ptr<fb::TensorT> ones(const std::string& name, uint32_t n) {
    return tensor(name, fb::DType::F32, {n}, uint64_t{4} * n, [&](uint8_t* out) {
      for (uint32_t i = 0; i < n; ++i) reinterpret_cast<float*>(out)[i] = 1.0f;
    });
  }

  // ±magnitude at random.
  std::vector<float> signs(uint32_t n, float magnitude) {
    std::vector<float> out(n);
    for (float& v : out) v = random() >> 63 ? magnitude : -magnitude;
    return out;
  }

  static std::unique_ptr<fb::Rotation> rotation(uint32_t n) {
    const uint32_t block = 1u << std::countr_zero(n);
    return std::make_unique<fb::Rotation>(fb::RotationKind::Mixed, block, n / block);
  }

  Input input(fb::ModelT& m, const std::string& name, uint32_t columns, uint32_t bits) {
    if (bits == 16) return {};
    auto t = std::make_unique<fb::InputTransformT>();
    t->columns = columns;
    t->scale = f16(name + ".scale", {columns}, signs(columns, 1.0f));
    t->rotation = rotation(columns);
    m.input_transforms.push_back(std::move(t));
    // Unit variance for uniform codes: a = sqrt(12 / (2^2b - 1)), b centres them.
    const float a = std::sqrt(12.0f / (std::exp2(2.0f * static_cast<float>(bits)) - 1));
    const float b = -a * (std::exp2(static_cast<float>(bits)) - 1) / 2;
    std::vector<float> matrix(16, 0.0f);
    for (size_t i = 0; i < 4; ++i) matrix[i * 5] = a;
    auto maps = std::make_unique<fb::AffineMapsT>();
    maps->a = f16(name + ".a", {1, 4, 4}, matrix);
    maps->b = f16(name + ".b", {1, 4}, std::vector<float>(4, b));
    m.affine_maps.push_back(std::move(maps));
    return {static_cast<int>(m.input_transforms.size()) - 1, static_cast<int>(m.affine_maps.size()) - 1};
  }

  std::unique_ptr<fb::LinearT> linear(const std::string& name, uint32_t rows, uint32_t columns, uint32_t bits,
                                      const Input& in, bool rotate, bool bias) {
    auto l = std::make_unique<fb::LinearT>();
    l->name = name;
    l->rows = rows;
    l->columns = columns;
    l->bits = static_cast<uint8_t>(bits);
    const float magnitude = 1.0f / std::sqrt(static_cast<float>(columns));
    if (bits == 16) {
      const uint64_t size = uint64_t{2} * rows * columns;
      // Any sign and mantissa at the exponent of 1/sqrt(columns).
      const uint16_t exponent = kernels::f32_to_f16(magnitude) & 0x7C00;
      const uint64_t exponents = exponent * uint64_t{0x0001000100010001}, keep = uint64_t{0x83FF83FF83FF83FF};
      l->weight = tensor(name + ".weight", fb::DType::F16, {rows, columns}, size,
                         [&](uint8_t* out) { fill_words(out, size, keep, exponents); });
    } else {
      const uint64_t size = format::packed_size(rows, columns, bits);
      l->weight = tensor(name + ".weight", fb::DType::Codes, {rows, columns}, size,
                         [&](uint8_t* out) { fill_words(out, size, ~uint64_t{0}, 0); });
      l->input_transform = in.transform;
      l->affine = in.affine;
      if (rotate) l->output_rotation = rotation(rows);
      l->out_scale = f16(name + ".out_scale", {rows}, signs(rows, magnitude));
    }
    if (bias) l->bias = tensor(name + ".bias", fb::DType::F32, {rows}, uint64_t{4} * rows, [](uint8_t*) {});  // zeros
    return l;
  }

  void fill_words(uint8_t* out, uint64_t size, uint64_t keep, uint64_t set) {
    uint64_t at = 0;
    for (; at + 8 <= size; at += 8) {
      const uint64_t word = (random() & keep) | set;
      std::memcpy(out + at, &word, 8);
    }
    const uint64_t word = (random() & keep) | set;
    std::memcpy(out + at, &word, size - at);
  }

  const Shape& s_;
  const uint32_t bits_;
  uint64_t state_;
  uint8_t* const base_;
  uint64_t at_ = 0;
};

}  // namespace

const char* shape_name(size_t index) { return index < std::size(kShapes) ? kShapes[index].name : nullptr; }

ModelFile create_random_model(const std::string& name, uint32_t bits, uint64_t seed) {
  const Shape* shape = nullptr;
  std::string known;
  for (const Shape& s : kShapes) {
    if (name == s.name) shape = &s;
    known += (known.empty() ? "" : ", ") + std::string(s.name);
  }
  if (shape == nullptr)
    fail(SVQ_ERROR_INVALID_ARGUMENT, "there is no shape called \"", name, "\", expected one of ", known);
  if (bits != 16 && !format::is_packed_width(bits))
    fail(SVQ_ERROR_INVALID_ARGUMENT, "bits is ", bits, ", expected 2 to 8, or 16");

  RandomModelBuilder measure(*shape, bits, seed, nullptr);
  measure.build();
  MemoryMap data = MemoryMap::anonymous(measure.data_size());
  data.prefer_huge_pages();
  const fb::ModelT model = RandomModelBuilder(*shape, bits, seed, data.data()).build();
  flatbuffers::FlatBufferBuilder builder;
  fb::FinishModelBuffer(builder, fb::Model::Pack(builder, &model));
  std::vector<uint8_t> metadata(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return ModelFile::from_parts(std::move(metadata), std::move(data), cat("random ", name));
}

}  // namespace svq::rt
