// Small charts as SVG elements for an HTML page; colours are the page's CSS classes s0 … s7. No libtorch here.
#pragma once
#include <string>
#include <vector>

namespace svq::convert {

struct Series {
  std::string name;
  std::vector<double> x, y;
  int colour = 0;
  bool faint = false;  // a thin line without points, behind the others
  bool points = true;
};

struct ChartOptions {
  std::string x_title, y_title;
  bool log_y = false;
  bool integer_x = false;
};

std::string line_chart(const std::vector<Series>& series, const ChartOptions& options);

std::string escape_html(const std::string& text);  // what is not UTF-8 is replaced

}  // namespace svq::convert
