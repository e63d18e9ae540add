#include "tools/common/cli.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

namespace svq::tools {

void describe(CLI::App& app, const std::string& name, const std::string& examples) {
  app.name(name);
  app.footer("\nExamples:\n" + examples);
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", fmt::format("{} {}", name, svq_version_string()), "Print the version and leave");
  app.set_help_flag("-h,--help", "Print this help and leave");
}

CLI::Validator integer_between(int64_t low, int64_t high) {
  return CLI::Validator(
      [=](std::string& text) {
        int64_t value = 0;
        const bool valid = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return valid ? "" : fmt::format("is {}, expected a whole number from {} to {}", text, low, high);
      },
      "");
}

CLI::Validator number_between(double low, double high) {
  return CLI::Validator(
      [=](std::string& text) {
        double value = 0;
        const bool valid = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return valid ? "" : fmt::format("is {}, expected a number from {} to {}", text, low, high);
      },
      "");
}

CLI::Validator one_of(std::vector<std::string> values) {
  return CLI::Validator(
      [values = std::move(values)](std::string& text) {
        std::string list;
        for (const std::string& value : values) {
          if (text == value) return std::string();
          list += (list.empty() ? "" : ", ") + value;
        }
        return fmt::format("is {}, expected one of {}", text, list);
      },
      "");
}

void add_threads(CLI::App& app, uint32_t& threads) {
  app.add_option("--threads", threads, "Threads that compute (default: physical cores, at most 8)")
      ->type_name("N")
      ->check(integer_between(1, 256));
}

void add_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "cpu (default), cuda, or auto: a GPU if one can be used")
      ->type_name("DEVICE")
      ->check(one_of({"cpu", "cuda", "auto"}));
}

void add_kv_bits(CLI::App& app, uint32_t& kv_bits) {
  app.add_option("--kv-bits", kv_bits, "Bits of a value in the KV cache: 16 (default) or 8")
      ->type_name("BITS")
      ->check(one_of({"8", "16"}));
}

int run_program(CLI::App& app, const std::string& name, int argc, char** argv, const std::function<int()>& body) {
  auto fail = [&](const std::string& sentence, int code) {
    std::fflush(stdout);
    fmt::print(stderr, "{}: {}\n", name, sentence);
    return code;
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {  // --help, --version
      app.exit(e);
      return std::fflush(stdout) == 0 ? kExitOk : kExitFailure;
    }
    return fail(fmt::format("{} (see {} --help)", e.what(), name), kExitUsage);
  }
  try {
    const int code = body();
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
      return fail(fmt::format("standard output: cannot be written: {}", std::strerror(errno)), kExitFailure);
    return code;
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kExitFailure);
  } catch (const std::exception& e) {
    return fail(e.what(), kExitFailure);
  }
}

void print_json(const nlohmann::ordered_json& json, bool indented) {
  const std::string text = json.dump(indented ? 2 : -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  fmt::print("{}\n", text);
}

}  // namespace svq::tools
