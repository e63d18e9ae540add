#include "converter/models/tokenizer/hf_tokenizer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "converter/base/error.h"
#include "converter/models/tokenizer/chat_template.h"
#include "converter/models/tokenizer/hf_pipeline.h"
#include "converter/models/tokenizer/hf_sentencepiece.h"
#include "converter/models/tokenizer/json_file.h"
#include "converter/models/tokenizer/tables.h"

namespace svq::convert {

using nlohmann::json;

namespace {

constexpr uint64_t kMaxVocabularyFile = 512u << 20, kMaxConfigFile = 64u << 20;

struct AddedToken {
  std::string content;
  bool special = true, lstrip = false, rstrip = false;
};
using AddedTokens = std::map<uint32_t, AddedToken>;

uint32_t token_id(const json& id, const JsonFile& file, const std::string& field) {
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= static_cast<int64_t>(kMaxTokens))
    file.fail(field + ": a token id below " + std::to_string(kMaxTokens) + " was expected");
  return id.get<uint32_t>();
}

AddedToken added_token(const json& t, const JsonFile& file, const std::string& field) {
  const std::string where = file.name() + ": " + field;
  if (!t.is_object()) file.fail(field + ": an object was expected");
  AddedToken a;
  a.content = string_member(t, "content", where);
  if (a.content.empty()) file.fail(field + ".content: a token's text was expected");
  a.special = bool_member(t, "special", false, where);
  a.lstrip = bool_member(t, "lstrip", false, where);
  a.rstrip = bool_member(t, "rstrip", false, where);
  if (bool_member(t, "single_word", false, where))
    file.fail(field + ".single_word: true is not supported (token \"" + a.content.substr(0, 60) + "\")");
  return a;
}

// From the most to the least detailed of the three places.
AddedTokens read_added_tokens(const JsonFile& tokenizer, const JsonFile& config, const std::filesystem::path& dir) {
  AddedTokens added;
  if (const json* list = tokenizer.find("added_tokens")) {
    if (!list->is_array()) tokenizer.fail("added_tokens: a list was expected");
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string field = "added_tokens[" + std::to_string(i) + "]";
      const json* id = find_member((*list)[i], "id");
      if (!id) tokenizer.fail(field + ".id: a token id was expected");
      added.emplace(token_id(*id, tokenizer, field + ".id"), added_token((*list)[i], tokenizer, field));
    }
  }
  if (const json* decoder = config.find("added_tokens_decoder")) {
    if (!decoder->is_object()) config.fail("added_tokens_decoder: an object was expected");
    for (const auto& [key, value] : decoder->items()) {
      const std::string field = "added_tokens_decoder." + key.substr(0, 32);
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
        config.fail(field + ": a token id was expected");
      added.emplace(token_id(json(std::stoll(key)), config, field), added_token(value, config, field));
    }
  }
  const JsonFile plain(dir / "added_tokens.json", kMaxConfigFile);
  for (const auto& [content, id] : plain.root().items())
    added.emplace(token_id(id, plain, content.substr(0, 60)), AddedToken{content, true, false, false});
  return added;
}

std::vector<std::string> read_vocab(const json& model, const JsonFile& file) {
  const json* vocab = find_member(model, "vocab");
  if (!vocab || !vocab->is_object() || vocab->empty()) file.fail("model.vocab: an object of tokens was expected");
  std::vector<std::string> tokens;
  for (const auto& [text, value] : vocab->items()) {
    const uint32_t id = token_id(value, file, "model.vocab[\"" + text.substr(0, 60) + "\"]");
    if (text.empty()) file.fail("model.vocab: token " + std::to_string(id) + " is empty");
    if (id >= tokens.size()) tokens.resize(id + 1);
    if (!tokens[id].empty())
      file.fail("model.vocab: \"" + tokens[id].substr(0, 60) + "\" and \"" + text.substr(0, 60) + "\" are both token " +
                std::to_string(id));
    tokens[id] = text;
  }
  return tokens;
}

