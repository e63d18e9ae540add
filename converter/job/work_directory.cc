#include "converter/job/work_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "converter/base/error.h"
#include "converter/write/atomic_file.h"
#include "converter/write/checksum.h"

namespace svq::convert {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFingerprint = "fingerprint.json";
constexpr const char* kLock = "lock";
constexpr const char* kElapsedState = "elapsed";
constexpr uint32_t kStateMagic = 0x53515653;  // "SVQS"

// Header of a state file; the content follows.
struct StateHeader {
  uint32_t magic;
  uint32_t zero;
  uint64_t fingerprint;
  uint64_t tag_checksum;
  uint64_t size;
  uint64_t content_checksum;
  uint64_t header_checksum;  // of the 40 bytes before it
};
static_assert(sizeof(StateHeader) == 48);

uint64_t header_checksum(const StateHeader& header) {
  return checksum(std::as_bytes(std::span(&header, 1)).first(offsetof(StateHeader, header_checksum)));
}

uint64_t text_checksum(const std::string& text) { return checksum(std::as_bytes(std::span(text))); }

bool is_own_file(const fs::path& path) {
  fs::path name = path.filename();
  if (name.extension() == ".tmp") name = name.stem();
  return name == kFingerprint || name == kLock || name.extension() == ".part" || name.extension() == ".state";
}

bool holds_state(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (entry.path().extension() == ".part" || entry.path().extension() == ".state") return true;
  }
  return false;
}

// Takes the lock, also when another process removes the directory's files at that moment.
int lock_directory(const fs::path& directory) {
  const fs::path path = directory / kLock;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) throw_errno(path, "create");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      close(fd);
      throw Error(directory.string() + ": another svqconvert is working in this directory");
    }
    struct stat opened, named;
    if (fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino) return fd;
    close(fd);
  }
  throw Error(path.string() + ": cannot be locked");
}

}  // namespace

WorkDirectory::WorkDirectory(fs::path path, const nlohmann::ordered_json& fingerprint, bool restart)
    : path_(std::move(path)) {
  std::error_code error;
  const bool had_lock = fs::exists(path_ / kLock, error);
  created_ = fs::create_directories(path_, error);
  if (!fs::is_directory(path_)) {
    throw Error(path_.string() +
                ": cannot be used as work directory: " + (error ? error.message() : "it is not a directory"));
  }
  lock_ = lock_directory(path_);
  // Names come from files: what is not UTF-8 is replaced rather than refused.
  const std::string text = fingerprint.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  fingerprint_ = text_checksum(text);
  try {
    if (fs::exists(path_ / kFingerprint)) {
      std::ifstream in(path_ / kFingerprint, std::ios::binary);
      const std::string found_text{std::istreambuf_iterator<char>(in), {}};
      if (found_text == text) {
        resumed_ = true;
        if (!load(kElapsedState, std::as_writable_bytes(std::span(&earlier_seconds_, 1)))) earlier_seconds_ = 0;
        return;
      }
      // A run that failed before it finished anything left nothing to protect.
      if (!restart && holds_state(path_)) {
        std::string difference = "is damaged";
        const auto found = nlohmann::ordered_json::parse(found_text, nullptr, false);
        if (found.is_object()) {
          difference = "differs";
          const auto wanted = nlohmann::ordered_json::parse(text);
          for (const auto& [key, value] : wanted.items()) {
            if (!found.contains(key) || found[key] != value) {
              difference = "has " + key + " = " + (found.contains(key) ? found[key].dump() : "nothing") +
                           " where this one has " + value.dump();
              break;
            }
          }
        }
        throw Error(path_.string() + ": holds the state of another conversion, which " + difference +
                    "; remove the directory, choose another by --work, or discard it by --force");
      }
      // The fingerprint goes last: a restart that is interrupted here is still recognised as one.
      for (const auto& entry : fs::directory_iterator(path_)) {
        if (is_own_file(entry.path()) && entry.path().filename() != kLock && entry.path().filename() != kFingerprint)
          fs::remove(entry.path());
      }
    } else {
      for (const auto& entry : fs::directory_iterator(path_)) {
        const fs::path name = entry.path().filename();
        if (name != kLock && name != std::string(kFingerprint) + ".tmp") {
          throw Error(path_.string() + ": is not empty (" + name.string() +
                      ") and holds no state of svqconvert; choose an empty or new work directory");
        }
      }
    }
    write_atomically(path_ / kFingerprint, text);
  } catch (...) {  // a directory that is refused is left as it was found
    std::error_code ignored;
    if (!had_lock) fs::remove(path_ / kLock, ignored);
    if (created_) fs::remove(path_, ignored);
    close(lock_);
    throw;
  }
}

WorkDirectory::~WorkDirectory() {
  if (created_ && !holds_state(path_)) remove_all();  // a run that got nowhere leaves no trace
  if (lock_ >= 0) close(lock_);
}

void WorkDirectory::save(const std::string& tag, std::span<const std::byte> bytes) const {
  write_state(tag, bytes);
  const double spent = seconds_spent();
  write_state(kElapsedState, std::as_bytes(std::span(&spent, 1)));
}

void WorkDirectory::write_state(const std::string& tag, std::span<const std::byte> bytes) const {
  StateHeader header{};
  header.magic = kStateMagic;
  header.fingerprint = fingerprint_;
  header.tag_checksum = text_checksum(tag);
  header.size = bytes.size();
  header.content_checksum = checksum(bytes);
  header.header_checksum = header_checksum(header);
  AtomicFile file(path_ / (tag + ".state"));
  file.append(std::as_bytes(std::span(&header, 1)));
  file.append(bytes);
  file.commit();
}

bool WorkDirectory::load(const std::string& tag, std::span<std::byte> out) const {
  ReadFile file;
  StateHeader header;
  return file.open(path_ / (tag + ".state")) && file.read(0, std::as_writable_bytes(std::span(&header, 1))) &&
         header.magic == kStateMagic && header.header_checksum == header_checksum(header) &&
         header.fingerprint == fingerprint_ && header.tag_checksum == text_checksum(tag) && header.size == out.size() &&
         file.size() == sizeof(header) + out.size() && file.read(sizeof(header), out) &&
         checksum(out) == header.content_checksum;
}

bool WorkDirectory::contains(const std::string& tag) const { return fs::exists(path_ / (tag + ".state")); }

void WorkDirectory::remove(const std::string& tag) const {
  std::error_code ignored;
  fs::remove(path_ / (tag + ".state"), ignored);
}

void WorkDirectory::remove_all() {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    const fs::path name = entry.path().filename();
    if (is_own_file(entry.path()) && name != kLock && name != kFingerprint) fs::remove(entry.path(), ignored);
  }
  fs::remove(path_ / kFingerprint, ignored);
  fs::remove(path_ / kLock, ignored);
  fs::remove(path_, ignored);  // fails where the user keeps other files
}

}  // namespace svq::convert
