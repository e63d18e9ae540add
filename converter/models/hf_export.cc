#include "converter/models/hf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>

#include "converter/base/error.h"
#include "converter/models/rope.h"
#include "converter/models/tokenizer/tables.h"

namespace svq::convert {

using Json = nlohmann::ordered_json;

namespace {

struct Rope {
  double theta;
  RopeScaling scaling;
};

double rounded(double value, int digits) { return std::strtod(fmt::format("{:.{}g}", value, digits).c_str(), nullptr); }

bool gives(const Rope& rope, const fb::ArchitectureT& a) {
  fb::ArchitectureT again = a;
  set_rope(again, rope.theta, rope.scaling, {});
  if (std::abs(again.rope_attention_factor - a.rope_attention_factor) > 1e-4) return false;
  for (size_t i = 0; i < a.rope_inv_freq.size(); ++i) {
    if (std::abs(again.rope_inv_freq[i] / a.rope_inv_freq[i] - 1) > 1e-4) return false;
  }
  return true;
}

// What gave these frequencies. The family's usual constants are tried where the frequencies do not tell them.
std::optional<Rope> solve_rope(const fb::ArchitectureT& a) {
  const auto& f = a.rope_inv_freq;
  const double dim = a.head_dim, first = f.front(), last = f.back(), last_index = static_cast<double>(f.size()) - 1;
  // theta^(-2 i / dim) = frequency
  const auto theta_of = [&](double frequency, double i) { return i > 0 ? std::pow(frequency, -dim / (2 * i)) : 1e4; };
  std::vector<Rope> candidates;
  candidates.push_back({rounded(theta_of(last, last_index), 7), {}});
  candidates.push_back({rounded(theta_of(last / first, last_index), 6),
                        {.kind = RopeScaling::Kind::kLinear, .factor = rounded(1 / first, 6)}});
  if (f.size() > 2) {
    // The second pair turns too fast to be scaled.
    const double theta = rounded(theta_of(f[1], 1), 4);
    const double factor = rounded(std::pow(theta, -2 * last_index / dim) / last, 4);
    candidates.push_back({theta, {.kind = RopeScaling::Kind::kLlama3, .factor = factor, .original_context = 8192}});
    for (const double original : {a.context_length / factor, 1.0 * a.context_length, 4096.0, 8192.0, 32768.0}) {
      candidates.push_back({theta, {.kind = RopeScaling::Kind::kYarn, .factor = factor, .original_context = original}});
    }
  }
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const Rope& r) { return gives(r, a); });
  return found == candidates.end() ? std::nullopt : std::optional(*found);
}

Json scaling_json(const RopeScaling& s) {
  switch (s.kind) {
    case RopeScaling::Kind::kLinear:
      return {{"rope_type", "linear"}, {"factor", s.factor}};
    case RopeScaling::Kind::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", s.factor},
              {"low_freq_factor", s.low_freq_factor},
              {"high_freq_factor", s.high_freq_factor},
              {"original_max_position_embeddings", static_cast<uint64_t>(s.original_context)}};
    case RopeScaling::Kind::kYarn:
      return {{"rope_type", "yarn"},
              {"factor", s.factor},
              {"original_max_position_embeddings", static_cast<uint64_t>(s.original_context)}};
    default:
      return nullptr;
  }
}

