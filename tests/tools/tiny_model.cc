#include "tests/tools/tiny_model.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "schema/container.h"
#include "schema/packing.h"
#include "svq_generated.h"

namespace svq::test {
namespace {

constexpr uint32_t kHidden = 64, kFfn = 96, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kLayers = 2;

// Of a normal number, rounded towards zero.
uint16_t to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::fabs(value) < 6.2e-5f) return 0;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits >> 23 & 0xFF) - 112) << 10) | (bits >> 13 & 0x3FF));
}

class Builder {
 public:
  template <typename T>
  std::unique_ptr<fb::TensorT> tensor(fb::DType dtype, std::vector<uint64_t> shape, const std::vector<T>& values) {
    data_.resize(format::align_up(data_.size(), format::kTensorAlignment));
    auto t = std::make_unique<fb::TensorT>();
    t->name = "t" + std::to_string(data_.size());
    t->dtype = dtype;
    t->shape = std::move(shape);
    t->offset = data_.size();
    t->size = values.size() * sizeof(T);
    t->checksum = XXH3_64bits(values.data(), t->size);
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
    data_.insert(data_.end(), bytes, bytes + t->size);
    return t;
  }

  std::unique_ptr<fb::TensorT> ones(uint32_t n) { return tensor(fb::DType::F32, {n}, std::vector<float>(n, 1.0f)); }

  std::unique_ptr<fb::LinearT> packed(const std::string& name, uint32_t rows, uint32_t columns, int transform) {
    std::vector<uint8_t> codes(uint64_t{rows} * columns), bytes(format::packed_size(rows, columns, 2));
    for (uint8_t& code : codes) code = random_() & 3;
    format::pack(codes, rows, columns, 2, bytes);
    auto l = std::make_unique<fb::LinearT>();
    l->name = name;
    l->rows = rows;
    l->columns = columns;
    l->bits = 2;
    l->weight = tensor(fb::DType::Codes, {rows, columns}, bytes);
    l->input_transform = transform;
    l->affine = 0;
    return l;
  }

  std::unique_ptr<fb::LinearT> embedding(uint32_t rows, uint32_t columns, uint32_t zero_row) {
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<uint16_t> values(uint64_t{rows} * columns);
    for (size_t i = 0; i < values.size(); ++i) values[i] = i / columns == zero_row ? 0 : to_f16(normal(random_));
    auto l = std::make_unique<fb::LinearT>();
    l->name = "embedding";
    l->rows = rows;
    l->columns = columns;
    l->bits = 16;
    l->weight = tensor(fb::DType::F16, {rows, columns}, values);
    return l;
  }

