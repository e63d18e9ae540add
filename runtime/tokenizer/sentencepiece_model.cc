// SentencePiece by the library, from the ModelProto stored in a .svq file.
#include <stdexcept>
#include <string>

#include "runtime/tokenizer/sentencepiece_library.h"
#include "runtime/tokenizer/sentencepiece_proto.h"
#include "runtime/tokenizer/text_model.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

using Proto = SentencePieceProto;

class SentencePieceModel : public TextModel {
 public:
  SentencePieceModel(const fb::Tokenizer& tables, uint32_t vocab) {
    const auto* stored = tables.sentencepiece();
    if (!stored || stored->size() == 0) throw std::runtime_error("tokenizer.sentencepiece is empty");
    Proto proto = Proto::parse({reinterpret_cast<const char*>(stored->data()), stored->size()});
    if (proto.pieces.size() > vocab)
      throw std::runtime_error("tokenizer.sentencepiece has " + std::to_string(proto.pieces.size()) +
                               " pieces, but the embedding has " + std::to_string(vocab) + " rows");
    dummy_space_ = proto.add_dummy_prefix && !proto.whitespace_as_suffix;
    // Putting the dummy space here rather than in the library lets a segment go on behind bytes that are no characters.
    own_dummy_ = dummy_space_ && !proto.remove_extra_whitespaces;
    if (own_dummy_) proto.add_dummy_prefix = false;
    // Written anew from what was checked, so that nothing else of the stored bytes reaches the library.
    library_ = std::make_unique<SentencePieceLibrary>(proto.serialize());
    read_pieces(proto);
  }

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    std::string storage;
    if (own_dummy_) {
      storage.reserve(text.size() + 1);
      storage += ' ';
      storage += text;
      text = storage;
    }
    while (!text.empty()) {
      // With byte tokens, bytes that are no characters become those; without, the library replaces them by U+FFFD.
      const size_t valid = byte_fallback_ ? utf8_prefix(text) : text.size();
      if (valid > 0) {
        const std::vector<int> ids = library_->encode(text.substr(0, valid));
        out.insert(out.end(), ids.begin(), ids.end());
      }
      size_t invalid = valid;
      for (; invalid < text.size() && utf8_char(text.substr(invalid)) == 0; ++invalid)
        out.push_back(byte_ids_[static_cast<uint8_t>(text[invalid])]);
      text.remove_prefix(invalid);
    }
  }

  std::string_view bytes(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < types_.size() ? view(static_cast<size_t>(id)) : std::string_view();
  }
  bool is_control(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < types_.size() && types_[static_cast<size_t>(id)] == Proto::kControl;
  }
  bool finds(int32_t id, std::string_view content) const override {
    return id >= 0 && static_cast<size_t>(id) < types_.size() &&
           types_[static_cast<size_t>(id)] == Proto::kUserDefined && library_->piece(id) == content;
  }
  bool dummy_space() const override { return dummy_space_; }

 private:
  // Every piece as it reads in a text: U+2581 is a space, <0x0A> a byte, the unknown piece its surface.
  void read_pieces(const Proto& proto) {
    constexpr std::string_view kSpace = "\xE2\x96\x81";
    byte_fallback_ = proto.byte_fallback;
    offsets_.push_back(0);
    for (size_t i = 0; i < proto.pieces.size(); ++i) {
      const auto& e = proto.pieces[i];
      types_.push_back(e.type);
      if (e.type == Proto::kByte) {
        const int value = byte_piece_value(e.piece);
        byte_ids_[value] = static_cast<int32_t>(i);
        text_ += static_cast<char>(value);
      } else if (e.type == Proto::kUnknown) {
        text_ += proto.unk_surface;
      } else if (e.type == Proto::kControl) {
        text_ += e.piece;
      } else {
        for (std::string_view rest = e.piece; !rest.empty();) {
          if (rest.starts_with(kSpace)) {
            text_ += ' ';
            rest.remove_prefix(kSpace.size());
          } else {
            text_ += rest.front();
            rest.remove_prefix(1);
          }
        }
      }
      offsets_.push_back(text_.size());
    }
  }
  std::string_view view(size_t id) const {
    return std::string_view(text_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
  }

  std::unique_ptr<SentencePieceLibrary> library_;
  std::string text_;
  std::vector<size_t> offsets_;
  std::vector<uint8_t> types_;
  int32_t byte_ids_[256] = {};
  bool byte_fallback_ = false, dummy_space_ = false, own_dummy_ = false;
};

}  // namespace

std::unique_ptr<TextModel> make_sentencepiece(const fb::Tokenizer& tables, uint32_t vocab) {
  return std::make_unique<SentencePieceModel>(tables, vocab);
}

}  // namespace svq::rt
