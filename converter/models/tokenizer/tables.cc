#include "converter/models/tokenizer/tables.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "converter/base/error.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::convert {
namespace {

// Code point -> byte, -1 outside the alphabet. Printable Latin-1 stands for itself; the other 68 bytes, in order, are
// U+0100 to U+0143 (bytes_to_unicode of github.com/openai/gpt-2, encoder.py).
std::array<int, 0x144> byte_alphabet() {
  std::array<int, 0x144> table;
  table.fill(-1);
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    table[static_cast<size_t>(printable ? b : next++)] = b;
  }
  return table;
}

// At most 60 bytes, with quotation marks, for a message.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 60)) out += static_cast<uint8_t>(c) < 0x20 || c == 0x7F ? '?' : c;
  return out + (text.size() > 60 ? "…\"" : "\"");
}

}  // namespace

std::string encode_byte_alphabet(std::string_view bytes) {
  static const auto characters = [] {
    const std::array<int, 0x144> table = byte_alphabet();
    std::array<std::string, 256> of;
    for (uint32_t c = 0; c < table.size(); ++c) {
      if (table[c] < 0) continue;
      of[static_cast<size_t>(table[c])] =
          c < 0x80 ? std::string(1, static_cast<char>(c))
                   : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
    return of;
  }();
  std::string text;
  for (const char c : bytes) text += characters[static_cast<uint8_t>(c)];
  return text;
}

bool decode_byte_alphabet(std::string_view text, std::string& bytes) {
  static const std::array<int, 0x144> table = byte_alphabet();
  bytes.clear();
  while (!text.empty()) {
    const size_t n = rt::utf8_char(text);
    if (n == 0) return false;
    const uint32_t c = rt::utf8_code_point(text, n);
    if (c >= table.size() || table[c] < 0) return false;
    bytes += static_cast<char>(table[c]);
    text.remove_prefix(n);
  }
  return true;
}

MergeText split_merge(std::string_view text, size_t index, const std::string& where) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == text.size() ||
      text.find(' ', space + 1) != std::string_view::npos)
    throw Error(where + ": entry " + std::to_string(index) + " is " + quoted(text) +
                ", two tokens with a space between them were expected");
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
}

void fill_bpe_tables(const std::vector<BpeToken>& tokens, const std::vector<MergeText>& merges,
                     const std::string& where, fb::TokenizerT& tokenizer) {
  if (tokens.empty()) throw Error(where + ": the vocabulary is empty");
  if (tokens.size() > kMaxTokens)
    throw Error(where + ": " + std::to_string(tokens.size()) + " tokens, at most " + std::to_string(kMaxTokens) +
                " are supported");
  std::unordered_map<std::string_view, uint32_t> ids;
  ids.reserve(tokens.size());
  tokenizer.token_bytes.clear();
  tokenizer.token_offsets.assign(1, 0);
  std::string bytes;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const BpeToken& t = tokens[id];
    if (t.kind != BpeToken::kAbsent) {
      if (rt::utf8_prefix(t.text) != t.text.size())
        throw Error(where + ": token " + std::to_string(id) + " is not UTF-8");
      const auto [it, fresh] = ids.emplace(t.text, static_cast<uint32_t>(id));
      if (!fresh)
        throw Error(where + ": tokens " + std::to_string(it->second) + " and " + std::to_string(id) + " are both " +
                    quoted(t.text));
      // Some sources do not mark added tokens; what the alphabet cannot spell is one of those, and plain text.
      if (t.kind == BpeToken::kSpecial || !decode_byte_alphabet(t.text, bytes)) bytes = t.text;
      tokenizer.token_bytes.insert(tokenizer.token_bytes.end(), bytes.begin(), bytes.end());
    }
    if (tokenizer.token_bytes.size() > (1u << 30)) throw Error(where + ": the tokens take more than 1 GiB");
    tokenizer.token_offsets.push_back(static_cast<uint32_t>(tokenizer.token_bytes.size()));
  }
  const auto id_of = [&](const std::string& text, size_t index) {
    const auto it = ids.find(text);
    if (it == ids.end())
      throw Error(where + ": merge " + std::to_string(index) + " needs " + quoted(text) + ", which is not a token");
    return it->second;
  };
  tokenizer.merges.clear();
  tokenizer.merge_results.clear();
  tokenizer.merges.reserve(merges.size());
  tokenizer.merge_results.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    tokenizer.merges.emplace_back(id_of(left, i), id_of(right, i));
    tokenizer.merge_results.push_back(id_of(left + right, i));
  }
}

void fill_sentencepiece(const rt::SentencePieceProto& proto, const std::string& where, fb::TokenizerT& tokenizer) {
  if (proto.pieces.size() > kMaxTokens)
    throw Error(where + ": " + std::to_string(proto.pieces.size()) + " pieces, at most " + std::to_string(kMaxTokens) +
                " are supported");
  const std::string bytes = proto.serialize();
  tokenizer.kind = fb::TokenizerKind::SentencePiece;
  tokenizer.sentencepiece.assign(bytes.begin(), bytes.end());
  tokenizer.add_prefix_space = proto.add_dummy_prefix;
}

void add_special(fb::TokenizerT& tokenizer, uint32_t id, std::string content, bool control, bool lstrip, bool rstrip) {
  auto s = std::make_unique<fb::SpecialTokenT>();
  s->id = id;
  s->content = std::move(content);
  s->control = control;
  s->lstrip = lstrip;
  s->rstrip = rstrip;
  tokenizer.special.push_back(std::move(s));
}

void ensure_special(fb::TokenizerT& tokenizer, uint32_t id, const std::string& content) {
  for (const auto& s : tokenizer.special)
    if (s->id == id) return;
  add_special(tokenizer, id, content, true);
}

void add_end(fb::TokenizerT& tokenizer, int64_t id) {
  if (id < 0) return;
  const auto value = static_cast<uint32_t>(id);
  if (std::find(tokenizer.eos.begin(), tokenizer.eos.end(), value) == tokenizer.eos.end())
    tokenizer.eos.push_back(value);
}

void add_known_ends(fb::TokenizerT& tokenizer) {
  constexpr std::string_view kEnds[] = {"<|im_end|>",    "<|eot_id|>",      "<|eom_id|>",
                                        "<end_of_turn>", "<|end_of_text|>", "<|endoftext|>"};
  for (const auto& s : tokenizer.special)
    if (s->control && std::find(std::begin(kEnds), std::end(kEnds), s->content) != std::end(kEnds))
      add_end(tokenizer, s->id);
}

void check_tokenizer(const fb::TokenizerT& tokenizer, uint32_t vocab, const std::string& where) {
  try {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(fb::CreateTokenizer(builder, &tokenizer));
    const auto loaded = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(builder.GetBufferPointer()), vocab);
    const std::string text = "The robot lifts 12 boxes; it doesn't stop.\n";
    const auto ids = loaded->encode(text, false, false);
    for (int32_t id : ids)
      if (id < 0 || static_cast<uint32_t>(id) >= vocab) throw Error("a sample text gives token " + std::to_string(id));
    if (ids.empty()) throw Error("a sample text gives no tokens");
  } catch (const std::exception& e) {
    throw Error(where + ": " + e.what());
  }
}

}  // namespace svq::convert
