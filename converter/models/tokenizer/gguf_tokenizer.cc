#include "converter/models/tokenizer/gguf_tokenizer.h"

#include <algorithm>

#include "converter/base/error.h"
#include "converter/models/tokenizer/chat_template.h"
#include "converter/models/tokenizer/tables.h"

namespace svq::convert {
namespace {

const std::string kKeys = "tokenizer.ggml.";

enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// tokenizer.ggml.pre names a pre-tokenizer; llama.cpp's converter writes it from a hash of the tokenizer's behaviour.
struct Pre {
  const char* name;
  fb::PreTokenizer kind;
  bool nfc;  // the model's own tokenizer normalises its text to NFC
  bool ignore_merges;
  bool add_bos;  // where tokenizer.ggml.add_bos_token is absent
};
constexpr Pre kPres[] = {
    {"gpt-2", fb::PreTokenizer::Gpt2, false, false, false},
    {"default", fb::PreTokenizer::Gpt2, false, false, false},
    {"llama-bpe", fb::PreTokenizer::Llama3, false, true, true},
    {"llama3", fb::PreTokenizer::Llama3, false, true, true},
    {"llama-v3", fb::PreTokenizer::Llama3, false, true, true},
    {"qwen2", fb::PreTokenizer::Qwen2, true, false, false},
    {"deepseek-r1-qwen", fb::PreTokenizer::Qwen2, false, false, false},
    {"smollm", fb::PreTokenizer::Smollm, false, false, false},
    {"starcoder", fb::PreTokenizer::Smollm, false, false, false},
};

const Pre& find_pre(const std::string& name) {
  std::string known;
  for (const Pre& p : kPres) {
    if (name == p.name) return p;
    known += known.empty() ? p.name : std::string(", ") + p.name;
  }
  throw Error(kKeys + "pre: the pre-tokenizer \"" + name.substr(0, 64) + "\" is not supported; supported are " + known);
}

void check_id(int64_t id, size_t n, const char* key) {
  if (id < -1 || id >= static_cast<int64_t>(n))
    throw Error(kKeys + key + ": token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(n));
}

void read_bpe(const GgufTokenizer& s, fb::TokenizerT& t, std::vector<std::string>& warnings) {
  if (s.pre.empty() || s.pre == "default")
    warnings.push_back("the source names no pre-tokenizer (" + kKeys + "pre): GPT-2's is taken");
  const Pre& pre = find_pre(s.pre.empty() ? "default" : s.pre);
  std::vector<BpeToken> tokens(s.tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int type = s.types.empty() ? static_cast<int>(kNormal) : s.types[i];
    if (type == kUnused) continue;  // placeholders that fill the embedding up
    const bool special = type == kControl || type == kUserDefined || type == kUnknown;
    tokens[i] = {special ? BpeToken::kSpecial : BpeToken::kText, s.tokens[i]};
    if (special) add_special(t, static_cast<uint32_t>(i), s.tokens[i], type != kUserDefined);
  }
  std::vector<MergeText> merges;
  merges.reserve(s.merges.size());
  for (size_t i = 0; i < s.merges.size(); ++i) merges.push_back(split_merge(s.merges[i], i, kKeys + "merges"));
  t.kind = fb::TokenizerKind::Bpe;
  fill_bpe_tables(tokens, merges, kKeys + "tokens", t);
  t.pre_tokenizer = pre.kind;
  t.normalizer = pre.nfc ? fb::Normalizer::Nfc : fb::Normalizer::None;
  t.ignore_merges = pre.ignore_merges;
  t.add_prefix_space = s.add_space_prefix.value_or(false);
  t.add_bos = s.add_bos.value_or(pre.add_bos);
  // unknown_token_id stays out: a byte-level vocabulary has no unknown text, and the id named is often that of another
  // token such as end-of-text.
}

void read_sentencepiece(const GgufTokenizer& s, fb::TokenizerT& t) {
  const size_t n = s.tokens.size();
  if (s.scores.size() != n)
    throw Error(kKeys + "scores has " + std::to_string(s.scores.size()) + " entries, " + std::to_string(n) +
                " were expected");
  if (s.types.size() != n) throw Error(kKeys + "token_type is absent, " + std::to_string(n) + " entries were expected");
  rt::SentencePieceProto p;
  p.model_type = rt::SentencePieceProto::kBpe;
  p.normalizer_name = "identity";
  p.remove_extra_whitespaces = false;
  p.add_dummy_prefix = s.add_space_prefix.value_or(true);
  p.pieces.resize(n);
  for (size_t i = 0; i < n; ++i) {
    auto type = static_cast<rt::SentencePieceProto::Type>(s.types[i]);
    // The library wants exactly one unknown piece; some files type it as a control token.
    if (s.unk >= 0 && static_cast<int64_t>(i) == s.unk)
      type = rt::SentencePieceProto::kUnknown;
    else if (type == rt::SentencePieceProto::kUnknown && s.unk >= 0)
      type = rt::SentencePieceProto::kControl;
    p.byte_fallback |= type == rt::SentencePieceProto::kByte;
    p.pieces[i] = {s.tokens[i], s.scores[i], type};
    if (type == rt::SentencePieceProto::kControl || type == rt::SentencePieceProto::kUserDefined)
      add_special(t, static_cast<uint32_t>(i), s.tokens[i], type == rt::SentencePieceProto::kControl);
  }
  fill_sentencepiece(p, kKeys + "tokens", t);
  t.unk = static_cast<int32_t>(s.unk);
  t.add_bos = s.add_bos.value_or(true);
}

}  // namespace

std::vector<std::string> read_gguf_tokenizer(const GgufTokenizer& s, fb::TokenizerT& t, fb::ChatT& chat) {
  std::vector<std::string> warnings;
  t = {};
  const size_t n = s.tokens.size();
  if (n == 0) throw Error(kKeys + "tokens is absent or empty");
  if (n > kMaxTokens)
    throw Error(kKeys + "tokens has " + std::to_string(n) + " entries, at most " + std::to_string(kMaxTokens) +
                " are supported");
  if (!s.types.empty() && s.types.size() != n)
    throw Error(kKeys + "token_type has " + std::to_string(s.types.size()) + " entries, " + std::to_string(n) +
                " were expected");
  for (size_t i = 0; i < s.types.size(); ++i)
    if (s.types[i] < kNormal || s.types[i] > kByte)
      throw Error(kKeys + "token_type: entry " + std::to_string(i) + " is " + std::to_string(s.types[i]) +
                  ", 1 to 6 was expected");
  check_id(s.bos, n, "bos_token_id");
  check_id(s.eos, n, "eos_token_id");
  check_id(s.eot, n, "eot_token_id");
  check_id(s.eom, n, "eom_token_id");
  check_id(s.pad, n, "padding_token_id");
  check_id(s.unk, n, "unknown_token_id");
  if (s.model == "gpt2") {
    read_bpe(s, t, warnings);
  } else if (s.model == "llama") {
    read_sentencepiece(s, t);
  } else {
    throw Error(kKeys + "model: the tokenizer \"" + s.model.substr(0, 64) +
                "\" is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece)");
  }
  t.bos = static_cast<int32_t>(s.bos);
  t.pad = static_cast<int32_t>(s.pad);
  for (int64_t id : {s.eos, s.eot, s.eom}) add_end(t, id);
  // Old files do not type their tokens.
  for (int64_t id : {s.bos, s.eos, s.eot, s.eom})
    if (id >= 0 && id != s.unk) ensure_special(t, static_cast<uint32_t>(id), s.tokens[static_cast<size_t>(id)]);
  add_known_ends(t);
  t.add_bos = t.add_bos && t.bos >= 0;
  t.add_eos = s.add_eos.value_or(false) && s.eos >= 0;
  check_tokenizer(t, static_cast<uint32_t>(n), kKeys + "tokens");
  if (auto warning = fill_chat(s.chat_template, chat)) warnings.push_back(*warning);
  return warnings;
}

}  // namespace svq::convert
