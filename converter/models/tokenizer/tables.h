// What GGUF and Hugging Face sources have in common: from tokens and merges as text to the tables of a .svq file.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/tokenizer/sentencepiece_proto.h"
#include "svq_generated.h"

namespace svq::convert {

constexpr size_t kMaxTokens = 4u << 20;  // sixteen times the largest vocabulary known

// One entry of a byte-level vocabulary.
struct BpeToken {
  enum Kind { kAbsent, kText, kSpecial };
  Kind kind = kAbsent;
  std::string text;  // kText: in GPT-2's byte alphabet; kSpecial: plain text
};

using MergeText = std::pair<std::string, std::string>;  // both in GPT-2's byte alphabet

// GPT-2's byte alphabet writes each byte as a printable character. False if `text` has a character outside it.
bool decode_byte_alphabet(std::string_view text, std::string& bytes);
std::string encode_byte_alphabet(std::string_view bytes);  // the inverse

// "left right" at its one space. where: for the error, "tokenizer.ggml.merges".
MergeText split_merge(std::string_view text, size_t index, const std::string& where);

// Fills token_bytes, token_offsets, merges and merge_results. Throws Error naming `where` if a token occurs twice or a
// merge names none.
void fill_bpe_tables(const std::vector<BpeToken>& tokens, const std::vector<MergeText>& merges,
                     const std::string& where, fb::TokenizerT& tokenizer);

// Stores the model; throws Error if it is unusable.
void fill_sentencepiece(const rt::SentencePieceProto& proto, const std::string& where, fb::TokenizerT& tokenizer);

void add_special(fb::TokenizerT& tokenizer, uint32_t id, std::string content, bool control, bool lstrip = false,
                 bool rstrip = false);
// Adds a control token unless the id is listed already.
void ensure_special(fb::TokenizerT& tokenizer, uint32_t id, const std::string& content);
// Appends to the end tokens unless it is there already.
void add_end(fb::TokenizerT& tokenizer, int64_t id);
// Control tokens that end an answer in the known chat formats whatever the source declares.
void add_known_ends(fb::TokenizerT& tokenizer);

// Loads the tokenizer as the runtime will and takes a text there and back. Throws Error beginning with `where`.
void check_tokenizer(const fb::TokenizerT& tokenizer, uint32_t vocab, const std::string& where);

}  // namespace svq::convert
