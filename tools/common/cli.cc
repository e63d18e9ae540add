#include "tools/common/cli.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>

#include "tools/common/text.h"

namespace svq::tools {
namespace {

// For reading only: writing to an output that was closed stays an error.
void open_standard_files() {
  int file = open("/dev/null", O_RDONLY);
  while (file >= 0 && file <= STDERR_FILENO) file = open("/dev/null", O_RDONLY);
  if (file >= 0) close(file);
}

// Whether all of standard output was written; errno says why not, 0 where that is not known any more.
bool flush_output() {
  errno = 0;
  return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

std::string unwritten_output() {
  return std::string("standard output: cannot be written") + (errno ? std::string(": ") + std::strerror(errno) : "");
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

// CLI11's own sentences, except where arguments are left over: it lists those backwards, and says nothing of a command
// that does not exist.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> left_over = app.remaining(true);
  if (app.get_require_subcommand_min() > 0 && app.get_subcommands().empty()) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(command->get_name());
    const std::string expected = "expected " + joined(names, " or ");
    if (left_over.empty()) return "the command is missing: " + expected;
    for (const std::string& word : left_over)
      if (word.rfind('-', 0) != 0) return word + ": is no command, " + expected;
  }
  if (left_over.empty()) return error.what();
  return "not expected on the command line: " + joined(left_over, " ");
}

// "svqeval perplexity": the program and the command whose options are meant.
std::string help_of(const CLI::App& app, const std::string& name) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? name : name + " " + commands.front()->get_name();
}

}  // namespace

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
        const char* const end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data(), end, value);
        if (error != std::errc() || rest != end || value < low || value > high)
          return fmt::format("is {}, expected a whole number from {} to {}", text, low, high);
        text = std::to_string(value);
        return std::string();
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
      ->transform(integer_between(1, 256));
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
    print_error(fmt::format("{}: {}\n", name, sentence));
    return code;
  };
  open_standard_files();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {  // --help, --version
      app.exit(e);
      return flush_output() ? kExitOk : fail(unwritten_output(), kExitFailure);
    }
    return fail(fmt::format("{} (see {} --help)", usage_sentence(app, e), help_of(app, name)), kExitUsage);
  }
  try {
    const int code = body();
    return flush_output() ? code : fail(unwritten_output(), kExitFailure);
  } catch (const UsageError& e) {
    return fail(fmt::format("{} (see {} --help)", e.what(), help_of(app, name)), kExitUsage);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kExitFailure);
  } catch (const std::system_error& e) {  // as fmt::print throws it
    const bool of_output = std::ferror(stdout) != 0;
    return fail(of_output ? "standard output: cannot be written: " + e.code().message() : e.what(), kExitFailure);
  } catch (const std::exception& e) {
    return fail(e.what(), kExitFailure);
  }
}

void print_json(const nlohmann::ordered_json& json, bool indented) {
  const std::string text = json.dump(indented ? 2 : -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  fmt::print("{}\n", text);
}

}  // namespace svq::tools
