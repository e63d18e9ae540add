#include "converter/job/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "converter/job/svg.h"
#include "converter/job/versions.h"

namespace svq::convert {

namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --page: #ffffff; --card: #f5f7fa; --accent: #2563a8;
  --c0: #2563a8; --c1: #c2571a; --c2: #2e8b57; --c3: #8b3fa0; --c4: #b8860b; --c5: #c22f4e; --c6: #7a5230; --c7: #7a7f87; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #9aa5b4; --line: #333c48; --page: #14181e; --card: #1d232b; --accent: #6aa9e9;
  --c0: #6aa9e9; --c1: #ee9a5f; --c2: #6cc795; --c3: #c58bd8; --c4: #dcb64a; --c5: #f07f97; --c6: #c9a07a; --c7: #a8adb5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--page); }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.card { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; } .card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; } th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; } td.bar { width: 40%; vertical-align: middle; } td.bar div { background: var(--accent); height: .7rem; border-radius: .2rem; min-width: 1px; }
svg { width: 100%; height: auto; display: block; } .grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.tick, .title { font-size: 12px; fill: var(--soft); } path { fill: none; stroke-width: 2; } path.faint { stroke-width: 1; opacity: .35; }
path.s0 { stroke: var(--c0); } path.s1 { stroke: var(--c1); } path.s2 { stroke: var(--c2); } path.s3 { stroke: var(--c3); } path.s4 { stroke: var(--c4); } path.s5 { stroke: var(--c5); } path.s6 { stroke: var(--c6); } path.s7 { stroke: var(--c7); }
circle.s0 { fill: var(--c0); } circle.s1 { fill: var(--c1); } circle.s2 { fill: var(--c2); } circle.s3 { fill: var(--c3); } circle.s4 { fill: var(--c4); } circle.s5 { fill: var(--c5); } circle.s6 { fill: var(--c6); } circle.s7 { fill: var(--c7); }
.legend span { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.1rem; } .legend i { width: 1rem; height: .25rem; border-radius: .1rem; background: var(--c); }
table.bits { width: auto; } table.bits td, table.bits th { padding: .2rem 0; min-width: 1.55rem; text-align: center; border: 1px solid var(--page); font-size: .8rem; } table.bits th:first-child { text-align: right; padding-right: .6rem; }
.b2 { background: color-mix(in srgb, var(--accent) 12%, transparent); } .b3 { background: color-mix(in srgb, var(--accent) 34%, transparent); } .b4 { background: color-mix(in srgb, var(--accent) 58%, transparent); } .b8, .b16 { background: var(--accent); color: var(--page); }
pre { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; margin: .5rem 0; max-height: 18rem; overflow-y: auto; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; } @media (max-width: 40rem) { .pair { grid-template-columns: 1fr; } }
.pair h4 { margin: .25rem 0 0; font-size: .85rem; color: var(--soft); font-weight: 600; }
)";

const char* const kSlots[] = {"q", "k", "v", "o", "gate", "up", "down"};

class Page {
 public:
  Page(const Model& model, const Plan& plan, const Options& options, const Report& report)
      : model_(model), plan_(plan), options_(options), report_(report), s_(report.summary) {}

  std::string write() {
    const std::string name = escape_html(model_.name());
    out_ = fmt::format(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>{} – conversion report</title>\n<style>{}</style>\n"
        "</head>\n<body>\n",
        name, kStyle);
    out_ += fmt::format("<h1>{}</h1>\n<p class=\"soft\">{} ({}, {}) → {} by {}</p>\n", name,
                        escape_html(model_.source_name()), escape_html(model_.source_format()),
                        format_bytes(model_.source_bytes()), escape_html(options_.output.filename().string()),
                        converter_version());
    if (!s_.stopped.empty()) out_ += fmt::format("<p><b>Stopped</b> {}; the same command goes on.</p>\n", s_.stopped);
    cards();
    quality();
    sizes();
    errors();
    bits();
    training();
    completions();
    repeat();
    data();
    return std::move(out_) + "</body>\n</html>\n";
  }

 private:
  void section(const char* id, const char* title) { out_ += fmt::format("<h2 id=\"{}\">{}</h2>\n", id, title); }
  void card(const std::string& value, const std::string& label) {
    out_ += fmt::format("<div class=\"card\"><b>{}</b>{}</div>\n", value, label);
  }