Json split_by(const char* regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer_json(const fb::TokenizerT& t) {
  const auto sequence = [](const Json& first, const Json& second) {
    return Json{{"type", "Sequence"}, {"pretokenizers", Json::array({first, second})}};
  };
  switch (t.pre_tokenizer) {
    case fb::PreTokenizer::Smollm:
      return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(t.add_prefix_space, true));
    case fb::PreTokenizer::Llama3:
      return sequence(
          split_by(
              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
          byte_level(t.add_prefix_space, false));
    case fb::PreTokenizer::Qwen2:
      return sequence(
          split_by(
              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
          byte_level(t.add_prefix_space, false));
    default:
      return byte_level(t.add_prefix_space, true);
  }
}

class Tokens {
 public:
  explicit Tokens(const fb::TokenizerT& t) : t_(t) {
    for (const auto& special : t.special) special_.emplace(special->id, special->content);
  }
  size_t count() const { return t_.token_offsets.empty() ? 0 : t_.token_offsets.size() - 1; }
  std::string_view bytes(size_t id) const {
    return {reinterpret_cast<const char*>(t_.token_bytes.data()) + t_.token_offsets[id],
            t_.token_offsets[id + 1] - t_.token_offsets[id]};
  }
  const std::string* special(int64_t id) const {
    const auto found = id < 0 ? special_.end() : special_.find(static_cast<uint32_t>(id));
    return found == special_.end() ? nullptr : &found->second;
  }

 private:
  const fb::TokenizerT& t_;
  std::map<uint32_t, std::string> special_;
};

// Puts begin and end of text where the model wants them.
Json post_processor(const fb::TokenizerT& t, const Tokens& tokens) {
  const std::string* bos = t.add_bos ? tokens.special(t.bos) : nullptr;
  const std::string* eos = t.add_eos && !t.eos.empty() ? tokens.special(t.eos[0]) : nullptr;
  if (!bos && !eos) return byte_level(true, true);
  const auto special = [](const std::string& id) { return Json{{"SpecialToken", {{"id", id}, {"type_id", 0}}}}; };
  Json single = Json::array(), names = Json::object();
  const auto add = [&](const std::string* text, int64_t id) {
    if (!text) return;
    single.push_back(special(*text));
    names[*text] = {{"id", *text}, {"ids", {id}}, {"tokens", {*text}}};
  };
  add(bos, t.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(eos, t.eos.empty() ? -1 : static_cast<int64_t>(t.eos[0]));
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", names}};
}

Json tokenizer_json(const fb::TokenizerT& t) {
  const Tokens tokens(t);
  Json vocab = Json::object(), merges = Json::array(), added = Json::array();
  for (size_t id = 0; id < tokens.count(); ++id) {
    const std::string* special = tokens.special(static_cast<int64_t>(id));
    if (special) {
      vocab[*special] = id;
    } else if (!tokens.bytes(id).empty()) {
      vocab[encode_byte_alphabet(tokens.bytes(id))] = id;
    }
  }
  for (const fb::Merge& m : t.merges)
    merges.push_back(encode_byte_alphabet(tokens.bytes(m.left())) + " " +
                     encode_byte_alphabet(tokens.bytes(m.right())));
  for (const auto& s : t.special) {
    vocab[s->content] = s->id;
    added.push_back({{"id", s->id},
                     {"content", s->content},
                     {"single_word", false},
                     {"lstrip", s->lstrip},
                     {"rstrip", s->rstrip},
                     {"normalized", false},
                     {"special", s->control}});
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", t.normalizer == fb::Normalizer::Nfc ? Json{{"type", "NFC"}} : Json(nullptr)},
          {"pre_tokenizer", pre_tokenizer_json(t)},
          {"post_processor", post_processor(t, tokens)},
          {"decoder", byte_level(true, true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", t.ignore_merges},
            {"vocab", vocab},
            {"merges", merges}}}};
}

std::string text_of(const Json& value) {
  return value.dump(2, ' ', false, nlohmann::detail::error_handler_t::replace) + "\n";
}

}  // namespace

const Family& family_named(const std::string& name) {
  for (const Family* family : families()) {
    if (name == family->name) return *family;
  }
  throw Error("the family " + name + " is not supported");
}

Json hf_config(const Model& model) {
  const fb::ArchitectureT& a = model.architecture();
  const auto rope = solve_rope(a);
  if (!rope)
    throw Error(model.source_name() + ": the scaling of its rotary frequencies (" + a.rope_scaling +
                ") cannot be told from the frequencies alone; export from the model's Hugging Face directory");
  Json j{{"architectures", {family_named(a.family).hf_class}},
         {"model_type", a.family},
         {"hidden_size", a.hidden},
         {"intermediate_size", a.intermediate},
         {"num_hidden_layers", a.n_layers},
         {"num_attention_heads", a.n_heads},
         {"num_key_value_heads", a.n_kv_heads},
         {"head_dim", a.head_dim},
         {"vocab_size", a.vocab},
         {"max_position_embeddings", a.context_length},
         {"rms_norm_eps", rounded(a.norm_eps, 7)},
         {"hidden_act", "silu"},
         {"rope_theta", rope->theta},
         {"rope_scaling", scaling_json(rope->scaling)},
         {"attention_dropout", 0.0},
         {"initializer_range", 0.02},
         {"use_cache", true},
         {"tie_word_embeddings", model.tied()},
         {"torch_dtype", "float16"}};
  if (a.family == "llama" || a.family == "qwen3") j["attention_bias"] = model.has(Slot::kQBias, 0);
  if (a.family == "llama") j["mlp_bias"] = false;
  if (a.family == "mistral") j["sliding_window"] = a.sliding_window ? Json(a.sliding_window) : Json(nullptr);
  if (a.family == "qwen2" || a.family == "qwen3") {
    j["use_sliding_window"] = a.sliding_window != 0;
    if (a.sliding_window) j["sliding_window"] = a.sliding_window, j["max_window_layers"] = 0;
  }
  j["bos_token_id"] = j["eos_token_id"] = nullptr;
  if (const fb::TokenizerT* t = model.tokenizer()) {
    if (t->bos >= 0) j["bos_token_id"] = t->bos;
    if (!t->eos.empty()) j["eos_token_id"] = t->eos.size() == 1 ? Json(t->eos[0]) : Json(t->eos);
    if (t->pad >= 0) j["pad_token_id"] = t->pad;
  }
  return j;
}

std::vector<HfFile> hf_tokenizer_files(const Model& model) {
  const fb::TokenizerT* t = model.tokenizer();
  if (!t) return {};
  std::vector<HfFile> files;
  const Tokens tokens(*t);
  Json config{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  if (t->kind == fb::TokenizerKind::SentencePiece) {
    config["tokenizer_class"] = "LlamaTokenizer";
    config["legacy"] = false;
    config["add_bos_token"] = t->add_bos;
    config["add_eos_token"] = t->add_eos;
    files.push_back({"tokenizer.model", {t->sentencepiece.begin(), t->sentencepiece.end()}});
  } else {
    files.push_back({"tokenizer.json", tokenizer_json(*t).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"});
  }
  const auto name = [&](const char* key, int64_t id) {
    if (const std::string* text = tokens.special(id)) config[key] = *text;
  };
  name("bos_token", t->bos);
  if (!t->eos.empty()) name("eos_token", t->eos[0]);
  name("pad_token", t->pad);
  name("unk_token", t->unk);
  config["model_max_length"] = model.architecture().context_length;
  if (!model.chat().source_template.empty()) config["chat_template"] = model.chat().source_template;
  files.push_back({"tokenizer_config.json", text_of(config)});

  const fb::GenerationT& g = model.generation();
  Json generation = Json::object();
  if (t->bos >= 0) generation["bos_token_id"] = t->bos;
  if (!t->eos.empty()) generation["eos_token_id"] = t->eos;
  if (t->pad >= 0) generation["pad_token_id"] = t->pad;
  if (g.temperature > 0) generation["do_sample"] = true, generation["temperature"] = rounded(g.temperature, 6);
  if (g.top_k > 0) generation["top_k"] = g.top_k;
  if (g.top_p > 0) generation["top_p"] = rounded(g.top_p, 6);
  if (g.repetition_penalty > 0) generation["repetition_penalty"] = rounded(g.repetition_penalty, 6);
  files.push_back({"generation_config.json", text_of(generation)});
  return files;
}

std::vector<std::filesystem::path> hf_side_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json"}) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(directory / name, ignored)) files.push_back(directory / name);
  }
  return files;
}

}  // namespace svq::convert
