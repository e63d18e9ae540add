// Small models made in memory for tests: every packed width, f16, grouped-query attention, biases, q/k norms, sliding
// window, side paths, tied or separate head, and a byte-level tokenizer with ChatML. Random but well scaled weights.
#pragma once
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels-neon/kernels.h"
#include "schema/container.h"
#include "schema/packing.h"
#include "svq_generated.h"

namespace svq::test {

struct TinyOptions {
  uint32_t hidden = 64, intermediate = 96, n_layers = 2, n_heads = 4, n_kv_heads = 2, head_dim = 16, context = 256;
  uint32_t vocab = 272;         // 256 bytes, 9 merges, 3 special tokens, 4 ids without a token
  uint32_t bits = 2;            // of the blocks' linears: 2, 3, 4, 8, 16; 0: a different width for each
  uint32_t embedding_bits = 4;  // and of the head
  bool tied = true, biases = false, qk_norms = false, fold_norms = false, side_paths = false;
  bool separate_inputs = false;  // q, k, v and gate, up do not share input transform and affine maps
  fb::RotationKind rotation = fb::RotationKind::Mixed;
  uint32_t group = 4;  // columns of an affine map: 4 or 8
  uint32_t columns_per_map = 0;
  bool scalar_maps = false;  // A = a·I, B = b·1
  uint32_t sliding_window = 0;
  bool tokenizer = true;
  uint32_t seed = 1;
};

struct TinyModel {
  fb::ModelT meta;
  std::vector<uint8_t> data;
};

// Bytes on a page boundary, as a mapping is; the address sanitizer sees the exact end.
class PageBytes {
 public:
  explicit PageBytes(std::span<const uint8_t> bytes) : size_(bytes.size()), data_(allocate(bytes.size())) {
    if (!bytes.empty()) std::memcpy(data_.get(), bytes.data(), bytes.size());
  }
  std::span<uint8_t> span() { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  static uint8_t* allocate(size_t n) {
    void* p = nullptr;
    if (posix_memalign(&p, 4096, n == 0 ? 1 : n) != 0) throw std::bad_alloc();
    return static_cast<uint8_t*>(p);
  }
  size_t size_;
  std::unique_ptr<uint8_t, Free> data_;
};

class TinyBuilder {
 public:
  explicit TinyBuilder(const TinyOptions& options) : o_(options), rng_(options.seed) {}

  TinyModel build() {
    fb::ModelT& m = out_.meta;
    m.name = "tiny";
    m.architecture = std::make_unique<fb::ArchitectureT>();
    fb::ArchitectureT& a = *m.architecture;
    a.family = "llama";
    a.hidden = o_.hidden;
    a.intermediate = o_.intermediate;
    a.n_layers = o_.n_layers;
    a.n_heads = o_.n_heads;
    a.n_kv_heads = o_.n_kv_heads;
    a.head_dim = o_.head_dim;
    a.vocab = o_.vocab;
    a.context_length = o_.context;
    a.norm_eps = 1e-5f;
    a.sliding_window = o_.sliding_window;
    a.rope_scaling = "none";
    for (uint32_t i = 0; i < o_.head_dim / 2; ++i) {
      a.rope_inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / o_.head_dim)));
    }
    m.provenance = std::make_unique<fb::ProvenanceT>();
    m.provenance->method = "random";
    m.provenance->recipe = "{\"seed\":" + std::to_string(o_.seed) + "}";

