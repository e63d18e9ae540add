// A SentencePiece model rebuilt from a tokenizer.json that describes one in other words.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "converter/models/tokenizer/tables.h"

namespace svq::convert {

struct HfBpe {
  std::vector<std::string> vocab;  // by id; empty: no such id
  std::vector<MergeText> merges;   // by rank
  std::string unk_token;
};

// SentencePiece merges any two neighbours whose concatenation is a piece, the best-scored piece first; a tokenizer.json
// lists pairs by rank. The two agree if the merges to one piece stand together and all of its splits are listed.
// Throws Error naming `where` if they do not. added: ids of tokens that are matched whole, and whether as control
// tokens.
rt::SentencePieceProto rebuild_sentencepiece(const HfBpe& bpe, const std::vector<std::pair<uint32_t, bool>>& added,
                                             bool dummy_prefix, const std::string& where);

}  // namespace svq::convert
