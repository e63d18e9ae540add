#include "runtime/tokenizer/sentencepiece_proto.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <unordered_set>

#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("tokenizer.sentencepiece: " + what); }

// One field of a protobuf message: number, wire type and value.
struct Field {
  uint32_t number = 0;
  uint32_t wire = 0;
  uint64_t value = 0;      // wire types 0, 1, 5
  std::string_view bytes;  // wire type 2
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool next(Field& f) {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    f = {};
    if (key >> 3 == 0 || key >> 32 != 0) fail("not a ModelProto (bad field number)");
    f.number = static_cast<uint32_t>(key >> 3);
    f.wire = key & 7;
    switch (f.wire) {
      case 0:
        f.value = varint();
        break;
      case 1:
        f.value = fixed(8);
        break;
      case 2: {
        const uint64_t n = varint();
        if (n > rest_.size()) fail("not a ModelProto (a field is longer than the rest)");
        f.bytes = rest_.substr(0, n);
        rest_.remove_prefix(n);
        break;
      }
      case 5:
        f.value = fixed(4);
        break;
      default:
        fail("not a ModelProto (wire type " + std::to_string(f.wire) + ")");
    }
    return true;
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto b = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return value;
    }
    fail("not a ModelProto (bad integer)");
  }
  uint64_t fixed(size_t n) {
    if (rest_.size() < n) fail("not a ModelProto (cut short)");
    uint64_t value = 0;
    for (size_t i = 0; i < n; ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << 8 * i;
    rest_.remove_prefix(n);
    return value;
  }
  std::string_view rest_;
};

void expect(const Field& f, uint32_t wire, const char* name) {
  if (f.wire != wire) fail(std::string("field ") + name + " has the wrong type");
}

SentencePieceProto::Entry parse_piece(std::string_view bytes, size_t index) {
  SentencePieceProto::Entry e;
  Field f;
  for (Reader r(bytes); r.next(f);) {
    if (f.number == 1) {
      expect(f, 2, "piece");
      e.piece = f.bytes;
    } else if (f.number == 2) {
      expect(f, 5, "score");
      e.score = std::bit_cast<float>(static_cast<uint32_t>(f.value));
    } else if (f.number == 3) {
      expect(f, 0, "type");
      if (f.value < 1 || f.value > 6)
        fail("piece " + std::to_string(index) + " has the unknown type " + std::to_string(f.value));
      e.type = static_cast<SentencePieceProto::Type>(f.value);
    }
  }
  return e;
}

void parse_trainer(std::string_view bytes, SentencePieceProto& p) {
  Field f;
  for (Reader r(bytes); r.next(f);) {
    if (f.number == 3) {
      expect(f, 0, "model_type");
      p.model_type = f.value <= 4 ? static_cast<int>(f.value) : 0;
    } else if (f.number == 24) {
      expect(f, 0, "treat_whitespace_as_suffix");
      p.whitespace_as_suffix = f.value != 0;
    } else if (f.number == 35) {
      expect(f, 0, "byte_fallback");
      p.byte_fallback = f.value != 0;
    } else if (f.number == 44) {
      expect(f, 2, "unk_surface");
      p.unk_surface = f.bytes;
    }
  }
}

void parse_normalizer(std::string_view bytes, SentencePieceProto& p) {
  Field f;
  for (Reader r(bytes); r.next(f);) {
    if (f.number == 1) {
      expect(f, 2, "normalizer name");
      p.normalizer_name = f.bytes;
    } else if (f.number == 2) {
      expect(f, 2, "precompiled_charsmap");
      p.charsmap = f.bytes;
    } else if (f.number == 3) {
      expect(f, 0, "add_dummy_prefix");
      p.add_dummy_prefix = f.value != 0;
    } else if (f.number == 4) {
      expect(f, 0, "remove_extra_whitespaces");
      p.remove_extra_whitespaces = f.value != 0;
    } else if (f.number == 5) {
      expect(f, 0, "escape_whitespaces");
      p.escape_whitespaces = f.value != 0;
    }
  }
}

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t v;
  std::memcpy(&v, bytes.data() + at, 4);
  return v;
}

// A charsmap is [u32 size of trie][trie: Darts double array of u32][replacement texts, each ended by NUL].
// Unit bits (darts.h of github.com/s-yata/darts-clone): 31 set: a value in bits 0-30; otherwise bits 0-7 label, bit 8
// has a value, bit 9 the offset in bits 10-30 is shifted by 8. The library follows a unit to (its index ^ offset ^
// byte) without looking at the array's end.
void check_charsmap(std::string_view map) {
  const char* const kBad = "precompiled_charsmap is damaged";
  if (map.size() < 4) fail(kBad);
  const uint32_t trie = read_u32(map, 0);
  if (trie % 4 != 0 || trie < 1024 || trie > map.size() - 4) fail(kBad);
  const std::string_view texts = map.substr(4 + static_cast<size_t>(trie));
  if (texts.empty() || texts.back() != '\0') fail(kBad);
  const uint32_t units = trie / 4;
  for (uint32_t i = 0; i < units; ++i) {
    const uint32_t unit = read_u32(map, 4 + 4 * static_cast<size_t>(i));
    if (unit >> 31) continue;
    const uint32_t base = i ^ ((unit >> 10) << ((unit & (1u << 9)) >> 6));
    if ((base | 0xFF) >= units) fail(kBad);
    if (unit & (1u << 8)) {
      const uint32_t value = read_u32(map, 4 + 4 * static_cast<size_t>(base)) & 0x7FFFFFFF;
      if (value >= texts.size()) fail(kBad);
    }
  }
}