    const uint32_t q = o_.n_heads * o_.head_dim, kv = o_.n_kv_heads * o_.head_dim, h = o_.hidden, ffn = o_.intermediate;
    const Input outer = input(h, o_.embedding_bits, false);
    m.embedding = linear("embedding", o_.vocab, h, o_.embedding_bits, outer, false, 1.0f);
    for (uint32_t i = 0; i < o_.n_layers; ++i) {
      const std::string at = "blocks." + std::to_string(i) + ".";
      auto b = std::make_unique<fb::BlockT>();
      // In a mixed model the 16-bit v and up read the explicit norm, so norms are folded only in uniform ones.
      const bool fold = o_.fold_norms && o_.bits != 0 && o_.bits != 16;
      if (!fold) {
        b->attn_norm = f32(at + "attn_norm", uniform(h, 0.5f, 1.5f));
        b->ffn_norm = f32(at + "ffn_norm", uniform(h, 0.5f, 1.5f));
      }
      if (o_.qk_norms) {
        b->q_norm = f32(at + "q_norm", uniform(o_.head_dim, 0.5f, 1.5f));
        b->k_norm = f32(at + "k_norm", uniform(o_.head_dim, 0.5f, 1.5f));
      }
      const Input qkv = input(h, bits(2), fold);
      const auto own = [&](const Input& shared, uint32_t width) {
        return o_.separate_inputs ? input(h, width, fold) : shared;
      };
      b->q = linear(at + "q", q, h, bits(2), qkv, o_.biases);
      b->k = linear(at + "k", kv, h, bits(3), own(qkv, bits(3)), o_.biases);
      b->v = linear(at + "v", kv, h, bits(16), own(qkv, bits(2)), o_.biases);
      b->attn_out = linear(at + "o", h, q, bits(8), input(q, bits(8), false), false);
      const Input gate_up = input(h, bits(4), fold);
      b->gate = linear(at + "gate", ffn, h, bits(4), gate_up, false);
      b->up = linear(at + "up", ffn, h, bits(16), own(gate_up, bits(4)), false);
      b->down = linear(at + "down", h, ffn, bits(3), input(ffn, bits(3), false), false);
      m.blocks.push_back(std::move(b));
    }
    m.final_norm = f32("final_norm", uniform(h, 0.5f, 1.5f));
    if (!o_.tied)
      m.head = linear("head", o_.vocab, h, o_.embedding_bits, input(h, o_.embedding_bits, false), false, 3.0f);
    if (o_.tokenizer) text();
    return std::move(out_);
  }

 private:
  struct Input {
    int transform = -1, affine = -1;
  };

  uint32_t bits(uint32_t in_mixed) const { return o_.bits == 0 ? in_mixed : o_.bits; }

  std::vector<float> uniform(size_t n, float low, float high) {
    std::vector<float> out(n);
    for (float& v : out) v = low + (high - low) * static_cast<float>(rng_() >> 8) * 0x1p-24f;
    return out;
  }
  // ±(0.8 … 1.2) · magnitude
  std::vector<float> scales(size_t n, float magnitude) {
    std::vector<float> out = uniform(n, 0.8f * magnitude, 1.2f * magnitude);
    for (float& v : out) v = rng_() & 1 ? v : -v;
    return out;
  }

  std::unique_ptr<fb::TensorT> tensor(const std::string& name, fb::DType dtype, std::vector<uint64_t> shape,
                                      const void* bytes, size_t n) {
    auto t = std::make_unique<fb::TensorT>();
    t->name = name;
    t->dtype = dtype;
    t->shape = std::move(shape);
    t->offset = out_.data.size();
    t->size = n;
    t->checksum = XXH3_64bits(bytes, n);
    out_.data.insert(out_.data.end(), static_cast<const uint8_t*>(bytes), static_cast<const uint8_t*>(bytes) + n);
    out_.data.resize(format::align_up(out_.data.size(), format::kTensorAlignment));
    return t;
  }
  std::unique_ptr<fb::TensorT> f32(const std::string& name, const std::vector<float>& v) {
    return tensor(name, fb::DType::F32, {v.size()}, v.data(), v.size() * 4);
  }
  std::unique_ptr<fb::TensorT> f16(const std::string& name, std::vector<uint64_t> shape, const std::vector<float>& v) {
    std::vector<uint16_t> halves(v.size());
    for (size_t i = 0; i < v.size(); ++i) halves[i] = kernels::f32_to_f16(v[i]);
    return tensor(name, fb::DType::F16, std::move(shape), halves.data(), halves.size() * 2);
  }

  std::unique_ptr<fb::Rotation> rotation(uint32_t n) const {
    if (o_.rotation == fb::RotationKind::None) return nullptr;
    const uint32_t block = 1u << std::countr_zero(n);
    return std::make_unique<fb::Rotation>(o_.rotation, block, n / block);
  }

  Input input(uint32_t columns, uint32_t width, bool folded_norm) {
    if (width == 16) return {};
    auto& transforms = out_.meta.input_transforms;
    auto& maps = out_.meta.affine_maps;
    const std::string at = std::to_string(transforms.size());
    auto t = std::make_unique<fb::InputTransformT>();
    t->columns = columns;
    t->scale = f16("input_transforms." + at + ".scale", {columns}, scales(columns, folded_norm ? 0.9f : 1.0f));
    t->rotation = rotation(columns);
    transforms.push_back(std::move(t));

    const uint32_t d = o_.group,
                   n_maps = o_.columns_per_map == 0 ? 1 : (columns + o_.columns_per_map - 1) / o_.columns_per_map;
    const float s = std::sqrt(12.0f / (std::exp2(2.0f * static_cast<float>(width)) - 1));
    const float centre = -s * (std::exp2(static_cast<float>(width)) - 1) / 2;
    std::vector<float> a, b;
    for (uint32_t g = 0; g < n_maps; ++g) {
      const std::vector<float> noise = uniform(d * d, -0.1f * s, 0.1f * s);
      for (uint32_t i = 0; i < d * d; ++i)
        a.push_back((i % (d + 1) == 0 ? s : 0.0f) + (o_.scalar_maps ? 0.0f : noise[i]));
      for (uint32_t i = 0; i < d; ++i)
        b.push_back(centre * (o_.scalar_maps ? 1.0f : 1.0f + 0.02f * static_cast<float>(i)));
    }
    auto m = std::make_unique<fb::AffineMapsT>();
    m->dim = static_cast<uint8_t>(d);
    m->columns_per_map = o_.columns_per_map;
    m->a = f16("affine_maps." + at + ".a", {n_maps, d, d}, a);
    m->b = f16("affine_maps." + at + ".b", {n_maps, d}, b);
    maps.push_back(std::move(m));
    return {static_cast<int>(transforms.size()) - 1, static_cast<int>(maps.size()) - 1};
  }

  std::unique_ptr<fb::LinearT> linear(const std::string& name, uint32_t rows, uint32_t columns, uint32_t width,
                                      const Input& in, bool bias, float gain = 0.0f) {
    auto l = std::make_unique<fb::LinearT>();
    l->name = name;
    l->rows = rows;
    l->columns = columns;
    l->bits = static_cast<uint8_t>(width);
    // gain 0: outputs keep the inputs' variance; the embedding and head have no output rotation and their own gain.
    const bool outer = gain != 0;
    const float magnitude = outer ? (name == "head" ? gain / std::sqrt(static_cast<float>(columns)) : gain)
                                  : 1.0f / std::sqrt(static_cast<float>(columns));
    if (width == 16) {
      std::vector<float> w = uniform(size_t{rows} * columns, -1.7f * magnitude, 1.7f * magnitude);
      l->weight = f16(name + ".weight", {rows, columns}, w);
    } else {
      std::vector<uint8_t> codes(size_t{rows} * columns), packed(format::packed_size(rows, columns, width));
      for (uint8_t& c : codes) c = static_cast<uint8_t>((rng_() >> 7) & ((1u << width) - 1));
      format::pack(codes, rows, columns, width, packed);
      l->weight = tensor(name + ".weight", fb::DType::Codes, {rows, columns}, packed.data(), packed.size());
      l->input_transform = in.transform;
      l->affine = in.affine;
      if (!outer) l->output_rotation = rotation(rows);
      l->out_scale = f16(name + ".out_scale", {rows}, scales(rows, magnitude));
    }
    if (bias) l->bias = f32(name + ".bias", uniform(rows, -0.5f, 0.5f));
    if (o_.side_paths && !outer) {
      const uint32_t rank = 3;
      l->side_u = f16(name + ".side_u", {rows, rank}, uniform(size_t{rows} * rank, -0.3f, 0.3f));
      l->side_v = f16(name + ".side_v", {rank, columns}, uniform(size_t{rank} * columns, -0.1f, 0.1f));
    }
    return l;
  }

  // Ids 0 … 255 are the bytes, then merges, then <|endoftext|>, <|im_start|>, <|im_end|>.
  void text() {
    out_.meta.tokenizer = std::make_unique<fb::TokenizerT>();
    fb::TokenizerT& t = *out_.meta.tokenizer;
    t.kind = fb::TokenizerKind::Bpe;
    t.pre_tokenizer = fb::PreTokenizer::Smollm;
    std::vector<std::string> tokens;
    for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
    const auto merge = [&](uint32_t left, uint32_t right) {
      t.merges.emplace_back(left, right);
      t.merge_results.push_back(static_cast<uint32_t>(tokens.size()));
      tokens.push_back(tokens[left] + tokens[right]);
      return static_cast<uint32_t>(tokens.size()) - 1;
    };
    const uint32_t th = merge('t', 'h');
    merge(th, 'e');
    const uint32_t in = merge('i', 'n');
    merge(in, 'g');
    merge(' ', 't');
    merge('e', 'r');
    merge('a', 'n');
    merge('o', 'n');
    merge('l', 'l');
    const auto special = [&](const char* content) {
      auto s = std::make_unique<fb::SpecialTokenT>();
      s->id = static_cast<uint32_t>(tokens.size());
      s->content = content;
      tokens.emplace_back(content);
      t.special.push_back(std::move(s));
      return static_cast<uint32_t>(tokens.size()) - 1;
    };
    t.bos = static_cast<int>(special("<|endoftext|>"));
    special("<|im_start|>");
    t.eos = {special("<|im_end|>"), static_cast<uint32_t>(t.bos)};
    t.token_offsets.push_back(0);
    for (const std::string& token : tokens) {
      t.token_bytes.insert(t.token_bytes.end(), token.begin(), token.end());
      t.token_offsets.push_back(static_cast<uint32_t>(t.token_bytes.size()));
    }
    out_.meta.chat = std::make_unique<fb::ChatT>();
    out_.meta.chat->format = fb::ChatFormat::ChatML;
    out_.meta.chat->default_system = "You are tiny.";
  }

  const TinyOptions o_;
  std::mt19937 rng_;
  TinyModel out_;
};