  void write(const std::string& path, const fb::ModelT& model) const {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(fb::Model::Pack(builder, &model), fb::ModelIdentifier());
    format::Header h{};
    h.magic = format::kMagic;
    h.major = format::kMajor;
    h.minor = format::kMinor;
    h.metadata_offset = sizeof h;
    h.metadata_size = builder.GetSize();
    h.metadata_checksum = XXH3_64bits(builder.GetBufferPointer(), builder.GetSize());
    h.data_offset = format::align_up(sizeof h + builder.GetSize(), format::kDataAlignment);
    h.data_size = data_.size();
    h.header_checksum = XXH3_64bits(&h, sizeof h - sizeof h.header_checksum);
    std::string bytes(h.data_offset + h.data_size, '\0');
    std::memcpy(bytes.data(), &h, sizeof h);
    std::memcpy(bytes.data() + h.metadata_offset, builder.GetBufferPointer(), builder.GetSize());
    std::memcpy(bytes.data() + h.data_offset, data_.data(), data_.size());
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::mt19937 random_{1};
  std::vector<uint8_t> data_;
};

std::unique_ptr<fb::TokenizerT> byte_tokenizer(bool add_bos) {
  auto t = std::make_unique<fb::TokenizerT>();
  t->token_offsets.push_back(0);
  const auto add = [&](const std::string& bytes) {
    t->token_bytes.insert(t->token_bytes.end(), bytes.begin(), bytes.end());
    t->token_offsets.push_back(static_cast<uint32_t>(t->token_bytes.size()));
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  uint32_t id = 256;
  for (const char* content : {"<|bos|>", "<|im_start|>", "<|im_end|>"}) {
    add(content);
    auto s = std::make_unique<fb::SpecialTokenT>();
    s->id = id++;
    s->content = content;
    t->special.push_back(std::move(s));
  }
  t->bos = 256;
  t->eos = {258};
  t->add_bos = add_bos;
  return t;
}

}  // namespace

void write_tiny_model(const std::string& path, const TinyOptions& options) {
  Builder b;
  fb::ModelT m;
  m.name = "tiny";
  m.architecture = std::make_unique<fb::ArchitectureT>();
  fb::ArchitectureT& a = *m.architecture;
  a.family = "llama";
  a.hidden = kHidden;
  a.intermediate = kFfn;
  a.n_layers = kLayers;
  a.n_heads = kHeads;
  a.n_kv_heads = kKvHeads;
  a.head_dim = kHeadDim;
  a.vocab = kTinyVocab;
  a.context_length = 1 << 18;
  a.norm_eps = 1e-5f;
  for (uint32_t i = 0; i < kHeadDim / 2; ++i)
    a.rope_inv_freq.push_back(std::pow(10000.0f, -2.0f * static_cast<float>(i) / kHeadDim));
  m.tokenizer = byte_tokenizer(options.add_bos);
  m.chat = std::make_unique<fb::ChatT>();
  m.chat->format = options.chat ? fb::ChatFormat::ChatML : fb::ChatFormat::None;

  for (const auto& [columns, block, factor] : {std::array{kHidden, 64u, 1u}, std::array{kFfn, 32u, 3u}}) {
    auto t = std::make_unique<fb::InputTransformT>();
    t->columns = columns;
    t->rotation = std::make_unique<fb::Rotation>(fb::RotationKind::Mixed, block, factor);
    m.input_transforms.push_back(std::move(t));
  }
  const float scale = 0.125f;
  std::vector<uint16_t> identity(16, 0), offset(4, to_f16(-1.5f * scale));
  for (size_t i = 0; i < 4; ++i) identity[5 * i] = to_f16(scale);
  auto maps = std::make_unique<fb::AffineMapsT>();
  maps->a = b.tensor(fb::DType::F16, {1, 4, 4}, identity);
  maps->b = b.tensor(fb::DType::F16, {1, 4}, offset);
  m.affine_maps.push_back(std::move(maps));

  m.embedding = b.embedding(kTinyVocab, kHidden, 258);
  for (uint32_t i = 0; i < kLayers; ++i) {
    const std::string at = "blocks." + std::to_string(i) + ".";
    auto block = std::make_unique<fb::BlockT>();
    block->attn_norm = b.ones(kHidden);
    block->q = b.packed(at + "q", kHeads * kHeadDim, kHidden, 0);
    block->k = b.packed(at + "k", kKvHeads * kHeadDim, kHidden, 0);
    block->v = b.packed(at + "v", kKvHeads * kHeadDim, kHidden, 0);
    block->attn_out = b.packed(at + "o", kHidden, kHeads * kHeadDim, 0);
    block->ffn_norm = b.ones(kHidden);
    block->gate = b.packed(at + "gate", kFfn, kHidden, 0);
    block->up = b.packed(at + "up", kFfn, kHidden, 0);
    block->down = b.packed(at + "down", kHidden, kFfn, 1);
    m.blocks.push_back(std::move(block));
  }
  m.final_norm = b.ones(kHidden);
  m.provenance = std::make_unique<fb::ProvenanceT>();
  m.provenance->source_name = "random numbers";
  m.provenance->method = "unisvq";
  m.provenance->recipe = R"({"bits": 2, "seed": 1})";
  b.write(path, m);
}

}  // namespace svq::test
