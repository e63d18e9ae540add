#include "converter/job/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace svq::convert {

namespace {

constexpr double kWidth = 860, kHeight = 320, kLeft = 64, kRight = 12, kTop = 12, kBottom = 44;

// Round values that cover [low, high] in some five steps.
std::vector<double> ticks(double low, double high) {
  const double raw = (high - low) / 5, power = std::pow(10, std::floor(std::log10(raw)));
  const double unit = raw / power;
  const double step = power * (unit < 1.5 ? 1 : unit < 3.5 ? 2 : unit < 7.5 ? 5 : 10);
  std::vector<double> values;
  for (double v = std::ceil(low / step) * step; v <= high + step * 1e-6; v += step)
    values.push_back(std::abs(v) < step * 1e-6 ? 0 : v);
  return values;
}

std::vector<double> log_ticks(double low, double high) {
  if (high < 4 * low) return ticks(low, high);
  std::vector<double> values;
  const bool few = std::log10(high / low) < 2;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10) {
    for (const double m : {1.0, 2.0, 5.0}) {
      if ((m == 1 || few) && decade * m >= low && decade * m <= high) values.push_back(decade * m);
    }
  }
  return values;
}

}  // namespace

std::string escape_html(const std::string& text) {
  // nlohmann replaces what is not UTF-8 by U+FFFD.
  const std::string quoted = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out;
  for (const char c : nlohmann::json::parse(quoted).get<std::string>()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string line_chart(const std::vector<Series>& series, const ChartOptions& options) {
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const Series& s : series) {
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!std::isfinite(s.y[i]) || (options.log_y && s.y[i] <= 0)) continue;
      x0 = std::min(x0, s.x[i]), x1 = std::max(x1, s.x[i]);
      y0 = std::min(y0, s.y[i]), y1 = std::max(y1, s.y[i]);
    }
  }
  if (!(x1 >= x0)) return "";
  if (x1 == x0) x0 -= 0.5, x1 += 0.5;
  if (options.log_y) {
    y0 /= 1.15, y1 *= 1.15;
  } else {
    const double margin = y1 > y0 ? 0.06 * (y1 - y0) : std::max(1e-3, 0.1 * std::abs(y1));
    y0 -= margin, y1 += margin;
  }
  const auto px = [&](double x) { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) {
    const double t = options.log_y ? std::log(y / y0) / std::log(y1 / y0) : (y - y0) / (y1 - y0);
    return kHeight - kBottom - t * (kHeight - kTop - kBottom);
  };
  std::string out = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n", kWidth, kHeight);
  for (const double y : options.log_y ? log_ticks(y0, y1) : ticks(y0, y1)) {
    out += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"tick\" x=\"{}\" "
        "y=\"{:.1f}\" "
        "text-anchor=\"end\">{:.4g}</text>\n",
        kLeft, kWidth - kRight, py(y), py(y), kLeft - 8, py(y) + 4, y);
  }
  for (const double x : ticks(x0, x1)) {
    if (options.integer_x && x != std::floor(x)) continue;
    out += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>\n", px(x),
                       kHeight - kBottom + 18, x);
  }
  out += fmt::format("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", kLeft, kWidth - kRight,
                     kHeight - kBottom, kHeight - kBottom);
  out += fmt::format("<text class=\"title\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                     (kLeft + kWidth - kRight) / 2, kHeight - 6, escape_html(options.x_title));
  out +=
      fmt::format("<text class=\"title\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                  (kTop + kHeight - kBottom) / 2, escape_html(options.y_title));
  for (const Series& s : series) {
    std::string path, dots;
    bool drawing = false;
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!std::isfinite(s.y[i]) || (options.log_y && s.y[i] <= 0)) {
        drawing = false;
        continue;
      }
      path += fmt::format("{}{:.1f} {:.1f}", drawing ? "L" : "M", px(s.x[i]), py(s.y[i]));
      drawing = true;
      if (s.points && !s.faint) {
        dots += fmt::format(
            "<circle class=\"s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{} {:g}: {:.4g}</title></circle>",
            s.colour, px(s.x[i]), py(s.y[i]), escape_html(s.name), s.x[i], s.y[i]);
      }
    }
    out += fmt::format("<path class=\"s{}{}\" d=\"{}\"/>{}\n", s.colour, s.faint ? " faint" : "", path, dots);
  }
  return out + "</svg>\n";
}

}  // namespace svq::convert
