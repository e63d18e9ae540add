#include "tools/inspect/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tools/common/text.h"

namespace svq::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestText = 96;  // a chat template takes more than a screen

bool ends_with(const std::string& text, const char* end) {
  const std::string_view e(end);
  return text.size() >= e.size() && text.compare(text.size() - e.size(), e.size(), e) == 0;
}

std::string label(std::string key) {
  if (ends_with(key, "_bytes")) key.resize(key.size() - 6);
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

bool is_leaf(const Json& value) {
  return !value.is_structured() || (value.is_array() && std::none_of(value.begin(), value.end(), [](const Json& item) {
                                      return item.is_structured();
                                    }));
}

// One line of text: line breaks escaped, shortened.
std::string one_line(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (out.size() >= kLongestText && (c & 0xC0) != 0x80)
      return out + fmt::format("… ({} bytes)", format_thousands(text.size()));
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || c == 0x7F)
      out += fmt::format("\\x{:02x}", c);
    else
      out += text[i];
  }
  return out;
}

std::string value_text(const std::string& key, const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return one_line(value.get_ref<const std::string&>());
  if (value.is_number_unsigned() || value.is_number_integer()) {
    if (value >= 0 && (ends_with(key, "bytes") || ends_with(key, "size"))) {
      const uint64_t n = value.get<uint64_t>();
      return n < 1000 ? format_bytes(n) : fmt::format("{} ({})", format_bytes(n), format_thousands(n));
    }
    return value.dump();
  }
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  if (value.is_object() && value.contains("kind") && value.contains("block") && value.contains("factor"))  // rotation
    return fmt::format("{} {} × {}", value.value("kind", ""), value["block"].dump(), value["factor"].dump());
  if (value.is_array()) {
    std::string list;
    for (const Json& item : value) {
      if (display_width(list) > kLongestText) return list + fmt::format(", … ({} values)", value.size());
      list += (list.empty() ? "" : ", ") + value_text("", item);
    }
    return list.empty() ? "none" : list;
  }
  return one_line(value.dump());
}

std::string array_table(const Json& rows, const std::string& indent) {
  std::vector<std::string> keys;
  for (const Json& row : rows)
    for (const auto& [key, value] : row.items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  std::string align;
  std::vector<std::string> header;
  for (const std::string& key : keys) {
    const auto is_number = [&key](const Json& row) { return row.contains(key) && row[key].is_number(); };
    align += std::any_of(rows.begin(), rows.end(), is_number) ? 'r' : 'l';
    header.push_back((header.empty() ? indent : "") + label(key));
  }
  Table table(align, header);
  for (const Json& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& key : keys)
      cells.push_back((cells.empty() ? indent : "") + (row.contains(key) ? value_text(key, row[key]) : ""));
    table.add(cells);
  }
  return table.str();
}

// "key  value" lines; structured members follow as sections of their own.
std::string section(const Json& object, const std::string& indent) {
  size_t n = 0;
  std::string lines, rest;
  Table facts("ll", {"", ""});
  for (const auto& [key, value] : object.items()) {
    if (is_leaf(value)) {
      facts.add({indent + label(key), value_text(key, value)});
      ++n;
    } else if (value.is_object()) {
      if (value.empty()) continue;
      rest += "\n" + indent + label(key) + "\n" + section(value, indent + "  ");
    } else if (value[0].is_object()) {
      rest += "\n" + indent + label(key) + "\n" + array_table(value, indent + "  ");
    } else {
      rest += indent + label(key) + "  " + one_line(value.dump()) + "\n";
    }
  }
  if (n) {
    lines = facts.str();
    lines.erase(0, lines.find('\n') + 1);  // there is no header
  }
  return lines + rest;
}

}  // namespace