// Both forms: ["a b", …] and [["a", "b"], …].
std::vector<MergeText> read_merges(const json& model, const JsonFile& file) {
  std::vector<MergeText> merges;
  const json* list = find_member(model, "merges");
  if (!list || !list->is_array()) file.fail("model.merges: a list was expected");
  merges.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    const json& m = (*list)[i];
    if (m.is_string()) {
      merges.push_back(split_merge(m.get_ref<const std::string&>(), i, file.name() + ": model.merges"));
    } else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      merges.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
    } else {
      file.fail("model.merges: entry " + std::to_string(i) + " is neither \"left right\" nor [\"left\", \"right\"]");
    }
  }
  return merges;
}

class Reader {
 public:
  Reader(const std::filesystem::path& dir, fb::TokenizerT& t)
      : dir_(dir),
        t_(t),
        tokenizer_(dir / "tokenizer.json", kMaxVocabularyFile),
        config_(dir / "tokenizer_config.json", kMaxConfigFile),
        map_(dir / "special_tokens_map.json", kMaxConfigFile),
        added_(read_added_tokens(tokenizer_, config_, dir)) {}

  void read() {
    const auto proto = read_optional_file(dir_ / "tokenizer.model", kMaxVocabularyFile);
    // Llama 3 directories may hold a tokenizer.model too, which is tiktoken's text and not SentencePiece's.
    const bool byte_level = tokenizer_.exists() && !is_sentencepiece_like(tokenizer_.root()) && is_byte_level();
    if (proto && !byte_level) {
      read_proto(*proto);
    } else if (!tokenizer_.exists()) {
      throw Error(dir_.string() + ": there is neither tokenizer.json nor tokenizer.model");
    } else {
      read_json();
    }
    for (const auto& [id, a] : added_) size_ = std::max(size_, id + 1);
    for (const auto& [id, a] : added_) ids_[a.content] = id;
    read_roles();
    check_tokenizer(t_, size_, where_);
  }

  std::vector<std::string> read_chat(fb::ChatT& chat) const {
    std::string text = chat_template();
    std::vector<std::string> warnings;
    if (auto warning = fill_chat(std::move(text), chat)) warnings.push_back(*warning);
    return warnings;
  }

 private:
  bool is_byte_level() const {
    const json* model = tokenizer_.find("model");
    const json* type = model ? find_member(*model, "type") : nullptr;
    const json* pre = tokenizer_.find("pre_tokenizer");
    if (!type || *type != "BPE" || !pre) return false;
    const auto is = [](const json& step) {
      const json* step_type = find_member(step, "type");
      return step_type && *step_type == "ByteLevel";
    };
    if (is(*pre)) return true;
    const json* list = find_member(*pre, "pretokenizers");
    return list && list->is_array() && std::any_of(list->begin(), list->end(), is);
  }

  void read_proto(const std::string& bytes) {
    where_ = (dir_ / "tokenizer.model").string();
    rt::SentencePieceProto p;
    try {
      p = rt::SentencePieceProto::parse(bytes);
    } catch (const std::exception& e) {
      throw Error(where_ + ": " + e.what());
    }
    using Proto = rt::SentencePieceProto;
    for (const auto& [id, a] : added_) {
      if (id >= p.pieces.size()) continue;
      auto& piece = p.pieces[id];
      // Control tokens must not be found in a user's text, as user-defined pieces are; added tokens are found in any.
      if (piece.piece == a.content && (piece.type == Proto::kUserDefined || piece.type == Proto::kNormal))
        piece.type = a.special ? Proto::kControl : Proto::kUserDefined;
    }
    finish_sentencepiece(p);
  }

