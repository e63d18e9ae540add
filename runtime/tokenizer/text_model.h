// What turns a stretch of plain text, free of special tokens, into ids: one implementation per TokenizerKind.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "svq_generated.h"

namespace svq::rt {

class TextModel {
 public:
  virtual ~TextModel() = default;
  // Appends the ids of `text`. A segment is what stands between two special tokens, or the whole text.
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
  // Raw bytes of one token; empty if the id is unknown.
  virtual std::string_view bytes(int32_t id) const = 0;
  virtual bool is_control(int32_t) const { return false; }
  // True if the model itself finds this token in a text, so that it need not be searched for beforehand.
  virtual bool finds(int32_t, std::string_view) const { return false; }
  // True if the model puts a space before the first word, which decoding takes away again.
  virtual bool dummy_space() const { return false; }
};

// vocab: every id given out is below it. Both throw std::runtime_error naming the field at fault.
std::unique_ptr<TextModel> make_bpe(const fb::Tokenizer& tables, uint32_t vocab);
std::unique_ptr<TextModel> make_sentencepiece(const fb::Tokenizer& tables, uint32_t vocab);

}  // namespace svq::rt