  void cards() {
    out_ += "<div class=\"cards\">\n";
    card(format_bytes(s_.file_bytes), "file size");
    card(fmt::format("{:.3f}", s_.bits_per_weight), "bits per weight in the blocks, scales included");
    const Agreement* last = s_.tuning ? &s_.tuning->after : s_.quality ? &*s_.quality : nullptr;
    if (last) {
      card(fmt::format("{:.2f} ×", last->perplexity / last->teacher_perplexity), "perplexity of the source");
      card(fmt::format("{:.1f} %", 100 * last->same_top), "same most likely token as the source");
    }
    card(format_seconds(s_.total_seconds), "time of the conversion");
    out_ += "</div>\n";
  }

  void quality() {
    if (!s_.tuning && !s_.quality && !s_.runtime) return;
    section("quality", "Quality");
    struct Row {
      std::string name;
      double perplexity, kl, same_top;
    };
    std::vector<Row> rows;
    const Agreement* first = s_.tuning ? &s_.tuning->before : s_.quality ? &*s_.quality : nullptr;
    if (first) {
      rows.push_back({"source", first->teacher_perplexity, 0, 1});
      rows.push_back({"quantized", first->perplexity, first->kl, first->same_top});
    }
    if (s_.tuning)
      rows.push_back({"fine-tuned", s_.tuning->after.perplexity, s_.tuning->after.kl, s_.tuning->after.same_top});
    if (!rows.empty()) {
      double most = 0;
      for (const Row& r : rows) most = std::max(most, r.perplexity);
      out_ +=
          "<p class=\"soft\">On held-out sequences, which nothing was fitted to. KL is that of the source's "
          "predictions to the model's, nats a token.</p>\n<div class=\"scroll\"><table>\n<tr><th>model</th>"
          "<th class=\"n\">perplexity</th><th></th><th class=\"n\">KL to source</th><th class=\"n\">same top token"
          "</th></tr>\n";
      for (const Row& r : rows) {
        out_ += fmt::format(
            "<tr><td>{}</td><td class=\"n\">{:.3f}</td><td class=\"bar\"><div style=\"width:{:.1f}%\"></div></td>"
            "<td class=\"n\">{:.4f}</td><td class=\"n\">{:.1f} %</td></tr>\n",
            r.name, r.perplexity, 100 * r.perplexity / most, r.kl, 100 * r.same_top);
      }
      out_ += "</table></div>\n";
    }
    if (s_.runtime) {
      const RuntimeCheck& r = *s_.runtime;
      out_ += fmt::format(
          "<p>The runtime, on {} {} tokens: perplexity {:.4f} with float activations, {:+.3f} % to the converter's own "
          "evaluation of the file ({:.4f}); {:.4f} with int8 activations, as it is used ({:+.2f} %).</p>\n",
          r.tokens, r.held_out ? "of these" : "sampled", r.runtime_float, 100 * r.difference(), r.converter, r.runtime,
          100 * r.int8_effect());
    }
  }

  void sizes() {
    section("size", "Size by part");
    struct Part {
      uint64_t linears = 0, weights = 0, bytes = 0;
      std::map<int, uint64_t> widths;
    };
    std::map<std::string, Part> parts;
    uint64_t total = 0;
    for (const PlannedGroup& group : plan_.groups) {
      for (const PlannedLinear& l : group.linears) {
        Part& part = parts[slot_name(l.slot)];
        const uint64_t bytes = weight_bytes(l.rows, l.columns, l.bits);
        ++part.linears;
        part.weights += l.rows * l.columns;
        part.bytes += bytes;
        part.widths[l.bits] += l.rows * l.columns;
        total += bytes;
      }
    }
    out_ +=
        "<div class=\"scroll\"><table>\n<tr><th>part</th><th class=\"n\">linears</th><th class=\"n\">weights</th>"
        "<th class=\"n\">bits</th><th class=\"n\">size</th><th></th></tr>\n";
    const auto row = [&](const std::string& name, const std::string& linears, const std::string& weights,
                         const std::string& bits, uint64_t bytes) {
      out_ += fmt::format(
          "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>"
          "<td class=\"bar\"><div style=\"width:{:.1f}%\"></div></td></tr>\n",
          name, linears, weights, bits, format_bytes(bytes),
          100 * static_cast<double>(bytes) / static_cast<double>(std::max<uint64_t>(1, s_.file_bytes)));
    };
    for (const char* name : {"embedding", "q", "k", "v", "o", "gate", "up", "down", "head"}) {
      if (!parts.contains(name)) continue;
      const Part& p = parts.at(name);
      std::string widths;
      for (const auto& [bits, weights] : p.widths) widths += (widths.empty() ? "" : ", ") + std::to_string(bits);
      row(name, std::to_string(p.linears), std::to_string(p.weights), widths, p.bytes);
    }
    row("scales, norms, tokenizer, metadata", "", "", "", s_.file_bytes - std::min(total, s_.file_bytes));
    row("<b>file</b>", "", "", "", s_.file_bytes);
    out_ += "</table></div>\n";
  }