  void read_json() {
    where_ = tokenizer_.name();
    const json* model = tokenizer_.find("model");
    if (!model) tokenizer_.fail("model: an object was expected");
    const std::string at = where_ + ": model";
    const std::string type = string_member(*model, "type", at);
    if (type != "BPE" && !(type.empty() && find_member(*model, "merges")))
      tokenizer_.fail("model.type: \"" + type.substr(0, 40) +
                      "\" is not supported without a tokenizer.model; supported is BPE");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!string_member(*model, key, at).empty()) tokenizer_.fail(std::string("model.") + key + " is not supported");
    if (const json* dropout = find_member(*model, "dropout"); dropout && *dropout != 0)
      tokenizer_.fail("model.dropout is not supported");
    HfBpe bpe{read_vocab(*model, tokenizer_), read_merges(*model, tokenizer_), string_member(*model, "unk_token", at)};
    if (is_sentencepiece_like(tokenizer_.root())) {
      std::vector<std::pair<uint32_t, bool>> added;
      for (const auto& [id, a] : added_) added.emplace_back(id, a.special);
      finish_sentencepiece(
          rebuild_sentencepiece(bpe, added, recognise_dummy_prefix(tokenizer_.root(), where_), where_));
      return;
    }
    recognise_byte_level(tokenizer_.root(), where_, t_);
    t_.ignore_merges = bool_member(*model, "ignore_merges", false, at);
    std::vector<BpeToken> tokens(bpe.vocab.size());
    for (size_t i = 0; i < tokens.size(); ++i)
      if (!bpe.vocab[i].empty()) tokens[i] = {BpeToken::kText, bpe.vocab[i]};
    for (const auto& [id, a] : added_) {
      if (id >= tokens.size()) tokens.resize(id + 1);
      if (tokens[id].kind != BpeToken::kAbsent && tokens[id].text != a.content)
        tokenizer_.fail("added_tokens: token " + std::to_string(id) + " is \"" + tokens[id].text.substr(0, 60) +
                        "\" in model.vocab but \"" + a.content.substr(0, 60) + "\" there");
      tokens[id] = {BpeToken::kSpecial, a.content};
      add_special(t_, id, a.content, a.special, a.lstrip, a.rstrip);
    }
    t_.kind = fb::TokenizerKind::Bpe;
    fill_bpe_tables(tokens, bpe.merges, where_, t_);
    for (size_t i = 0; i < bpe.vocab.size(); ++i)
      if (!bpe.vocab[i].empty()) ids_.emplace(bpe.vocab[i], static_cast<uint32_t>(i));
    if (!bpe.unk_token.empty()) {
      if (!ids_.count(bpe.unk_token))
        tokenizer_.fail("model.unk_token: \"" + bpe.unk_token.substr(0, 60) + "\" is not a token");
      t_.unk = static_cast<int32_t>(ids_[bpe.unk_token]);
    }
    size_ = static_cast<uint32_t>(tokens.size());
  }

  void finish_sentencepiece(const rt::SentencePieceProto& p) {
    using Proto = rt::SentencePieceProto;
    for (size_t i = 0; i < p.pieces.size(); ++i) {
      const auto id = static_cast<uint32_t>(i);
      const auto& piece = p.pieces[i];
      ids_.emplace(piece.piece, id);
      if (piece.type == Proto::kUnknown) t_.unk = static_cast<int32_t>(i);
      if ((piece.type == Proto::kControl || piece.type == Proto::kUserDefined) && !added_.count(id))
        add_special(t_, id, piece.piece, piece.type == Proto::kControl);
    }
    for (const auto& [id, a] : added_) {
      // The unknown piece reads as itself only inside the library.
      if (id < p.pieces.size() && p.pieces[id].type == Proto::kUnknown) continue;
      add_special(t_, id, a.content, a.special, a.lstrip, a.rstrip);
    }
    fill_sentencepiece(p, where_, t_);
    size_ = static_cast<uint32_t>(p.pieces.size());
  }

  // The id of the token that a configuration file names under `key`.
  int32_t role(const char* key) {
    for (const JsonFile* file : {&config_, &map_}) {
      const auto text = file->token(key);
      if (!text || text->empty()) continue;
      const auto it = ids_.find(*text);
      if (it == ids_.end()) file->fail(std::string(key) + ": \"" + text->substr(0, 60) + "\" is not a token");
      if (static_cast<int32_t>(it->second) != t_.unk) ensure_special(t_, it->second, *text);
      return static_cast<int32_t>(it->second);
    }
    return -1;
  }

  std::string content_of(int32_t id) const {
    for (const auto& s : t_.special)
      if (static_cast<int32_t>(s->id) == id) return s->content;
    return {};
  }

  void read_roles() {
    const bool sentencepiece = t_.kind == fb::TokenizerKind::SentencePiece;
    t_.bos = role("bos_token");
    t_.pad = role("pad_token");
    if (sentencepiece && t_.bos < 0 && ids_.count("<s>")) t_.bos = static_cast<int32_t>(ids_["<s>"]);
    add_end(t_, role("eos_token"));
    const int32_t eos = t_.eos.empty() ? -1 : static_cast<int32_t>(t_.eos.front());
    for (const char* name : {"generation_config.json", "config.json"}) {
      const JsonFile file(dir_ / name, kMaxConfigFile);
      for (int64_t id : file.ids("eos_token_id")) {
        // Ids up to the embedding's rows are legal here, but only tokens can be recognised in an answer.
        if (id < static_cast<int64_t>(size_)) add_end(t_, id);
      }
      if (t_.bos < 0 && sentencepiece)
        if (const auto bos = file.ids("bos_token_id"); bos.size() == 1 && bos[0] < static_cast<int64_t>(size_))
          t_.bos = static_cast<int32_t>(bos[0]);
    }
    add_known_ends(t_);
    const PostProcessing post = recognise_post_processor(tokenizer_.root(), content_of(t_.bos), content_of(eos));
    const bool bos_otherwise = post.given ? post.adds_bos : sentencepiece;
    t_.add_bos = config_.boolean("add_bos_token").value_or(bos_otherwise) && t_.bos >= 0;
    t_.add_eos = config_.boolean("add_eos_token").value_or(post.adds_eos) && eos >= 0;
  }

  // A file of its own, or in tokenizer_config.json as one text or as a list of named ones.
  std::string chat_template() const {
    if (auto text = read_optional_file(dir_ / "chat_template.jinja", kMaxConfigFile)) return *text;
    const JsonFile own(dir_ / "chat_template.json", kMaxConfigFile);
    for (const JsonFile* file : {&own, &config_}) {
      const json* t = file->find("chat_template");
      if (!t) continue;
      if (t->is_string()) return t->get<std::string>();
      if (!t->is_array()) file->fail("chat_template: a text or a list was expected");
      std::string first;
      for (const json& entry : *t) {
        const std::string text = string_member(entry, "template", file->name() + ": chat_template");
        if (string_member(entry, "name", file->name() + ": chat_template") == "default") return text;
        if (first.empty()) first = text;
      }
      return first;
    }
    return {};
  }

  std::filesystem::path dir_;
  fb::TokenizerT& t_;
  JsonFile tokenizer_, config_, map_;
  AddedTokens added_;
  std::string where_;                              // the file that the vocabulary comes from
  std::unordered_map<std::string, uint32_t> ids_;  // by text as written in the files
  uint32_t size_ = 0;                              // one more than the highest id
};

}  // namespace

std::vector<std::string> read_hf_tokenizer(const std::filesystem::path& dir, fb::TokenizerT& tokenizer,
                                           fb::ChatT& chat) {
  tokenizer = {};
  Reader reader(dir, tokenizer);
  reader.read();
  return reader.read_chat(chat);
}

bool has_hf_tokenizer(const std::filesystem::path& dir) {
  std::error_code error;
  return std::filesystem::exists(dir / "tokenizer.json", error) ||
         std::filesystem::exists(dir / "tokenizer.model", error);
}

}  // namespace svq::convert