void check(const SentencePieceProto& p) {
  if (p.model_type != SentencePieceProto::kUnigram && p.model_type != SentencePieceProto::kBpe)
    fail("only unigram and BPE models are supported");
  if (p.pieces.empty()) fail("the model has no pieces");
  std::unordered_set<std::string_view> seen;
  seen.reserve(p.pieces.size());
  size_t unknown = 0, normal = 0, bytes = 0;
  for (size_t i = 0; i < p.pieces.size(); ++i) {
    const auto& e = p.pieces[i];
    const std::string name = "piece " + std::to_string(i);
    if (e.piece.empty()) fail(name + " is empty");
    if (e.piece.size() > 4096) fail(name + " is longer than 4096 bytes");
    if (e.piece.find('\0') != std::string::npos) fail(name + " contains a NUL");
    if (utf8_prefix(e.piece) != e.piece.size()) fail(name + " is not UTF-8");
    if (!std::isfinite(e.score)) fail(name + " has a score that is not a number");
    if (!seen.insert(e.piece).second) fail(name + " occurs twice");
    if (e.type == SentencePieceProto::kByte) {
      ++bytes;
      if (byte_piece_value(e.piece) < 0) fail(name + " is of type byte but not named <0x00> to <0xFF>");
    }
    normal += e.type == SentencePieceProto::kNormal;
    unknown += e.type == SentencePieceProto::kUnknown;
  }
  if (unknown != 1) fail(std::to_string(unknown) + " pieces are of type unknown, exactly one was expected");
  if (p.byte_fallback ? bytes != 256 : bytes != 0)
    fail(std::to_string(bytes) + " pieces are of type byte, " + (p.byte_fallback ? "256" : "none") + " expected");
  if (normal == 0) fail("the model has no pieces of type normal");
  if (!p.charsmap.empty()) check_charsmap(p.charsmap);
}

void put_varint(std::string& out, uint64_t v) {
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  out += static_cast<char>(v);
}
void put_int(std::string& out, uint32_t field, uint64_t v) {
  put_varint(out, field << 3);
  put_varint(out, v);
}
void put_bytes(std::string& out, uint32_t field, std::string_view v) {
  put_varint(out, field << 3 | 2);
  put_varint(out, v.size());
  out += v;
}
void put_float(std::string& out, uint32_t field, float v) {
  put_varint(out, field << 3 | 5);
  const auto bits = std::bit_cast<uint32_t>(v);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> 8 * i);
}

}  // namespace

int byte_piece_value(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  int value = 0;
  for (char c : piece.substr(3, 2)) {
    if (c >= '0' && c <= '9')
      value = value * 16 + (c - '0');
    else if (c >= 'A' && c <= 'F')
      value = value * 16 + (c - 'A' + 10);
    else
      return -1;
  }
  return value;
}

SentencePieceProto SentencePieceProto::parse(std::string_view bytes) {
  SentencePieceProto p;
  Field f;
  bool denormalizer = false;
  for (Reader r(bytes); r.next(f);) {
    if (f.number == 1) {
      expect(f, 2, "pieces");
      p.pieces.push_back(parse_piece(f.bytes, p.pieces.size()));
    } else if (f.number == 2) {
      expect(f, 2, "trainer_spec");
      parse_trainer(f.bytes, p);
    } else if (f.number == 3) {
      expect(f, 2, "normalizer_spec");
      parse_normalizer(f.bytes, p);
    } else if (f.number == 5) {
      expect(f, 2, "denormalizer_spec");
      SentencePieceProto d;
      parse_normalizer(f.bytes, d);
      denormalizer |= !d.charsmap.empty();
    }
  }
  if (denormalizer) fail("models with a denormalizer are not supported");
  check(p);
  return p;
}

std::string SentencePieceProto::serialize() const {
  std::string out;
  for (const Entry& e : pieces) {
    std::string piece;
    put_bytes(piece, 1, e.piece);
    put_float(piece, 2, e.score);
    put_int(piece, 3, e.type);
    put_bytes(out, 1, piece);
  }
  std::string trainer;
  put_int(trainer, 3, static_cast<uint64_t>(model_type));
  put_int(trainer, 4, pieces.size());  // vocab_size
  put_int(trainer, 24, whitespace_as_suffix);
  put_int(trainer, 35, byte_fallback);
  put_bytes(trainer, 44, unk_surface);
  put_bytes(out, 2, trainer);
  std::string normalizer;
  put_bytes(normalizer, 1, normalizer_name);
  put_bytes(normalizer, 2, charsmap);
  put_int(normalizer, 3, add_dummy_prefix);
  put_int(normalizer, 4, remove_extra_whitespaces);
  put_int(normalizer, 5, escape_whitespaces);
  put_bytes(out, 3, normalizer);
  return out;
}

}  // namespace svq::rt
