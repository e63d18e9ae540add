#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "converter/base/error.h"
#include "converter/job/calibration.h"

namespace svq::convert {

namespace {

constexpr uint64_t kReadWhole = uint64_t{64} << 20;
constexpr uint64_t kPieces = 64, kPieceBytes = uint64_t{1} << 20;

bool is_json_lines(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".jsonl" || extension == ".ndjson";
}

// Stretches of the file that begin and end with a line.
std::vector<std::string> read_pieces(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    throw Error(fmt::format("calibration text '{}' is not a readable file", path.string()));
  const uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (!file || error) throw Error(fmt::format("calibration text '{}' cannot be read", path.string()));
  if (size == 0) throw Error(fmt::format("calibration text '{}' is empty", path.string()));
  const bool whole = size <= kReadWhole;
  std::vector<std::string> pieces;
  for (uint64_t i = 0; i < (whole ? 1 : kPieces); ++i) {
    const uint64_t begin = whole ? 0 : i * ((size - kPieceBytes) / (kPieces - 1));
    std::string piece(whole ? size : kPieceBytes, '\0');
    file.seekg(static_cast<std::streamoff>(begin));
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (!file) throw Error(fmt::format("calibration text '{}' cannot be read at byte {}", path.string(), begin));
    if (!whole) {
      const size_t last = piece.rfind('\n');
      if (last != std::string::npos) piece.resize(last + 1);
      const size_t first = begin == 0 ? std::string::npos : piece.find('\n');
      if (first != std::string::npos) piece.erase(0, first + 1);
    }
    if (!piece.empty()) pieces.push_back(std::move(piece));
  }
  return pieces;
}

// where: file and line, for messages.
Document document_of(std::string_view json, const std::vector<std::string>& fields, const std::string& where) {
  const auto record = nlohmann::ordered_json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) throw Error(fmt::format("{} is not a JSON object", where));
  Document document{{}, {}, where};
  for (const std::string& field : fields) {
    const auto value = record.find(field);
    if (value == record.end() || !value->is_string()) {
      if (auto chat = read_chat(record, where)) return {{}, std::move(*chat), where};
      throw Error(fmt::format("{} has no string field '{}', nor 'messages' of a chat", where, field));
    }
    if (!document.text.empty()) document.text += '\n';
    document.text += value->get_ref<const std::string&>();
  }
  return document;
}

}  // namespace

std::vector<Document> read_documents(const std::filesystem::path& path, const std::vector<std::string>& json_fields) {
  std::vector<std::string> pieces = read_pieces(path);
  std::vector<Document> documents;
  if (!is_json_lines(path)) {
    for (std::string& piece : pieces) documents.push_back({std::move(piece), {}, {}});
    return documents;
  }
  if (json_fields.empty()) throw Error("no JSON field is named for the calibration text");
  for (const std::string& piece : pieces) {
    size_t number = 0;
    for (size_t begin = 0; begin < piece.size();) {
      const size_t end = std::min(piece.find('\n', begin), piece.size());
      const std::string_view line = std::string_view(piece).substr(begin, end - begin);
      begin = end + 1;
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const std::string where = pieces.size() == 1
                                    ? fmt::format("calibration text '{}', line {},", path.string(), number)
                                    : fmt::format("calibration text '{}', a line,", path.string());
      Document document = document_of(line, json_fields, where);
      if (!document.text.empty() || !document.chat.messages.empty()) documents.push_back(std::move(document));
    }
  }
  return documents;
}

}  // namespace svq::convert