  void legend(const std::vector<Series>& series) {
    out_ += "<p class=\"legend\">";
    for (const Series& s : series) {
      if (!s.faint)
        out_ += fmt::format("<span><i style=\"--c:var(--c{})\"></i>{}</span>", s.colour, escape_html(s.name));
    }
    out_ += "</p>\n";
  }

  // "blocks.12.q" → 12, or -1.
  static int layer_of(const std::string& name) {
    return name.starts_with("blocks.") ? std::atoi(name.c_str() + 7) : -1;
  }

  void errors() {
    std::vector<Series> series;
    for (size_t i = 0; i < std::size(kSlots); ++i) {
      Series s{kSlots[i], {}, {}, static_cast<int>(i)};
      for (const LinearResult& l : s_.linears) {
        if (l.slot != kSlots[i] || l.relative_error <= 0) continue;
        s.x.push_back(layer_of(l.name));
        s.y.push_back(l.relative_error);
      }
      if (!s.x.empty()) series.push_back(std::move(s));
    }
    if (series.empty()) return;
    section("errors", "Error of every linear");
    out_ +=
        "<p class=\"soft\">tr((Ŵ − W) H (Ŵ − W)ᵀ) / tr(W H Wᵀ), H of the inputs it was calibrated on, after "
        "quantization.</p>\n";
    legend(series);
    out_ += line_chart(series, {.x_title = "block", .y_title = "relative error", .log_y = true, .integer_x = true});
    std::string ends;
    for (const LinearResult& l : s_.linears) {
      if (layer_of(l.name) < 0 && l.relative_error > 0)
        ends += fmt::format("{}{}: {:.5f}", ends.empty() ? "" : ", ", l.name, l.relative_error);
    }
    if (!ends.empty()) out_ += "<p>" + ends + "</p>\n";
  }

  void bits() {
    section("bits", "Bits chosen");
    if (report_.allocation) {
      out_ += fmt::format(
          "<p class=\"soft\">{}: more bits where one linear alone, quantized to the least width, cost the model most a "
          "byte (KL to the source; hover for it).</p>\n",
          options_.size_budget ? fmt::format("At most {} bytes", options_.size_budget)
                               : fmt::format("{:g} bits on average", options_.bit_budget));
    }
    std::map<std::string, double> losses;
    if (report_.allocation) {
      for (const Choice& c : report_.allocation->choices) losses[c.name] = c.levels[0].loss;
    }
    std::map<std::string, std::map<int, const LinearResult*>> rows;
    int layers = 0;
    std::string ends;
    for (const LinearResult& l : s_.linears) {
      const int layer = layer_of(l.name);
      layers = std::max(layers, layer + 1);
      if (layer >= 0) rows[l.slot][layer] = &l;
      if (layer < 0) ends += fmt::format("{}{}: {} bits", ends.empty() ? "" : ", ", l.name, l.bits);
    }
    out_ += "<div class=\"scroll\"><table class=\"bits\">\n<tr><th>block</th>";
    for (int i = 0; i < layers; ++i) out_ += fmt::format("<th>{}</th>", i);
    out_ += "</tr>\n";
    for (const char* slot : kSlots) {
      if (!rows.contains(slot)) continue;
      out_ += fmt::format("<tr><th>{}</th>", slot);
      for (int i = 0; i < layers; ++i) {
        const auto found = rows[slot].find(i);
        if (found == rows[slot].end()) {
          out_ += "<td></td>";
          continue;
        }
        const LinearResult& l = *found->second;
        const std::string hint =
            losses.contains(l.name) ? fmt::format(" title=\"{}: {:.5f}\"", l.name, losses[l.name]) : "";
        out_ += fmt::format("<td class=\"b{}\"{}>{}</td>", l.bits, hint, l.bits);
      }
      out_ += "</tr>\n";
    }
    out_ += "</table></div>\n<p>" + ends + "</p>\n";
  }