inline TinyModel make_tiny(const TinyOptions& options = {}) { return TinyBuilder(options).build(); }

// Appends a tensor of floats to the data section.
inline std::unique_ptr<fb::TensorT> add_f32(TinyModel& model, const std::string& name,
                                            const std::vector<float>& values) {
  auto t = std::make_unique<fb::TensorT>();
  t->name = name;
  t->dtype = fb::DType::F32;
  t->shape = {values.size()};
  t->offset = model.data.size();
  t->size = 4 * values.size();
  t->checksum = XXH3_64bits(values.data(), t->size);
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  model.data.insert(model.data.end(), bytes, bytes + t->size);
  model.data.resize(format::align_up(model.data.size(), format::kTensorAlignment));
  return t;
}

// A model with a head of its own whose bias makes `token` the most probable one everywhere.
inline TinyModel make_tiny_saying(uint32_t token, TinyOptions options = {}) {
  options.tied = false;
  TinyModel model = make_tiny(options);
  std::vector<float> bias(options.vocab, 0.0f);
  bias[token] = 1000.0f;
  model.meta.head->bias = add_f32(model, "head.bias", bias);
  return model;
}

// Puts metadata and data section into a file's bytes, with every checksum right.
inline std::vector<uint8_t> container(std::span<const uint8_t> metadata, std::span<const uint8_t> data) {
  format::Header h{};
  h.magic = format::kMagic;
  h.major = format::kMajor;
  h.minor = format::kMinor;
  h.metadata_offset = sizeof h;
  h.metadata_size = metadata.size();
  h.metadata_checksum = XXH3_64bits(metadata.data(), metadata.size());
  h.data_offset = format::align_up(sizeof h + metadata.size(), format::kDataAlignment);
  h.data_size = data.size();
  h.header_checksum = XXH3_64bits(&h, offsetof(format::Header, header_checksum));
  std::vector<uint8_t> out(h.data_offset + h.data_size);
  std::memcpy(out.data(), &h, sizeof h);
  std::memcpy(out.data() + h.metadata_offset, metadata.data(), metadata.size());
  if (!data.empty()) std::memcpy(out.data() + h.data_offset, data.data(), data.size());
  return out;
}

inline std::vector<uint8_t> metadata_bytes(const fb::ModelT& meta) {
  flatbuffers::FlatBufferBuilder builder;
  fb::FinishModelBuffer(builder, fb::Model::Pack(builder, &meta));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

inline std::vector<uint8_t> file_bytes(const TinyModel& model) {
  return container(metadata_bytes(model.meta), model.data);
}

inline void write_file(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace svq::test