std::string summary(const svq_model_info& info, const Json& metadata) {
  std::string out = fmt::format("{}: {} weights, {}, {:.3f} bits a weight in the blocks, {} read a token, {} kernels\n",
                                info.name, format_count(info.n_parameters), format_bytes(info.file_bytes),
                                info.bits_per_weight, format_bytes(info.decode_bytes), info.isa);
  Json rest = metadata;
  for (const char* key : {"name", "file", "sizes", "linears", "tensors"}) rest.erase(key);
  if (rest.contains("provenance") && rest["provenance"].contains("recipe")) {  // JSON in a string
    Json& text = rest["provenance"]["recipe"];
    if (Json recipe = Json::parse(text.get<std::string>(), nullptr, false); recipe.is_object())
      text = std::move(recipe);
  }
  return out + section(rest, "");
}

namespace {

uint64_t tensor_bytes(const Json& tensor) {
  for (const char* key : {"bytes", "size"})
    if (tensor.contains(key) && tensor[key].is_number_unsigned()) return tensor[key].get<uint64_t>();
  return 0;
}

// Which part of the model a tensor belongs to, by the words of its dotted name.
std::string part_of(const std::string& name) {
  const auto has = [&name](std::initializer_list<std::string_view> words) {
    std::string_view rest = name;
    while (!rest.empty()) {
      const size_t dot = rest.find('.');
      const std::string_view word = rest.substr(0, dot);
      if (std::find(words.begin(), words.end(), word) != words.end()) return true;
      rest.remove_prefix(dot == std::string_view::npos ? rest.size() : dot + 1);
    }
    return false;
  };
  if (has({"embedding"})) return "embedding";
  if (has({"head"})) return "head";
  if (has({"q", "k", "v", "o", "attn_out"})) return "attention";
  if (has({"gate", "up", "down"})) return "feed-forward";
  if (name.find("norm") != std::string::npos) return "norms";
  return "shared transforms and maps";
}

}  // namespace

Json size_by_part(const Json& tensors) {
  Json parts = Json::object();
  for (const char* part : {"embedding", "attention", "feed-forward", "head", "norms", "shared transforms and maps"}) {
    uint64_t bytes = 0;
    for (const Json& tensor : tensors)
      if (part_of(tensor.value("name", "")) == part) bytes += tensor_bytes(tensor);
    if (bytes) parts[part] = bytes;
  }
  return parts;
}

std::string size_table(const Json& tensors) {
  const Json parts = size_by_part(tensors);
  uint64_t total = 0;
  for (const Json& bytes : parts) total += bytes.get<uint64_t>();
  Table table("lrr", {"part", "size", "share"});
  for (const auto& [part, bytes] : parts.items())
    table.add({part, format_bytes(bytes.get<uint64_t>()),
               fmt::format("{:.1f} %", 100.0 * bytes.get<double>() / static_cast<double>(total))});
  return table.str();
}

std::string list_table(const Json& rows) { return rows.empty() ? "" : array_table(rows, ""); }

double entropy(std::span<const uint64_t> counts) {
  double total = 0, sum = 0;
  for (uint64_t n : counts) total += static_cast<double>(n);
  for (uint64_t n : counts)
    if (n) sum -= static_cast<double>(n) / total * std::log2(static_cast<double>(n) / total);
  return sum;
}

std::string histogram_chart(const std::string& name, std::span<const uint64_t> counts) {
  uint64_t total = 0, largest = 1;
  for (uint64_t n : counts) total += n, largest = std::max(largest, n);
  Table table("rrrl", {"code", "count", "share", ""});
  for (size_t code = 0; code < counts.size(); ++code) {
    std::string bar;
    for (uint64_t i = 0; i < (counts[code] * 40 + largest / 2) / largest; ++i) bar += "█";
    table.add(
        {std::to_string(code), format_thousands(counts[code]),
         fmt::format("{:.2f} %", total ? 100.0 * static_cast<double>(counts[code]) / static_cast<double>(total) : 0),
         bar});
  }
  return fmt::format("codes of {}: {}, entropy {:.3f} bits\n", name, format_thousands(total), entropy(counts)) +
         table.str();
}

}  // namespace svq::tools