  void training() {
    if (!s_.tuning || s_.tuning->losses.empty()) return;
    const Tuning& t = *s_.tuning;
    section("training", "Training");
    out_ += fmt::format(
        "<p class=\"soft\">{} of {} steps, {} tokens, {}. Loss: KL to the source on the step's sequences, "
        "nats a token.</p>\n",
        t.steps, t.planned_steps, t.tokens, format_seconds(t.seconds));
    Series raw{"loss of a step", {}, {}, 0, true}, smooth{"mean of neighbouring steps", {}, {}, 0};
    smooth.points = false;
    // At most some 1,000 points: a page stays small however long the training was.
    const size_t n = t.losses.size(), every = (n + 999) / 1000, half = std::max<size_t>(1, n / 60);
    for (size_t i = 0; i < n; i += every) {
      raw.x.push_back(static_cast<double>(i + 1));
      raw.y.push_back(t.losses[i]);
      const size_t from = i > half ? i - half : 0, to = std::min(n, i + half + 1);
      double sum = 0;
      for (size_t k = from; k < to; ++k) sum += t.losses[k];
      smooth.x.push_back(static_cast<double>(i + 1));
      smooth.y.push_back(sum / static_cast<double>(to - from));
    }
    Series before{"held out, before", {1, static_cast<double>(n)}, {t.before.kl, t.before.kl}, 7};
    Series after{"held out, after", {1, static_cast<double>(n)}, {t.after.kl, t.after.kl}, 2};
    before.points = after.points = false;
    const std::vector<Series> series{raw, smooth, before, after};
    legend(series);
    out_ += line_chart(series, {.x_title = "step", .y_title = "KL, nats a token", .log_y = true, .integer_x = true});
  }

  void completions() {
    const Completions& c = report_.completions;
    if (c.rows.empty() && c.missing.empty()) return;
    section("completions", "Completions");
    out_ += "<p class=\"soft\">Greedy: the most likely token at every step, at most 64.</p>\n";
    for (const Completion& row : c.rows) {
      out_ += fmt::format(
          "<p><b>{}</b></p>\n<div class=\"pair\"><div><h4>source</h4><pre>{}</pre></div><div><h4>this file</h4><pre>{}"
          "</pre></div></div>\n",
          escape_html(row.prompt), c.missing.empty() ? escape_html(row.source) : "–", escape_html(row.quantized));
    }
    if (!c.missing.empty()) out_ += "<p class=\"soft\">Not shown: " + escape_html(c.missing) + ".</p>\n";
  }

  void repeat() {
    section("repeat", "How to repeat it");
    out_ += "<pre>" + escape_html(options_.command) + "</pre>\n<div class=\"scroll\"><table>\n";
    const auto row = [&](const std::string& name, const std::string& value) {
      out_ += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escape_html(name), escape_html(value));
    };
    row("source", options_.source.string());
    row("source hash (XXH3-128)", report_.source_hash);
    row("calibration", report_.calibration);
    row("converter", std::string(converter_version()) + ", " + library_versions());
    row("processor", fmt::format("{}, {} threads", cpu_name(), options_.threads));
    const auto all = recipe(options_);
    for (const auto& [key, value] : all.items()) {
      if (key != "overrides" || (!value.empty() && !options_.has_budget())) row(key, value.dump());
    }
    out_ += "</table></div>\n";
  }

  // For programs: what the page shows, in full precision.
  void data() {
    nlohmann::ordered_json j{{"file_bytes", s_.file_bytes}, {"bits_per_weight", s_.bits_per_weight}};
    for (const LinearResult& l : s_.linears)
      j["linears"].push_back({{"name", l.name}, {"bits", l.bits}, {"relative_error", l.relative_error}});
    if (s_.tuning) j["losses"] = s_.tuning->losses;
    if (report_.allocation) {
      for (const Choice& c : report_.allocation->choices) j["alone"][c.name] = c.levels[0].loss;
    }
    std::string text = j.dump();
    for (size_t at = text.find("</"); at != std::string::npos; at = text.find("</", at + 3)) text.insert(at + 1, "\\");
    out_ += "<script type=\"application/json\" id=\"data\">" + text + "</script>\n";
  }

  const Model& model_;
  const Plan& plan_;
  const Options& options_;
  const Report& report_;
  const Summary& s_;
  std::string out_;
};

}  // namespace

std::filesystem::path report_path(const Options& options) {
  std::filesystem::path path = options.output;
  return path += ".report.html";
}

std::string html_report(const Model& model, const Plan& plan, const Options& options, const Report& report) {
  return Page(model, plan, options, report).write();
}

}  // namespace svq::convert
