// Text to token ids and back: byte-level BPE and SentencePiece behind one class.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "svq_generated.h"

namespace svq::rt {

class SpecialTokens;
class TextModel;

// A stretch of a prompt. special: tokens such as <|im_end|> that stand in it are recognised; otherwise they are plain
// text, which is what a user's own words should be.
struct Piece {
  std::string text;
  bool special = false;
};

// Immutable after create(); every const method may be called from several threads.
class Tokenizer {
 public:
  // `tables` must outlive the tokenizer. vocab: ids are below it (rows of the embedding).
  // Throws std::runtime_error with one sentence naming the field if the tables are inconsistent.
  static std::unique_ptr<Tokenizer> create(const fb::Tokenizer& tables, uint32_t vocab);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // add_special: begin and end of text where the model wants them. parse_special: control tokens written in the text
  // are recognised. User-defined tokens (SpecialToken.control = false) are text and recognised always. The text need
  // not be valid UTF-8: invalid bytes become byte tokens and decode to themselves where the vocabulary has them.
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;
  // The pieces as one text, so that tokens may span their borders, but control tokens are found only inside runs of
  // special pieces. This is how a formatted chat is to be tokenized (chat.h).
  std::vector<int32_t> encode(std::span<const Piece> pieces, bool add_special) const;

  // The bytes of the tokens' text; a token may end inside a character. Control tokens are left out unless with_special;
  // ids out of range are skipped. SentencePiece: the dummy space before the first word is removed.
  std::string decode(std::span<const int32_t> tokens, bool with_special) const;
  // Bytes of one token in the middle of a text; empty for ids out of range and, unless with_special, for control
  // tokens.
  std::string_view token_bytes(int32_t id, bool with_special = false) const;

  bool is_control(int32_t id) const;
  bool is_end(int32_t id) const;                       // ends a generation
  int32_t special_id(std::string_view content) const;  // id of the control or user-defined token; -1: none
  std::string_view special_text(int32_t id) const;     // the inverse; empty: none
  std::string_view bos_text() const;                   // as written in a text; empty: no such token

  uint32_t vocab() const { return vocab_; }
  int32_t bos() const { return bos_; }  // -1: none
  int32_t eos() const { return ends_.empty() ? -1 : ends_.front(); }
  const std::vector<int32_t>& ends() const { return ends_; }
  int32_t pad() const { return pad_; }
  bool adds_bos() const { return add_bos_; }
  bool adds_eos() const { return add_eos_; }

 private:
  Tokenizer();
  struct Run {
    size_t end;    // in the text; begins where the last one ended
    bool special;  // control tokens are recognised if they lie inside
  };
  std::vector<int32_t> encode_runs(std::string_view text, std::span<const Run> runs, bool add_special) const;

  std::unique_ptr<SpecialTokens> special_;
  std::unique_ptr<TextModel> model_;
  uint32_t vocab_ = 0;
  int32_t bos_ = -1, pad_ = -1;
  std::vector<int32_t> ends_;
  bool add_bos_ = false, add_eos_ = false;
};

}  // namespace svq::rt
