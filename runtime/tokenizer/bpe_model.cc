// Byte-level BPE from the tables of a .svq file.
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/text_model.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

class BpeModel : public TextModel {
 public:
  BpeModel(const fb::Tokenizer& tables, uint32_t vocab)
      : bytes_(tables.token_bytes() ? tables.token_bytes()->data() : nullptr),
        offsets_(tables.token_offsets()),
        n_tokens_(count_tokens(tables, vocab)),
        merges_(read_merges(tables)),
        pre_tokenizer_(tables.pre_tokenizer()),
        nfc_(tables.normalizer() == fb::Normalizer::Nfc),
        ignore_merges_(tables.ignore_merges()),
        add_prefix_space_(tables.add_prefix_space()) {
    if (!nfc_ && tables.normalizer() != fb::Normalizer::None)
      throw std::runtime_error("tokenizer.normalizer: " + std::to_string(static_cast<int>(tables.normalizer())) +
                               " is unknown; 0 (none) or 1 (NFC) was expected");
    if (tables.unk() != -1) {
      if (tables.unk() < 0 || static_cast<uint32_t>(tables.unk()) >= vocab)
        throw std::runtime_error("tokenizer.unk: token " + std::to_string(tables.unk()) +
                                 " is not in the vocabulary of " + std::to_string(vocab));
      unk_ = tables.unk();
    }
    std::unordered_set<uint32_t> special;
    if (const auto* list = tables.special())
      for (const fb::SpecialToken* t : *list) special.insert(t->id());
    for (int32_t& id : byte_ids_) id = -1;
    for (uint32_t id = 0; id < n_tokens_; ++id) {
      const std::string_view b = view(id);
      if (b.empty() || special.count(id)) continue;
      if (b.size() == 1) {
        int32_t& slot = byte_ids_[static_cast<uint8_t>(b[0])];
        if (slot < 0) slot = static_cast<int32_t>(id);
      }
      if (ignore_merges_) whole_.emplace(b, id);
    }
  }

  std::string_view bytes(int32_t id) const override {
    return id >= 0 && static_cast<uint32_t>(id) < n_tokens_ ? view(static_cast<uint32_t>(id)) : std::string_view();
  }

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    std::string storage;
    if (add_prefix_space_ && !text.empty() && text.front() != ' ') {
      storage.reserve(text.size() + 1);
      storage += ' ';
      storage += text;
      text = storage;
    }
    MergeScratch scratch;
    std::vector<size_t> ends;
    while (!text.empty()) {
      const size_t valid = utf8_prefix(text);
      if (valid > 0) encode_valid(text.substr(0, valid), scratch, ends, out);
      size_t invalid = valid;
      while (invalid < text.size() && utf8_char(text.substr(invalid)) == 0) ++invalid;
      // Bytes that are no character at all stand by themselves: neither expression nor normalisation applies to them.
      if (invalid > valid) encode_piece(text.substr(valid, invalid - valid), scratch, out);
      text.remove_prefix(invalid);
    }
  }

 private:
  static uint32_t count_tokens(const fb::Tokenizer& tables, uint32_t vocab) {
    const auto* offsets = tables.token_offsets();
    const size_t size = tables.token_bytes() ? tables.token_bytes()->size() : 0;
    if (!offsets || offsets->size() < 2) throw std::runtime_error("tokenizer.token_offsets is empty");
    const size_t n = offsets->size() - 1;
    if (n > vocab)
      throw std::runtime_error("tokenizer.token_offsets names " + std::to_string(n) +
                               " tokens, but the embedding has " + std::to_string(vocab) + " rows");
    if (offsets->Get(0) != 0) throw std::runtime_error("tokenizer.token_offsets does not begin with 0");
    for (uint32_t i = 0; i < n; ++i)
      if (offsets->Get(i + 1) < offsets->Get(i))
        throw std::runtime_error("tokenizer.token_offsets falls at entry " + std::to_string(i + 1));
    if (offsets->Get(static_cast<uint32_t>(n)) != size)
      throw std::runtime_error("tokenizer.token_offsets ends at " +
                               std::to_string(offsets->Get(static_cast<uint32_t>(n))) +
                               ", but tokenizer.token_bytes has " + std::to_string(size) + " bytes");
    return static_cast<uint32_t>(n);
  }

  std::vector<MergeTable::Merge> read_merges(const fb::Tokenizer& tables) const {
    const auto* pairs = tables.merges();
    const auto* results = tables.merge_results();
    const uint32_t n = pairs ? pairs->size() : 0;
    if ((results ? results->size() : 0) != n)
      throw std::runtime_error("tokenizer.merge_results has " + std::to_string(results ? results->size() : 0) +
                               " entries, tokenizer.merges has " + std::to_string(n));
    std::vector<MergeTable::Merge> merges;
    merges.reserve(n);
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t left = pairs->Get(i)->left(), right = pairs->Get(i)->right(), result = results->Get(i);
      if (left >= n_tokens_ || right >= n_tokens_ || result >= n_tokens_)
        throw std::runtime_error("tokenizer.merges: entry " + std::to_string(i) + " names a token beyond the " +
                                 std::to_string(n_tokens_) + " there are");
      const std::string_view l = view(left), r = view(right), m = view(result);
      // Both sides hold something, so merging ends.
      if (l.empty() || r.empty() || m.size() != l.size() + r.size() || !m.starts_with(l) || !m.ends_with(r))
        throw std::runtime_error("tokenizer.merges: the result of entry " + std::to_string(i) +
                                 " is not the concatenation of its sides");
      merges.push_back({left, right, i, result});
    }
    return merges;
  }

  std::string_view view(uint32_t id) const {
    const uint32_t begin = offsets_->Get(id), end = offsets_->Get(id + 1);
    return {reinterpret_cast<const char*>(bytes_) + begin, end - begin};
  }

  void encode_valid(std::string_view text, MergeScratch& scratch, std::vector<size_t>& ends,
                    std::vector<int32_t>& out) const {
    std::string normalized;
    if (nfc_ && !is_plainly_nfc(text)) {
      normalized = to_nfc(text);
      text = normalized;
    }
    ends.clear();
    pre_tokenizer_.split(text, ends);
    size_t begin = 0;
    for (size_t end : ends) {
      encode_piece(text.substr(begin, end - begin), scratch, out);
      begin = end;
    }
  }

  void encode_piece(std::string_view piece, MergeScratch& scratch, std::vector<int32_t>& out) const {
    if (ignore_merges_) {
      if (const auto it = whole_.find(piece); it != whole_.end()) {
        out.push_back(static_cast<int32_t>(it->second));
        return;
      }
    }
    scratch.ids.clear();
    for (char c : piece) {
      int32_t id = byte_ids_[static_cast<uint8_t>(c)];
      if (id < 0) id = unk_;  // without one the byte is lost, as in the models' own tokenizers
      if (id >= 0) scratch.ids.push_back(static_cast<uint32_t>(id));
    }
    merge_pairs(merges_, scratch);
    out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
  }

  const uint8_t* bytes_;
  const flatbuffers::Vector<uint32_t>* offsets_;
  uint32_t n_tokens_;
  MergeTable merges_;
  PreTokenizer pre_tokenizer_;
  bool nfc_, ignore_merges_, add_prefix_space_;
  int32_t unk_ = -1;
  int32_t byte_ids_[256];
  std::unordered_map<std::string_view, uint32_t> whole_;
};

}  // namespace

std::unique_ptr<TextModel> make_bpe(const fb::Tokenizer& tables, uint32_t vocab) {
  return std::make_unique<BpeModel>(tables, vocab);
}

}  // namespace svq::rt
