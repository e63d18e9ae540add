#include "runtime/model/describe.h"

#include <map>

#include "runtime/base/json.h"
#include "runtime/file/tensors.h"
#include "runtime/tokenizer/chat.h"

namespace svq::rt {
namespace {

template <class Enum>
const char* name_of(Enum value, const char* (*name)(Enum)) {
  const char* text = name(value);  // "" outside the known range
  return *text == '\0' ? "unknown" : text;
}

void text(JsonWriter& j, const char* key, const flatbuffers::String* value) {
  if (value != nullptr) j.field(key, std::string_view(value->c_str(), value->size()));
}

void architecture(JsonWriter& j, const fb::Architecture& a) {
  j.key("architecture").begin_object();
  text(j, "family", a.family());
  j.field("hidden", a.hidden()).field("intermediate", a.intermediate()).field("n_layers", a.n_layers());
  j.field("n_heads", a.n_heads()).field("n_kv_heads", a.n_kv_heads()).field("head_dim", a.head_dim());
  j.field("vocab", a.vocab()).field("context_length", a.context_length()).field("norm_eps", double{a.norm_eps()});
  j.field("sliding_window", a.sliding_window());
  text(j, "rope_scaling", a.rope_scaling());
  j.field("rope_attention_factor", double{a.rope_attention_factor()});
  j.end_object();
}

void tokenizer(JsonWriter& j, const fb::Tokenizer& t, const Tokenizer* loaded) {
  j.key("tokenizer").begin_object();
  j.field("kind", t.kind() == fb::TokenizerKind::Bpe ? "bpe" : "sentencepiece");
  if (t.kind() == fb::TokenizerKind::Bpe) {
    j.field("tokens", length(t.token_offsets()) == 0 ? 0 : length(t.token_offsets()) - 1)
        .field("merges", length(t.merges()));
    j.field("pre_tokenizer", name_of(t.pre_tokenizer(), fb::EnumNamePreTokenizer));
    j.field("normalizer", name_of(t.normalizer(), fb::EnumNameNormalizer));
  } else {
    j.field("model_bytes", length(t.sentencepiece()));
  }
  j.field("special_tokens", length(t.special()));
  if (loaded != nullptr) {
    j.field("bos", loaded->bos())
        .field("pad", loaded->pad())
        .field("adds_bos", loaded->adds_bos())
        .field("adds_eos", loaded->adds_eos());
    j.key("ends").begin_array();
    for (const int32_t id : loaded->ends()) j.value(id);
    j.end_array();
  }
  j.end_object();
}

void chat(JsonWriter& j, const fb::Chat& c) {
  j.key("chat").begin_object();
  j.field("format", chat_format_name(c.format()));
  text(j, "default_system", c.default_system());
  j.end_object();
}

void generation(JsonWriter& j, const fb::Generation& g) {
  j.key("generation").begin_object();
  const auto given = [&](const char* key, double value) {
    if (value >= 0) j.field(key, value);
  };
  given("temperature", g.temperature());
  given("top_k", g.top_k());
  given("top_p", g.top_p());
  given("min_p", g.min_p());
  given("repetition_penalty", g.repetition_penalty());
  given("max_tokens", g.max_tokens());
  j.end_object();
}

void provenance(JsonWriter& j, const fb::Provenance& p) {
  j.key("provenance").begin_object();
  text(j, "source_name", p.source_name());
  text(j, "source_format", p.source_format());
  text(j, "source_hash", p.source_hash());
  text(j, "method", p.method());
  text(j, "recipe", p.recipe());
  text(j, "calibration", p.calibration());
  text(j, "converter", p.converter());
  j.key("measures").begin_array();
  for (uint32_t i = 0; i < length(p.measures()); ++i) {
    const fb::Measure& m = *p.measures()->Get(i);
    j.begin_object();
    text(j, "metric", m.metric());
    j.field("value", m.value());
    text(j, "on", m.on());
    j.end_object();
  }
  j.end_array().end_object();
}

void sizes(JsonWriter& j, const Model& model) {
  const fb::Model& meta = model.metadata();
  std::map<std::string, uint64_t> parts{{"blocks", 0}, {"embedding", 0}, {"head", 0}, {"norms", 0}, {"transforms", 0}};
  for_each_tensor(meta, [&](const std::string& path, const fb::Tensor& t) {
    const std::string top = path.substr(0, path.find('.'));
    const bool norm = path.size() >= 4 && path.compare(path.size() - 4, 4, "norm") == 0;
    parts[norm ? "norms" : top == "blocks" || top == "embedding" || top == "head" ? top : "transforms"] += t.size();
  });
  std::map<uint32_t, uint32_t> widths;  // bits -> linears
  for_each_linear(meta, [&](const std::string&, const fb::Linear& l) { ++widths[l.bits()]; });

  j.key("sizes").begin_object();
  j.field("file_bytes", model.file().bytes()).field("parameters", model.sizes().n_parameters);
  j.field("decode_bytes", model.sizes().decode_bytes).field("bits_per_weight", model.sizes().bits_per_weight);
  j.field("tied_embedding", meta.head() == nullptr);
  j.key("bytes").begin_object();
  for (const auto& [part, bytes] : parts) j.field(part, bytes);
  j.end_object();
  j.key("linears_by_bits").begin_object();
  for (const auto& [bits, count] : widths) j.field(std::to_string(bits), count);
  j.end_object().end_object();
}

void rotation(JsonWriter& j, const char* key, const fb::Rotation* r) {
  if (r == nullptr || r->kind() == fb::RotationKind::None) return;
  j.key(key).begin_object();
  j.field("kind", r->kind() == fb::RotationKind::Mixed ? "mixed" : "blocks")
      .field("block", r->block())
      .field("factor", r->factor());
  j.end_object();
}

void linears(JsonWriter& j, const fb::Model& meta) {
  j.key("linears").begin_array();
  for_each_linear(meta, [&](const std::string& path, const fb::Linear& l) {
    j.begin_object().field("name", path).field("rows", l.rows()).field("columns", l.columns()).field("bits", l.bits());
    j.field("bytes", l.weight()->size());
    if (l.input_transform() >= 0) {
      j.field("input_transform", l.input_transform());
      rotation(j, "input_rotation",
               meta.input_transforms()->Get(static_cast<uint32_t>(l.input_transform()))->rotation());
    }
    if (l.affine() >= 0) j.field("affine_maps", l.affine());
    rotation(j, "output_rotation", l.output_rotation());
    if (l.bias() != nullptr) j.field("bias", true);
    if (l.side_v() != nullptr) j.field("side_rank", dimension(*l.side_v(), 0));
    j.end_object();
  });
  j.end_array();
}

void tensors(JsonWriter& j, const fb::Model& meta) {
  j.key("tensors").begin_array();
  for_each_tensor(meta, [&](const std::string& path, const fb::Tensor& t) {
    j.begin_object().field("name", path).field("dtype", name_of(t.dtype(), fb::EnumNameDType));
    j.key("shape").begin_array();
    for (uint32_t i = 0; i < t.shape()->size(); ++i) j.value(dimension(t, i));
    j.end_array().field("offset", t.offset()).field("size", t.size());
    char digits[20];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(t.checksum()));
    j.field("checksum", digits).end_object();
  });
  j.end_array();
}

}  // namespace

std::string describe(const Model& model, bool with_tensors) {
  const fb::Model& meta = model.metadata();
  JsonWriter j;
  j.begin_object();
  text(j, "name", meta.name());
  j.field("file", model.file().name());
  architecture(j, *meta.architecture());
  if (meta.tokenizer() != nullptr) tokenizer(j, *meta.tokenizer(), model.tokenizer());
  if (meta.chat() != nullptr) chat(j, *meta.chat());
  if (meta.generation() != nullptr) generation(j, *meta.generation());
  if (meta.provenance() != nullptr) provenance(j, *meta.provenance());
  sizes(j, model);
  if (with_tensors) {
    linears(j, meta);
    tensors(j, meta);
  }
  j.end_object();
  return j.text();
}

}  // namespace svq::rt
