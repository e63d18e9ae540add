// The parts of sentencepiece's ModelProto that tokenization depends on (sentencepiece_model.proto of
// github.com/google/sentencepiece), read and written without protobuf, which Debian's sentencepiece keeps to itself.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace svq::rt {

struct SentencePieceProto {
  enum Type : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum ModelType { kUnigram = 1, kBpe = 2 };
  struct Entry {
    std::string piece;
    float score = 0;
    Type type = kNormal;
  };
  std::vector<Entry> pieces;

  // trainer_spec
  int model_type = kUnigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  // normalizer_spec
  std::string normalizer_name;
  std::string charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  // Throws std::runtime_error with one sentence if the bytes are no ModelProto, or one that the library would not load
  // safely: everything it relies on is checked here, since it aborts or reads astray on some inconsistent models.
  static SentencePieceProto parse(std::string_view bytes);
  std::string serialize() const;
};

// "<0x0A>" -> 10; -1 if it is not the name of a byte.
int byte_piece_value(std::string_view piece);

}  // namespace svq::rt
