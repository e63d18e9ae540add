#include "converter/models/tokenizer/hf_sentencepiece.h"

#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "converter/base/error.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::convert {

rt::SentencePieceProto rebuild_sentencepiece(const HfBpe& bpe, const std::vector<std::pair<uint32_t, bool>>& added,
                                             bool dummy_prefix, const std::string& where) {
  using Proto = rt::SentencePieceProto;
  Proto p;
  p.model_type = Proto::kBpe;
  p.byte_fallback = true;
  p.normalizer_name = "identity";
  p.remove_extra_whitespaces = false;
  p.add_dummy_prefix = dummy_prefix;
  p.pieces.resize(bpe.vocab.size());
  std::unordered_map<std::string_view, uint32_t> ids;
  for (uint32_t id = 0; id < bpe.vocab.size(); ++id) {
    const std::string& text = bpe.vocab[id];
    if (text.empty())
      throw Error(where + ": model.vocab has no token " + std::to_string(id) + ", every id below " +
                  std::to_string(bpe.vocab.size()) + " was expected");
    ids.emplace(text, id);
    auto& piece = p.pieces[id];
    piece.piece = text;
    if (rt::byte_piece_value(text) >= 0) piece.type = Proto::kByte;
    if (text == bpe.unk_token) piece.type = Proto::kUnknown;
  }
  for (const auto& [id, control] : added)
    if (id < p.pieces.size() && p.pieces[id].type == Proto::kNormal)
      p.pieces[id].type = control ? Proto::kControl : Proto::kUserDefined;

  // Score of a piece: minus the rank of its first merge.
  std::vector<uint32_t> listed(bpe.vocab.size(), 0);
  uint32_t last = UINT32_MAX;
  for (size_t rank = 0; rank < bpe.merges.size(); ++rank) {
    const auto& [left, right] = bpe.merges[rank];
    const auto it = ids.find(left + right);
    if (it == ids.end() || !ids.count(left) || !ids.count(right))
      throw Error(where + ": model.merges: entry " + std::to_string(rank) + " names no token");
    const uint32_t id = it->second;
    if (listed[id] == 0)
      p.pieces[id].score = -static_cast<float>(rank);
    else if (id != last)
      throw Error(where + ": model.merges are not those of a SentencePiece model (entry " + std::to_string(rank) +
                  "), and there is no tokenizer.model");
    ++listed[id];
    last = id;
  }
  const auto lowest = -static_cast<float>(bpe.merges.size());
  for (uint32_t id = 0; id < p.pieces.size(); ++id) {
    auto& piece = p.pieces[id];
    if (piece.type != Proto::kNormal) continue;
    if (listed[id] == 0) piece.score = lowest;
    uint32_t splits = 0;
    const std::string_view text = piece.piece;
    for (size_t at = rt::utf8_char(text); at > 0 && at < text.size();) {
      const auto l = ids.find(text.substr(0, at)), r = ids.find(text.substr(at));
      splits += l != ids.end() && r != ids.end() && p.pieces[l->second].type == Proto::kNormal &&
                p.pieces[r->second].type == Proto::kNormal;
      const size_t n = rt::utf8_char(text.substr(at));
      if (n == 0) break;
      at += n;
    }
    if (splits > listed[id])
      throw Error(where + ": model.merges lack a way to token " + std::to_string(id) +
                  " that SentencePiece would take, and there is no tokenizer.model");
  }
  return p;
}

}  // namespace svq::convert
